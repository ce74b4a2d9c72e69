//! Through a real Unix socket, with a main loop that is made up.

mod bounds;
mod document;
mod fake;
mod happy;
mod roles;
mod streams;
