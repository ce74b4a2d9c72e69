//! The log path with real pipes, files and kills.

mod kill;
mod printed;
mod read;
mod rig;
mod store;
