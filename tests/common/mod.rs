//! Harness of the scenario tests: one [`App`] is one svd with a directory of its own.
//!
//! It starts the real binaries, and it asks them as users do: by svctl, by the control socket, by signals, by what
//! they print. It waits only for events, each with a deadline. It leaves nothing behind: an `App` that goes out of
//! scope stops its svd and fails the test when a process of it is left.
#![allow(dead_code, unused_imports)] // Every test binary has its own copy and uses a part of it.

mod app;
mod chaos;
mod fixture;
mod http;
mod lines;
mod load;
mod procfs;
mod real;
mod wait;

pub use app::{App, Reply, python};
pub use chaos::{Killer, change, manager, ready_pids, roll};
pub use fixture::unpack;
pub use http::{Answer, ask, connect, request};
pub use lines::Lines;
pub use load::{Client, Load, Running, Tally};
pub use procfs::{children, environ, is_alive, open_descriptors, status_field, zombies_below};
pub use real::{Redis, free_port, program, venv};
pub use wait::{DEADLINE, eventually, file_with, instant_within, no_sooner, wait_ended, wait_path};

/// Says loudly that a scenario could not be run here, and why.
pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}
