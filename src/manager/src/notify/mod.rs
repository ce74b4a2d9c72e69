//! Telling others of what happens: who is told of what, in which order, and how by HTTP. Commands are started by the main
//! loop (`run/notices.rs`), as all processes are.

mod post;
mod queue;
mod tls;
mod told;

pub use post::{BEGIN, END, HOUR, MOST_TRIES, Post, deliver};
pub use queue::{Given, How, Notice, Notices, Place, kinds};
pub use told::{json, variables};
