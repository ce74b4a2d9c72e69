//! The log path with real pipes, files and kills.

mod kill;
mod read;
mod rig;
mod store;
