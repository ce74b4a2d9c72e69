//! Types of the control API, shared by manager and svctl
