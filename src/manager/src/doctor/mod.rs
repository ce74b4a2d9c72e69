//! `svd doctor`: what svd can guarantee on this host, tried out where that can be done without touching anything.
//!
//! What holds for one user and one container need not hold for another: it is tried as the user who asks, and says so.

mod bind;
pub mod confined;
mod findings;
mod report;

use std::io::{self, Write};

use crate::cli::DoctorArgs;

/// The kernel's words without Rust's `(os error 2)`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Tries and tells. 0 whatever it finds: svd runs on the host either way, and the report says with which guarantees.
pub fn doctor(args: &DoctorArgs) -> u8 {
    if let Ok(address) = std::env::var(bind::ADDRESS) {
        return bind::as_a_program_does(&address);
    }
    let report = report::report(&findings::look());
    let text = match args.json {
        true => serde_json::to_string(&report).unwrap_or_default() + "\n",
        false => report.text(),
    };
    // A reader that has closed its end has seen what it wanted.
    let _closed = std::io::stdout().write_all(text.as_bytes());
    0
}
