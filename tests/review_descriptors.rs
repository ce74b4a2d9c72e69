//! Few descriptors: starts are refused, and nothing else.

mod common;

use common::App;
use std::process::Command;

/// Faults 20 and 21.
#[test]
fn a_manager_without_free_descriptors_stays_and_goes_on_when_there_are_some() {
    // given more output than descriptors to hold it
    let mut app = App::new(
        "[process.many]
         run = [\"/bin/sh\", \"-c\", \"echo out; echo err >&2; exec sleep 1000\"]
         count = 60
         restart = { backoff = \"100ms..200ms\" }",
    );
    let svd = app.command();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 192; exec \"$@\"", "sh"]).arg(svd.get_program()).args(svd.get_args());
    command.current_dir(app.path(".")).env("SVD_TEST_DIR", app.path(".")).stdin(std::process::Stdio::null());
    app.boot_with(command);
    app.until("some to be refused", |status| {
        let told = status.to_string();
        (told.contains("descriptors") || told.contains("Too many open files")).then_some(())
    });
    // when there are fewer
    app.ok(&["scale", "many=5"]);
    app.wait("many", "ready");
    // then the first manager did it all
    assert_eq!(app.status()["svd"]["manager_starts"], 1);
    assert_eq!(app.process("many")["ready"], 5);
    app.ok(&["restart", "many"]);
    assert_eq!(app.stop(), Some(0));
}
