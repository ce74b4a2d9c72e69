//! A plain Procfile.
#![no_main]
mod common;
use common::{check, source};
use libfuzzer_sys::fuzz_target;
use svd_config::SourceKind;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check(source("Procfile", SourceKind::Procfile, text), vec![source(".env", SourceKind::EnvFile, "A=1\n")], None);
});
