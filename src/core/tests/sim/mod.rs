//! A world for the core to live in: a model of the keeper and of processes, a clock that jumps from one happening to
//! the next, and managers that are killed after any action. Everything is drawn from a seed.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod checks;
pub mod plans;
pub mod run;
pub mod world;

pub use run::Sim;
