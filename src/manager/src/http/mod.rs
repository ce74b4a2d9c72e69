//! The control API: HTTP/1.1 and JSON over the control socket.
//!
//! The table in `routes.rs` is all there is: it drives the dispatch, the roles and the OpenAPI document, and a request
//! reaches nothing that it does not name. State belongs to the main loop, which is asked through [`crate::ask`].

mod access;
mod answer;
mod command;
mod connection;
mod dispatch;
mod jobs;
mod limits;
mod logs;
mod look;
mod openapi;
mod query;
mod routes;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod wait;
mod why;

pub use access::Access;
pub use openapi::openapi;
pub use routes::{Endpoint, Method, Param, ROUTES, Route};
pub use server::{ApiState, serve};
