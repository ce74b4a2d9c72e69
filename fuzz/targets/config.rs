//! A Procfile.toml, with an environment or without.
#![no_main]
mod common;
use common::{check, source};
use libfuzzer_sys::fuzz_target;
use svd_config::SourceKind;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let main = || source("Procfile.toml", SourceKind::Toml, text);
    let others = || vec![source(".env", SourceKind::EnvFile, "A=1\n"), source("a.toml", SourceKind::Toml, "process.a = \"x\"\n")];
    check(main(), others(), None);
    check(main(), others(), Some("staging"));
});
