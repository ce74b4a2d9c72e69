//! An `.env` file.
#![no_main]
mod common;
use common::{check, source};
use libfuzzer_sys::fuzz_target;
use svd_config::SourceKind;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let main = "env_file = [\".env\"]\nprocess.web = \"x ${A:-a} $HOME\"\n";
    check(source("Procfile.toml", SourceKind::Toml, main), vec![source(".env", SourceKind::EnvFile, text)], None);
});
