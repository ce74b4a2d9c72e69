//! The manager: performs what the core decides, serves the control API, stores logs and state.

pub mod ask;
pub mod http;
pub mod logs;
pub mod store;
