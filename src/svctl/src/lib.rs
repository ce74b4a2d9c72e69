//! svctl: the command line of svd.
//!
//! Fetching (`client`, `verbs`) is apart from showing (`view`, `text`). svctl knows of the daemon only what the control
//! API says.

mod args;
mod client;
mod disk;
mod failure;
mod find;
mod lines;
mod now;
mod pages;
mod run;
mod screen;
mod text;
mod values;
mod verbs;
mod view;

#[cfg(test)]
mod tests;

pub use pages::{command, completion_scripts, manual};
pub use run::main;
