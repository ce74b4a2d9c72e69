# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_svctl_global_optspecs
    string join \n a/app= socket= root= json color= h/help V/version
end

function __fish_svctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_svctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_svctl_using_subcommand
    set -l cmd (__fish_svctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c svctl -n "__fish_svctl_needs_command" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_needs_command" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_needs_command" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_needs_command" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_needs_command" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_needs_command" -s V -l version -d 'Print version'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "status" -d 'Show the tree: instances, state, pid, uptime, restarts, cpu, memory, and the reason when not well'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "ps" -d 'Show the tree: instances, state, pid, uptime, restarts, cpu, memory, and the reason when not well'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "top" -d 'Show the tree live, with cpu, memory and the last lines of output, and keys to stop, restart and scale'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "health" -d 'Ask whether all is well, in one line: exit 0 when every instance that is to run is ready or completed, else 1'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "why" -d 'Tell what led to an instance\'s state: the chain of events and its last output'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "start" -d 'Start what is stopped or has failed'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "stop" -d 'Stop; it stays stopped until it is started again'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "restart" -d 'Replace instances one by one, each new one ready before the next is touched'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "reload" -d 'Send the reload signal'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "drain" -d 'Tell to take no new work, wait until it has finished, then stop; it stays stopped until it is started again'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "kill" -d 'Kill the whole process tree at once, without its stop signals and grace periods'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "enable" -d 'Allow a process that was disabled, and start it'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "disable" -d 'Stop, and keep stopped even when svd is started again'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "scale" -d 'Set how many instances run: web=4, worker=+2, db=-1; processes that are not named keep theirs'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "signal" -d 'Send a signal to main processes'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "jobs" -d 'List jobs: when each runs next, what became of the last run; look at their history, pause and resume them'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "run" -d 'Run a job now, whatever its schedule says'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "logs" -d 'Show what instances and runs of jobs wrote, merged in time order'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "exec" -d 'Run a command as a process would be run: its environment, directory and user, on this terminal'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "apply" -d 'Re-read the config and change only what differs'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "env" -d 'List the variables a process gets and where each comes from; never a value'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "events" -d 'Show what happened'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "wait" -d 'Wait until a target is in a state; exit 1 when the time is over'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "upgrade" -d 'Have svd become the build that lies on disk now, without restarting any process'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "shutdown" -d 'Stop everything in order and end svd'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "check" -d 'Check a config without a running svd: exit 0 when it is good, 2 when not'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "doctor" -d 'Try out what svd can guarantee on this host, as the user who asks, without a running svd: exit 0 whatever it finds'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "schedule" -d 'Tell when a schedule would run, in words and instants, without a running svd: exit 2 when it is invalid or never runs'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "import" -d 'Translate the config of another program to a Procfile.toml, without a running svd'
complete -c svctl -n "__fish_svctl_needs_command" -f -a "completions" -d 'Print a completion script'
complete -c svctl -n "__fish_svctl_using_subcommand status" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand status" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand status" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand status" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand status" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand ps" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand ps" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand ps" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand ps" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand ps" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand ps" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand top" -l interval -d 'How often to look' -r
complete -c svctl -n "__fish_svctl_using_subcommand top" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand top" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand top" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand top" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand top" -l once -d 'One look, as text; with --json as svctl status has it'
complete -c svctl -n "__fish_svctl_using_subcommand top" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand health" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand health" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand health" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand health" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand health" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand health" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand why" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand why" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand why" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand why" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand why" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand why" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand start" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand start" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand start" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand start" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand start" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand start" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand start" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand start" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand start" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand stop" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand stop" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand stop" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand stop" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand stop" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand stop" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand stop" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand stop" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand stop" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand restart" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand restart" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand restart" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand restart" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand restart" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand restart" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand restart" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand restart" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand restart" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand restart" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand reload" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand reload" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand reload" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand reload" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand reload" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand reload" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand reload" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand reload" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand reload" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand drain" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand drain" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand drain" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand drain" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand drain" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand drain" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand drain" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand drain" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand drain" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand drain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand kill" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand kill" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand kill" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand kill" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand kill" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand kill" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand kill" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand kill" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand kill" -l now -d 'Required, since the processes get no chance to finish their work'
complete -c svctl -n "__fish_svctl_using_subcommand kill" -l replaced -d 'Only what is left of instances that were replaced and still finish their work; what replaced them runs on'
complete -c svctl -n "__fish_svctl_using_subcommand kill" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand kill" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand enable" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand enable" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand enable" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand enable" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand enable" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand enable" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand enable" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand enable" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand enable" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand enable" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand disable" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand disable" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand disable" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand disable" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand disable" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand disable" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand disable" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand disable" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand disable" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand disable" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand scale" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand scale" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand scale" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand scale" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand scale" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand scale" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand scale" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand scale" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand scale" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand scale" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand signal" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand signal" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand signal" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand signal" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand signal" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand signal" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand signal" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand signal" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand signal" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand signal" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and not __fish_seen_subcommand_from history pause resume" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and not __fish_seen_subcommand_from history pause resume" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and not __fish_seen_subcommand_from history pause resume" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and not __fish_seen_subcommand_from history pause resume" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and not __fish_seen_subcommand_from history pause resume" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and not __fish_seen_subcommand_from history pause resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and not __fish_seen_subcommand_from history pause resume" -f -a "history" -d 'Show the runs that are remembered, the newest first: result, exit, duration, and why'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and not __fish_seen_subcommand_from history pause resume" -f -a "pause" -d 'Do not run jobs by their schedules until resume; what is in progress goes on'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and not __fish_seen_subcommand_from history pause resume" -f -a "resume" -d 'Run jobs by their schedules again; what came meanwhile is not made up for'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from history" -s n -l lines -d 'How many' -r
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from history" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from history" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from history" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from history" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from history" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from pause" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from pause" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from pause" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from pause" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from pause" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from pause" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from pause" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from pause" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from pause" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from resume" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from resume" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from resume" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from resume" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from resume" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from resume" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from resume" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from resume" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from resume" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand jobs; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand run" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand run" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand run" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand run" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand run" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand run" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand run" -s w -l wait -d 'Wait until the run is over, and end with its exit code'
complete -c svctl -n "__fish_svctl_using_subcommand run" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand run" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand run" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand logs" -l run -d 'Only this run of the job that is named' -r
complete -c svctl -n "__fish_svctl_using_subcommand logs" -s n -l lines -d 'How many of the last lines; default: 100, with -f 10, with --since all' -r
complete -c svctl -n "__fish_svctl_using_subcommand logs" -l since -d 'From this time on: 10m (ago), 14:30, 2026-11-23, "2026-11-23 14:30", 2026-11-23T14:30:00Z' -r
complete -c svctl -n "__fish_svctl_using_subcommand logs" -l until -d 'Up to this time' -r
complete -c svctl -n "__fish_svctl_using_subcommand logs" -l grep -d 'Only lines that match this regular expression' -r
complete -c svctl -n "__fish_svctl_using_subcommand logs" -l stream -d 'Only this stream' -r -f -a "stdout\t''
stderr\t''"
complete -c svctl -n "__fish_svctl_using_subcommand logs" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand logs" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand logs" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand logs" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand logs" -s f -l follow -d 'Go on with what is written from now on'
complete -c svctl -n "__fish_svctl_using_subcommand logs" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand exec" -l process -d 'As this process; default: the first of the config' -r
complete -c svctl -n "__fish_svctl_using_subcommand exec" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand exec" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand exec" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand exec" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand exec" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand apply" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand apply" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand apply" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand apply" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand apply" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand apply" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand apply" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand apply" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand apply" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand env" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand env" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand env" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand env" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand env" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand env" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand events" -s n -l lines -d 'How many of the past' -r
complete -c svctl -n "__fish_svctl_using_subcommand events" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand events" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand events" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand events" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand events" -s f -l follow -d 'Go on with what happens from now on'
complete -c svctl -n "__fish_svctl_using_subcommand events" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand wait" -l for -d 'What to wait for' -r -f -a "ready\t'All instances are ready or completed'
stopped\t'Nothing of them runs any more, nor anything that replaces them or was replaced by them'
completed\t'All one-shots are completed'"
complete -c svctl -n "__fish_svctl_using_subcommand wait" -l timeout -d 'How long: 30s, 5m; default: without end' -r
complete -c svctl -n "__fish_svctl_using_subcommand wait" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand wait" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand wait" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand wait" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand wait" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand wait" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -l manager-only -d 'Leave the keeper, which needs it seldom, as it is'
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand upgrade" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -l reason -d 'Why, for the history' -r
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -l timeout -d 'Give up waiting for the end after this time (30s, 5m); svd goes on with it' -r
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -l now -d 'Kill at once, without stop signals and grace periods'
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -l dry-run -d 'Only say what would be done'
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -s v -l verbose -d 'Show what happens meanwhile even where standard error is no terminal'
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand shutdown" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand check" -s e -l environment -d 'With this environment\'s overlay' -r
complete -c svctl -n "__fish_svctl_using_subcommand check" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand check" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand check" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand check" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand check" -l schema -d 'Print a JSON schema of the config for editors instead'
complete -c svctl -n "__fish_svctl_using_subcommand check" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand doctor" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand doctor" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand doctor" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand doctor" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand doctor" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand schedule" -l timezone -d 'The zone whose clock counts: Europe/Berlin' -r
complete -c svctl -n "__fish_svctl_using_subcommand schedule" -l after -d 'Begin after this instant, not now: 2026-11-23T14:30:00Z, or a time of the zone: "2026-11-23 14:30"' -r
complete -c svctl -n "__fish_svctl_using_subcommand schedule" -s n -l count -d 'How many instants' -r
complete -c svctl -n "__fish_svctl_using_subcommand schedule" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand schedule" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand schedule" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand schedule" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand schedule" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand schedule" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand import; and not __fish_seen_subcommand_from crontab" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand import; and not __fish_seen_subcommand_from crontab" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand import; and not __fish_seen_subcommand_from crontab" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand import; and not __fish_seen_subcommand_from crontab" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand import; and not __fish_seen_subcommand_from crontab" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand import; and not __fish_seen_subcommand_from crontab" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand import; and not __fish_seen_subcommand_from crontab" -f -a "crontab" -d 'Translate a crontab to jobs; what is not the same is told on standard error'
complete -c svctl -n "__fish_svctl_using_subcommand import; and __fish_seen_subcommand_from crontab" -s o -l output -d 'Write the config to this new file instead of standard output' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand import; and __fish_seen_subcommand_from crontab" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand import; and __fish_seen_subcommand_from crontab" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand import; and __fish_seen_subcommand_from crontab" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand import; and __fish_seen_subcommand_from crontab" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand import; and __fish_seen_subcommand_from crontab" -l system -d 'The sixth field is the user, as in /etc/crontab and /etc/cron.d'
complete -c svctl -n "__fish_svctl_using_subcommand import; and __fish_seen_subcommand_from crontab" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand import; and __fish_seen_subcommand_from crontab" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c svctl -n "__fish_svctl_using_subcommand completions" -s a -l app -d 'The app, where several run on this host' -r
complete -c svctl -n "__fish_svctl_using_subcommand completions" -l socket -d 'Control socket of the app' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand completions" -l root -d 'The --root that svd was started with' -r -F
complete -c svctl -n "__fish_svctl_using_subcommand completions" -l color -d 'When to use colour; NO_COLOR in the environment switches auto off' -r -f -a "auto\t'On a terminal'
always\t''
never\t''"
complete -c svctl -n "__fish_svctl_using_subcommand completions" -l json -d 'Print JSON; errors too are then an object on standard output: {"error": "..."}'
complete -c svctl -n "__fish_svctl_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
