//! The file system, for the config's reader.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Files as they are.
pub(crate) struct Disk;

impl svd_config::Files for Disk {
    fn read(&self, path: &Path) -> io::Result<(String, u32)> {
        let mode = std::fs::metadata(path)?.permissions().mode();
        Ok((std::fs::read_to_string(path)?, mode & 0o7777))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }
}
