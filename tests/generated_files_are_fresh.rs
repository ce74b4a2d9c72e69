//! Man pages and completions are made from the tables they describe. `SVD_BLESS=1 cargo test --test
//! generated_files_are_fresh` writes them anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All generated files: path below the repository, and text.
fn generated() -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([("man/Procfile.toml.5".to_owned(), svd_config::reference_man())]);
    for command in [svd_ctl::command(), svd_manager::cli::command()] {
        files.insert(format!("man/{}.1", command.get_name()), svd_ctl::manual(&command));
        for (name, script) in svd_ctl::completion_scripts(&command) {
            files.insert(format!("man/completions/{name}"), script);
        }
    }
    files
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of all files below a directory.
fn below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { below(&path, found) } else { found.push(path) }
    }
}

#[test]
fn man_pages_and_completions_say_what_the_code_says() {
    let files = generated();
    if std::env::var_os("SVD_BLESS").is_some_and(|value| value == "1") {
        for (name, text) in &files {
            let path = repository().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    for (name, text) in &files {
        let kept = std::fs::read_to_string(repository().join(name)).unwrap_or_default();
        assert!(kept == *text, "{name} is stale: run SVD_BLESS=1 cargo test --test generated_files_are_fresh");
    }
}

#[test]
fn nothing_lies_among_them_that_is_not_generated() {
    let files = generated();
    let mut found = Vec::new();
    below(&repository().join("man"), &mut found);
    for path in found {
        let name = path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned();
        assert!(files.contains_key(&name), "{name} is not made by the code: delete it");
    }
}
