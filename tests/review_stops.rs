//! The end of one tree is told as soon as it is there, whatever other trees do.

mod common;

use common::App;
use std::time::{Duration, Instant};

/// Leaves somebody behind in a session of its own, who writes its pid and then does with TERM what is said.
fn leaving(name: &str, on_term: &str) -> String {
    format!(
        "[process.{name}]
         run = [\"/bin/sh\", \"-c\", \"setsid sh -c 'trap \\\"{on_term}\\\" TERM; echo up; while :; do sleep 0.05; done' & exec sleep 1000\"]
         ready = {{ log = \"up\" }}
         stop = [\"TERM\", \"20s\", \"KILL\"]\n"
    )
}

#[test]
fn a_stop_does_not_wait_for_the_leftovers_of_another_process() {
    // given what is left of one takes no notice of TERM, what is left of the other does after a while
    let app = App::start(&format!("{}{}", leaving("stubborn", ":"), leaving("slow", "sleep 0.3; exit 0")));
    app.wait("all", "ready");
    let mut stopping = app.svctl_command(&["stop", "stubborn"]).spawn().unwrap();
    app.until_state("stubborn.1", "stopping");
    // when
    let begun = Instant::now();
    app.ok(&["stop", "slow"]);
    // then
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(app.instance("stubborn.1")["state"], "stopping");
    app.ok(&["kill", "--now", "stubborn"]);
    stopping.wait().unwrap();
}
