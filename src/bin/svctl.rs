//! svctl: the command line of svd.

fn main() -> std::process::ExitCode {
    svd_ctl::main()
}
