//! Opening the database: its file, its settings, its versions.
//!
//! A database of a later version is refused untouched. A damaged one is moved aside, never deleted. Nothing here knows
//! what the rows mean.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::types::{Place, StoreError};
use crate::instant::instant;

/// "svds": tells svd's databases from other ones.
const APPLICATION_ID: i64 = 0x7376_6473;

/// What brings a database from version n to n + 1. Entries are added, never changed: the databases of users have been
/// through them.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE scale (process TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE disabled (process TEXT PRIMARY KEY) WITHOUT ROWID;
    -- number 0: the process as a whole
    CREATE TABLE stopped (process TEXT, number INTEGER, PRIMARY KEY (process, number)) WITHOUT ROWID;
    CREATE TABLE generation (process TEXT, number INTEGER, generation INTEGER NOT NULL,
        PRIMARY KEY (process, number)) WITHOUT ROWID;
    CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time_ns INTEGER NOT NULL,
        kind TEXT NOT NULL,
        process TEXT, instance TEXT, spawn INTEGER, pid INTEGER, exit TEXT, actor TEXT, reason TEXT,
        message TEXT NOT NULL,
        boot BLOB, seq INTEGER);
    CREATE UNIQUE INDEX event_report ON event (boot, seq) WHERE boot IS NOT NULL;
    CREATE INDEX event_process ON event (process, id) WHERE process IS NOT NULL;
    CREATE INDEX event_instance ON event (instance, id) WHERE instance IS NOT NULL;
    CREATE INDEX event_process_itself ON event (process, id) WHERE instance IS NULL;
", "
    -- instants are nanoseconds since 1970
    CREATE TABLE job (
        name TEXT PRIMARY KEY,
        handled INTEGER, gap_from INTEGER, gap_to INTEGER, ahead_from INTEGER, ahead_to INTEGER,
        paused INTEGER, idle INTEGER NOT NULL, schedule TEXT NOT NULL, rebooted INTEGER NOT NULL, missed INTEGER NOT NULL
    ) WITHOUT ROWID;
    -- phase: queued, begun, or the result of one that is over; lost: an earlier start of svd has left it
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        job TEXT NOT NULL, cause TEXT NOT NULL, scheduled INTEGER, count INTEGER NOT NULL,
        created INTEGER NOT NULL, started INTEGER, ended INTEGER, attempts INTEGER NOT NULL, exit TEXT,
        phase TEXT NOT NULL, stopping TEXT, why TEXT NOT NULL, actor TEXT, lost INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX run_job ON run (job, id);
    CREATE INDEX run_open ON run (id) WHERE ended IS NULL;
"];

/// The newest version that this build knows.
pub fn known() -> i64 {
    MIGRATIONS.len() as i64
}

/// A connection to the database, brought to the newest version.
pub fn open(place: &Place) -> Result<Connection, StoreError> {
    match place {
        Place::File(path) => {
            create(path)?;
            open_file(path)
        }
        Place::Memory => {
            let mut connection = Connection::open_in_memory()?;
            settle(&mut connection, "memory")?;
            Ok(connection)
        }
    }
}

fn open_file(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    settle(&mut connection, &path.display().to_string())?;
    Ok(connection)
}

/// Looks before it writes: a file of a later version, or of another program, stays as it is.
fn settle(connection: &mut Connection, path: &str) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::from_secs(5))?;
    // Only one svd uses the file (the keeper holds a lock). An exclusive lock keeps the index of the log in our own
    // memory, which also works where files cannot be shared by mmap.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", -256)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (tables > 0 || found != 0) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if found > known() {
        let path = path.to_owned();
        return Err(StoreError::Newer { path, found, known: known(), build: env!("CARGO_PKG_VERSION") });
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 256)?;
    connection.pragma_update(None, "journal_size_limit", 1 << 20)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(16);
    for (version, script) in (1i64..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(script)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Makes directory (0750) and file (0600) where they are missing, durably: a file whose
/// name is lost in a power cut is a lost file. SQLite gives its log the mode of the file.
fn create(path: &Path) -> Result<(), StoreError> {
    let failed = |what: &'static str, path: &Path, error: io::Error| StoreError::Open {
        what,
        path: path.display().to_string(),
        error: error.to_string(),
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory)
            .map_err(|error| failed("make directory", directory, error))?;
        if let Some(above) = directory.parent().filter(|above| !above.as_os_str().is_empty()) {
            sync_directory(above).map_err(|error| failed("sync", above, error))?;
        }
    }
    let is_new = !path.exists();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed("open", path, error))?;
    if is_new {
        sync_directory(directory).map_err(|error| failed("sync", directory, error))?;
    }
    let wide = file.metadata().map(|data| data.permissions().mode() & 0o077 != 0).unwrap_or(false);
    if wide {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(|error| failed("set the mode of", path, error))?;
    }
    Ok(())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Renames the database and its log; says to what. Nobody may have it open.
pub fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let now = instant(svd_sys::clock::now().real_ns);
    let suffix = format!(".broken-{}", now.strftime("%Y%m%dT%H%M%S%.6fZ"));
    let with = |middle: &str, end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(middle);
        name.push(end);
        PathBuf::from(name)
    };
    for tail in ["", "-wal", "-shm"] {
        match std::fs::rename(with("", tail), with(&suffix, tail)) {
            Err(error) if tail.is_empty() || error.kind() != io::ErrorKind::NotFound => {
                let path = with("", tail).display().to_string();
                return Err(StoreError::Open { what: "move aside", path, error: error.to_string() });
            }
            _ => {}
        }
    }
    Ok(with(&suffix, ""))
}
