//! svd: keeps the processes of an app running.

fn main() -> std::process::ExitCode {
    svd_keeper::main(svd_manager::manage, svd_manager::tool)
}
