//! System calls behind safe functions: the only crate with unsafe code
