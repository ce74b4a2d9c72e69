//! What the tests share: sources from texts.
#![allow(dead_code, missing_docs)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use svd_config::{Errors, Plan, Source, SourceKind, Sources, Warning};

pub fn source(path: &str, kind: SourceKind, text: &str) -> Source {
    Source { path: PathBuf::from(path), kind, text: text.to_owned(), mode: 0o640 }
}

pub fn toml(text: &str) -> Sources {
    sources(source("Procfile.toml", SourceKind::Toml, text))
}

pub fn procfile(text: &str) -> Sources {
    sources(source("Procfile", SourceKind::Procfile, text))
}

fn sources(main: Source) -> Sources {
    let inherited = [("PATH", "/usr/bin:/bin"), ("HOME", "/home/ann"), ("SECRET", "from outside")];
    let inherited: BTreeMap<String, String> =
        inherited.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources {
        main,
        dir: PathBuf::from("/srv/shop"),
        others: Vec::new(),
        environment: None,
        only: Vec::new(),
        no_jobs: false,
        inherited,
    }
}

pub fn env_file(path: &str, text: &str) -> Source {
    source(path, SourceKind::EnvFile, text)
}

#[track_caller]
pub fn plan(sources: &Sources) -> Plan {
    plan_and_warnings(sources).0
}

#[track_caller]
pub fn plan_and_warnings(sources: &Sources) -> (Plan, Vec<Warning>) {
    svd_config::plan(sources).unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
pub fn errors(sources: &Sources) -> Errors {
    svd_config::plan(sources).expect_err("there are errors")
}
