//! What a thread that the manager cannot go on without does when it panics.

/// Ends the process when its thread panics: the keeper starts a manager that goes on where this one was, which a process
/// with a dead thread would not.
pub struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
