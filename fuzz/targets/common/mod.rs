//! A config of some texts, as `svd check` reads it: no panic, and each error has its place within its text.
use svd_config::{Source, SourceKind, Sources};

pub fn source(path: &str, kind: SourceKind, text: &str) -> Source {
    Source { path: path.into(), kind, text: text.to_owned(), mode: 0o600 }
}

pub fn check(main: Source, others: Vec<Source>, environment: Option<&str>) {
    let sources = Sources {
        main,
        dir: "/srv/shop".into(),
        others,
        environment: environment.map(str::to_owned),
        only: Vec::new(),
        no_jobs: false,
        inherited: Default::default(),
    };
    let _files = svd_config::wanted(&sources.main, &sources.dir, None);
    match svd_config::plan(&sources) {
        Ok((plan, _)) => {
            // It is the same when it is read again, and differs in nothing from itself.
            let (again, _) = svd_config::plan(&sources).expect("it was right before");
            assert!(svd_config::diff(&plan, &again).is_empty() && svd_config::diff_jobs(&plan, &again).is_empty());
            for process in plan.processes.iter().chain(plan.jobs.iter().map(|job| &job.process)) {
                if let svd_config::plan::Run::Words(words) = &process.exec.run {
                    let _words = svd_config::expand(words, &process.exec.env);
                }
            }
        }
        Err(errors) => {
            assert!(!errors.problems.is_empty());
            for problem in &errors.problems {
                let file = std::iter::once(&sources.main).chain(&sources.others).find(|one| one.path == problem.path);
                let text = &file.expect("a source").text;
                assert!(problem.line <= text.matches('\n').count() + 1, "{problem}");
                assert!(!problem.message.contains('\n'), "{problem}");
                let _shown = problem.to_string();
            }
        }
    }
}
