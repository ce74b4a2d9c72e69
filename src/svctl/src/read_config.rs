//! Config files as they are on disk, for `svctl check` and for finding the app that is meant.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The file system, for the config's reader.
pub(crate) struct Disk;

impl svd_config::Files for Disk {
    fn read(&self, path: &Path) -> io::Result<(String, u32)> {
        let mode = std::fs::metadata(path)?.permissions().mode();
        Ok((std::fs::read_to_string(path)?, mode & 0o7777))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        std::fs::read_dir(dir)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }
}

/// The app whose config lies in this directory, if there is one.
pub(crate) fn app_of(dir: &Path) -> Option<String> {
    let path = svd_config::find(None, dir, &Disk).ok()?;
    let (text, mode) = svd_config::Files::read(&Disk, &path).ok()?;
    let toml = path.extension().is_some_and(|extension| extension == "toml");
    let kind = if toml { svd_config::SourceKind::Toml } else { svd_config::SourceKind::Procfile };
    let app = svd_config::paths::app(&svd_config::Source { path, kind, text, mode }, dir);
    (!app.is_empty()).then_some(app)
}
