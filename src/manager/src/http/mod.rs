//! The control API over HTTP/1.1: routes, roles, bounds.
