//! Reading all files that a config is made of, through the caller's eyes: svd and svctl give the same answers for the
//! same files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::Errors;
use crate::glob::glob;
use crate::paths;
use crate::source::{Source, SourceKind, Sources};
use crate::wanted::{Need, Wanted, wanted, wanted_by_included};

/// The file system, as the caller sees it.
pub trait Files {
    /// The contents of a file, and its permission bits.
    fn read(&self, path: &Path) -> io::Result<(String, u32)>;
    /// The names in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
}

/// What goes into [`Sources`] beside the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// `-e`.
    pub environment: Option<String>,
    /// `--only`; empty is all.
    pub only: Vec<String>,
    /// `--no-jobs`.
    pub no_jobs: bool,
    /// svd's own environment.
    pub inherited: BTreeMap<String, String>,
}

/// Why the files could not be read.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadError {
    /// A file is missing or cannot be read: a sentence that names it and the way out.
    File(String),
    /// Errors in the main file.
    Config(Errors),
}

/// The config file: the one that is named, else `Procfile.toml`, else `Procfile` in `here`. Absolute where `here` is.
pub fn find(named: Option<&Path>, here: &Path, files: &dyn Files) -> Result<PathBuf, ReadError> {
    if let Some(named) = named {
        return Ok(here.join(named));
    }
    let there = |name: &str| Some(here.join(name)).filter(|path| exists(path, files));
    there("Procfile.toml").or_else(|| there("Procfile")).ok_or_else(|| {
        ReadError::File(format!(
            "there is no Procfile.toml and no Procfile in {}; name the config file, as in `svd -c FILE`",
            here.display()
        ))
    })
}

fn exists(path: &Path, files: &dyn Files) -> bool {
    !matches!(files.read(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Reads the main file (an absolute path) and all that it wants. A file that is wanted and not there is left to
/// [`crate::plan()`], which tells where it was named.
pub fn read(path: &Path, options: LoadOptions, files: &dyn Files) -> Result<Sources, ReadError> {
    let main = read_main(path, files).map_err(|error| cannot(path, &error))?;
    let dir = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let mut open = wanted(&main, &dir, options.environment.as_deref()).map_err(ReadError::Config)?;
    let mut others: Vec<Source> = Vec::new();
    while !open.is_empty() {
        let mut next = Vec::new();
        for source in
            open.iter().map(|wanted| take(wanted, files)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten()
        {
            if others.iter().any(|known| known.path == source.path) {
                continue;
            }
            if source.kind == SourceKind::Toml {
                next.extend(wanted_by_included(&source, &dir));
            }
            others.push(source);
        }
        open = next;
    }
    let LoadOptions { environment, only, no_jobs, inherited } = options;
    Ok(Sources { main, dir, others, environment, only, no_jobs, inherited })
}

fn read_main(path: &Path, files: &dyn Files) -> io::Result<Source> {
    let (text, mode) = files.read(path)?;
    let toml = path.extension().is_some_and(|extension| extension == "toml");
    let kind = if toml { SourceKind::Toml } else { SourceKind::Procfile };
    let name = path.file_name().map(PathBuf::from).unwrap_or_else(|| path.to_path_buf());
    Ok(Source { path: name, kind, text, mode })
}

/// The app whose config lies in this directory, if there is one; errors in the config do not matter.
pub fn app_in(dir: &Path, files: &dyn Files) -> Option<String> {
    let path = find(None, dir, files).ok()?;
    let app = paths::app(&read_main(&path, files).ok()?, dir);
    (!app.is_empty()).then_some(app)
}

/// Reads one wanted file, or all that a pattern names.
fn take(wanted: &Wanted, files: &dyn Files) -> Result<Vec<Source>, ReadError> {
    let paths = match wanted.need {
        Need::Required | Need::Optional => vec![wanted.path.clone()],
        Need::Pattern => expand(&wanted.path, files),
    };
    let mut sources = Vec::new();
    for path in paths {
        match files.read(&path) {
            Ok((text, mode)) => sources.push(Source { path, kind: wanted.kind, text, mode }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(&path, &error)),
        }
    }
    Ok(sources)
}

/// The paths that match, sorted; a directory that cannot be listed matches nothing.
fn expand(pattern: &Path, files: &dyn Files) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::new()];
    for component in pattern.components() {
        let text = component.as_os_str().to_string_lossy();
        let wild = matches!(component, Component::Normal(_)) && text.contains(['*', '?', '[']);
        paths = paths
            .into_iter()
            .flat_map(|base| {
                if !wild {
                    return vec![base.join(component)];
                }
                let mut names = files.list(&base).unwrap_or_default();
                names.sort();
                // As in a shell, a pattern does not mean hidden files unless it says so.
                names.retain(|name| (text.starts_with('.') || !name.starts_with('.')) && glob(&text, name));
                names.into_iter().map(|name| base.join(name)).collect()
            })
            .collect();
    }
    paths
}

fn cannot(path: &Path, error: &io::Error) -> ReadError {
    let path = path.display();
    ReadError::File(match error.kind() {
        io::ErrorKind::NotFound => format!("the config file {path} does not exist"),
        io::ErrorKind::InvalidData => format!("{path} is not UTF-8 text"),
        _ => format!("{path} cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Map(BTreeMap<&'static str, &'static str>);

    impl Files for Map {
        fn read(&self, path: &Path) -> io::Result<(String, u32)> {
            let found = path.to_str().and_then(|path| self.0.get(path));
            found.map(|text| (text.to_string(), 0o600)).ok_or(io::ErrorKind::NotFound.into())
        }
        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            let inside = self.0.keys().filter_map(|path| Path::new(path).strip_prefix(dir).ok());
            Ok(inside.filter(|p| p.components().count() == 1).map(|p| p.display().to_string()).collect())
        }
    }

    #[test]
    fn a_config_is_read_with_all_that_it_wants() {
        let files = Map(BTreeMap::from([
            ("/a/Procfile.toml", "include = [\"conf.d/*.toml\"]\nenv_file = \".env\"\n[process]\nweb = \"web\"\n"),
            ("/a/.env", "A=1\n"),
            ("/a/conf.d/one.toml", "[process.one]\nrun = \"one\"\nenv_file = \"one.env\"\n"),
            ("/a/conf.d/.hidden.toml", "["),
            ("/a/one.env", "B=2\n"),
        ]));
        let path = find(None, Path::new("/a"), &files).unwrap();
        assert_eq!(path, Path::new("/a/Procfile.toml"));
        let sources = read(&path, LoadOptions::default(), &files).unwrap();
        let read: Vec<_> = sources.others.iter().map(|source| source.path.display().to_string()).collect();
        assert_eq!(read, ["/a/conf.d/one.toml", "/a/.env", "/a/one.env"]);
        assert!(crate::plan(&sources).is_ok());
    }

    #[test]
    fn a_directory_without_a_config_is_told_with_the_way_out() {
        let files = Map(BTreeMap::new());
        let ReadError::File(text) = find(None, Path::new("/a"), &files).unwrap_err() else { panic!("no file error") };
        assert_eq!(text, "there is no Procfile.toml and no Procfile in /a; name the config file, as in `svd -c FILE`");
    }
}
