# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_svd_global_optspecs
    string join \n c/config= e/environment= only= no-jobs root= log-format= h/help V/version
end

function __fish_svd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_svd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_svd_using_subcommand
    set -l cmd (__fish_svd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c svd -n "__fish_svd_needs_command" -s c -l config -d 'Config file [default: Procfile.toml, else Procfile, of the current directory]' -r -F
complete -c svd -n "__fish_svd_needs_command" -s e -l environment -d 'Environment whose overlay is applied' -r
complete -c svd -n "__fish_svd_needs_command" -l only -d 'Run only these processes, and of the jobs only those named as job:NAME, or all by the word jobs; separated by commas' -r
complete -c svd -n "__fish_svd_needs_command" -l root -d 'State directory [default: $SVD_ROOT, else /var/lib/svd/APP as root, $XDG_STATE_HOME/svd/APP for others]' -r -F
complete -c svd -n "__fish_svd_needs_command" -l log-format -d 'How the instances\' output is shown' -r -f -a "text\t'Prefixed lines, coloured on a terminal'
json\t'One JSON object a line'"
complete -c svd -n "__fish_svd_needs_command" -l no-jobs -d 'Run no jobs'
complete -c svd -n "__fish_svd_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svd -n "__fish_svd_needs_command" -s V -l version -d 'Print version'
complete -c svd -n "__fish_svd_needs_command" -f -a "run" -d 'Run the app in the foreground (the default)'
complete -c svd -n "__fish_svd_needs_command" -f -a "check" -d 'Validate a config: all errors at once, nothing is touched'
complete -c svd -n "__fish_svd_needs_command" -f -a "doctor" -d 'Try out what svd can guarantee on this host, as the user who asks: exit 0 whatever it finds'
complete -c svd -n "__fish_svd_needs_command" -f -a "version" -d 'Print what this build is and speaks'
complete -c svd -n "__fish_svd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c svd -n "__fish_svd_using_subcommand run" -s c -l config -d 'Config file [default: Procfile.toml, else Procfile, of the current directory]' -r -F
complete -c svd -n "__fish_svd_using_subcommand run" -s e -l environment -d 'Environment whose overlay is applied' -r
complete -c svd -n "__fish_svd_using_subcommand run" -l only -d 'Run only these processes, and of the jobs only those named as job:NAME, or all by the word jobs; separated by commas' -r
complete -c svd -n "__fish_svd_using_subcommand run" -l root -d 'State directory [default: $SVD_ROOT, else /var/lib/svd/APP as root, $XDG_STATE_HOME/svd/APP for others]' -r -F
complete -c svd -n "__fish_svd_using_subcommand run" -l log-format -d 'How the instances\' output is shown' -r -f -a "text\t'Prefixed lines, coloured on a terminal'
json\t'One JSON object a line'"
complete -c svd -n "__fish_svd_using_subcommand run" -l no-jobs -d 'Run no jobs'
complete -c svd -n "__fish_svd_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svd -n "__fish_svd_using_subcommand check" -s c -l config -d 'Config file, as `svd run` takes it' -r -F
complete -c svd -n "__fish_svd_using_subcommand check" -s e -l environment -d 'Environment whose overlay is applied' -r
complete -c svd -n "__fish_svd_using_subcommand check" -l schema -d 'Print the JSON Schema of Procfile.toml instead'
complete -c svd -n "__fish_svd_using_subcommand check" -l json -d 'Print the result as JSON'
complete -c svd -n "__fish_svd_using_subcommand check" -s h -l help -d 'Print help'
complete -c svd -n "__fish_svd_using_subcommand doctor" -l json -d 'Print the result as JSON'
complete -c svd -n "__fish_svd_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c svd -n "__fish_svd_using_subcommand version" -l json -d 'Print the result as JSON: version, protocol between keeper and manager, encoding of a keeper\'s state, feature bits'
complete -c svd -n "__fish_svd_using_subcommand version" -s h -l help -d 'Print help'
complete -c svd -n "__fish_svd_using_subcommand help; and not __fish_seen_subcommand_from run check doctor version help" -f -a "run" -d 'Run the app in the foreground (the default)'
complete -c svd -n "__fish_svd_using_subcommand help; and not __fish_seen_subcommand_from run check doctor version help" -f -a "check" -d 'Validate a config: all errors at once, nothing is touched'
complete -c svd -n "__fish_svd_using_subcommand help; and not __fish_seen_subcommand_from run check doctor version help" -f -a "doctor" -d 'Try out what svd can guarantee on this host, as the user who asks: exit 0 whatever it finds'
complete -c svd -n "__fish_svd_using_subcommand help; and not __fish_seen_subcommand_from run check doctor version help" -f -a "version" -d 'Print what this build is and speaks'
complete -c svd -n "__fish_svd_using_subcommand help; and not __fish_seen_subcommand_from run check doctor version help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
