use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use svd_api as api;
use svd_core::{Change, Desired, InstanceName, Target};

use super::*;

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("svd-store-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
    fn file(&self) -> PathBuf {
        self.0.join("root").join("state.db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Opens the store once the thread of a handle dropped before has let go of the file.
fn open(path: &Path) -> (Store, Loaded) {
    Store::open(Place::File(path.to_owned())).unwrap()
}

fn event(kind: &str, instance: Option<&str>) -> NewEvent {
    let process = instance.map(|name| name.split('.').next().unwrap().to_owned());
    NewEvent {
        time_ns: 1_700_000_000_123_456_789,
        kind: kind.to_owned(),
        process,
        instance: instance.filter(|name| name.contains('.')).map(str::to_owned),
        message: kind.to_owned(),
        ..NewEvent::default()
    }
}

fn commit(store: &Store, changes: Vec<Change>, events: Vec<NewEvent>) -> Vec<Arc<api::Event>> {
    store.commit(Batch { changes, events, ..Batch::default() }).blocking_recv().unwrap().unwrap()
}

fn query(store: &Store, query: EventQuery) -> Vec<api::Event> {
    store.events(query).blocking_recv().unwrap().unwrap()
}

fn kinds(events: &[api::Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

fn changes() -> Vec<Change> {
    vec![
        Change::Scale("web".into(), Some(4)),
        Change::Scale("api".into(), Some(2)),
        Change::Scale("api".into(), None),
        Change::Disabled("worker".into(), true),
        Change::Disabled("clock".into(), true),
        Change::Disabled("clock".into(), false),
        Change::Stopped(Target { process: "web".into(), index: Some(2) }, true),
        Change::Stopped(Target { process: "cron".into(), index: None }, true),
        Change::Stopped(Target { process: "db".into(), index: None }, true),
        Change::Stopped(Target { process: "db".into(), index: None }, false),
        Change::Generation(InstanceName::new("web", 1), 7),
        Change::Generation(InstanceName::new("web", 2), u64::MAX),
    ]
}

#[test]
fn what_is_committed_is_there_after_a_new_open() {
    let scratch = Scratch::new();
    let mut expected = Desired::default();
    changes().iter().for_each(|change| expected.apply(change));
    {
        let (store, loaded) = open(&scratch.file());
        assert_eq!(loaded, Loaded::default());
        let stored = commit(&store, changes(), vec![event("command.scale", Some("web"))]);
        assert_eq!(stored[0].id, 1);
        assert_eq!(stored[0].time, "2023-11-14T22:13:20.123Z");
    }
    let (store, loaded) = open(&scratch.file());
    assert_eq!(loaded.desired, expected);
    assert_eq!(kinds(&query(&store, EventQuery::default())), ["command.scale"]);
}

#[test]
fn a_new_keeper_forgets_what_was_stopped_and_keeps_scale_and_disabled() {
    let scratch = Scratch::new();
    let (store, _) = open(&scratch.file());
    store.begin([1; 16]).blocking_recv().unwrap().unwrap();
    commit(&store, changes(), vec![]);

    let same_keeper = store.begin([1; 16]).blocking_recv().unwrap().unwrap();
    assert_eq!(same_keeper.stopped.len(), 2);
    assert_eq!(same_keeper.generation.len(), 2);

    let new_keeper = store.begin([2; 16]).blocking_recv().unwrap().unwrap();
    assert_eq!(new_keeper.stopped.len() + new_keeper.generation.len(), 0);
    assert_eq!(new_keeper.scale[&Arc::from("web")], 4);
    assert!(new_keeper.disabled.contains("worker"));
}

#[test]
fn a_report_told_again_by_the_keeper_is_stored_once() {
    let (store, _) = Store::open(Place::Memory).unwrap();
    let exited = NewEvent { report: Some(([9; 16], u64::MAX)), ..event("instance.exited", Some("web.1")) };
    let plain = event("instance.backoff", Some("web.1"));
    assert_eq!(commit(&store, vec![], vec![exited.clone(), plain.clone()]).len(), 2);

    let again = commit(&store, vec![], vec![exited.clone(), plain]);
    assert_eq!(again.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["instance.backoff"]);

    let other_keeper = NewEvent { report: Some(([8; 16], u64::MAX)), ..exited };
    assert_eq!(commit(&store, vec![], vec![other_keeper]).len(), 1);
}

#[test]
fn history_is_read_by_target_kind_and_page() {
    let (store, _) = Store::open(Place::Memory).unwrap();
    let exit = Some(api::Exit::Signal { signal: "KILL".into(), oom: true, core: false });
    let killed = NewEvent { exit: exit.clone(), pid: Some(7), ..event("c", Some("web.1")) };
    let all =
        vec![event("a", None), event("b", Some("web")), killed, event("d", Some("web.2")), event("e", Some("db.1"))];
    commit(&store, vec![], all);

    let target =
        |names: &[&str]| EventQuery { target: names.iter().map(|n| n.to_string()).collect(), ..Default::default() };
    assert_eq!(kinds(&query(&store, target(&["web"]))), ["b", "c", "d"]);
    assert_eq!(kinds(&query(&store, target(&["web.1"]))), ["b", "c"]);
    assert_eq!(kinds(&query(&store, target(&["web.2", "db"]))), ["b", "d", "e"]);
    assert_eq!(kinds(&query(&store, target(&["web.2", "web.1", "web"]))), ["b", "c", "d"]);
    assert_eq!(kinds(&query(&store, EventQuery { limit: 1, ..target(&["web.1", "db.1"]) })), ["e"]);
    assert_eq!(kinds(&query(&store, EventQuery { limit: 2, after_id: Some(2), ..target(&["web", "db"]) })), ["c", "d"]);
    let many = (0..300).map(|n| format!("p{n}.1")).chain(["web.1".to_owned()]).collect::<Vec<_>>();
    assert_eq!(kinds(&query(&store, target(&many.iter().map(String::as_str).collect::<Vec<_>>()))), [""; 0]);
    assert_eq!(kinds(&query(&store, target(&["'; DROP TABLE event; --"]))), [""; 0]);
    assert_eq!(kinds(&query(&store, EventQuery { limit: 2, ..Default::default() })), ["d", "e"]);
    assert_eq!(kinds(&query(&store, EventQuery { limit: 2, before_id: Some(4), ..Default::default() })), ["b", "c"]);
    assert_eq!(kinds(&query(&store, EventQuery { limit: 2, after_id: Some(1), ..Default::default() })), ["b", "c"]);
    let some = EventQuery { kinds: vec!["a".into(), "c".into()], ..Default::default() };
    let found = query(&store, some);
    assert_eq!(kinds(&found), ["a", "c"]);
    assert_eq!((&found[1].exit, found[1].pid), (&exit, Some(7)));
}

#[test]
fn file_and_directory_are_for_svd_only() {
    let scratch = Scratch::new();
    let (store, _) = open(&scratch.file());
    commit(&store, changes(), vec![]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(scratch.file().parent().unwrap()), 0o750);
    for entry in fs::read_dir(scratch.file().parent().unwrap()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

/// Fault 41.
#[test]
fn a_file_that_is_no_database_is_moved_aside_and_told() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.file().parent().unwrap()).unwrap();
    fs::write(scratch.file(), "not a database, but longer than the header of one: ".repeat(40)).unwrap();

    let (store, loaded) = open(&scratch.file());

    assert_eq!(loaded.desired, Desired::default());
    assert!(loaded.warnings[0].contains("was moved to"), "{:?}", loaded.warnings);
    commit(&store, changes(), vec![]);
    let names = fs::read_dir(scratch.file().parent().unwrap()).unwrap();
    let aside = names.map(|entry| entry.unwrap().path()).find(|path| path.display().to_string().contains(".broken-"));
    assert!(fs::read_to_string(aside.unwrap()).unwrap().starts_with("not a database"));
}

/// Fault 54.
#[test]
fn a_database_of_a_later_version_is_refused_and_left_as_it_is() {
    let scratch = Scratch::new();
    drop(open(&scratch.file()));
    let later = rusqlite::Connection::open(scratch.file()).unwrap();
    later.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    later.pragma_update(None, "user_version", 7).unwrap();
    drop(later);
    let before = fs::read(scratch.file()).unwrap();

    let refused = Store::open(Place::File(scratch.file())).unwrap_err();

    assert!(matches!(refused, StoreError::Newer { found: 7, known: 2, .. }), "{refused:?}");
    assert!(refused.to_string().contains("schema version 7"), "{refused}");
    assert_eq!(fs::read(scratch.file()).unwrap(), before);
}

#[test]
fn a_database_of_something_else_is_refused() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.file().parent().unwrap()).unwrap();
    rusqlite::Connection::open(scratch.file()).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    assert!(matches!(Store::open(Place::File(scratch.file())), Err(StoreError::Foreign { .. })));
}

#[test]
fn a_full_disk_is_an_error_that_stores_nothing_and_passes() {
    // Given a database that may not grow
    let mut connection = schema::open(&Place::Memory).unwrap();
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    connection.pragma_update(None, "max_page_count", pages + 1).unwrap();
    let big = |n: usize| (0..n).map(|_| NewEvent { message: "x".repeat(4000), ..event("a", None) }).collect::<Vec<_>>();

    // When more is stored than fits
    let transaction = connection.transaction().unwrap();
    let batch = Batch { changes: vec![Change::Scale("web".into(), Some(9))], events: big(50), ..Batch::default() };
    let full = write::apply(&transaction, &batch).unwrap_err();
    drop(transaction);

    // Then it says so and nothing is there; with room it works again
    assert!(matches!(full, StoreError::Full(_)), "{full:?}");
    assert_eq!(write::load(&connection).unwrap(), Desired::default());
    assert_eq!(write::count(&connection).unwrap(), 0);
    connection.pragma_update(None, "max_page_count", 10_000).unwrap();
    let transaction = connection.transaction().unwrap();
    assert_eq!(write::apply(&transaction, &Batch { events: big(50), ..Default::default() }).unwrap().len(), 50);
}

#[test]
fn history_is_bounded_in_number_and_age_a_little_at_a_time() {
    let mut connection = schema::open(&Place::Memory).unwrap();
    let day = 86_400_000_000_000;
    let at = |days: u64| NewEvent { time_ns: 1_700_000_000_000_000_000 + days * day, ..event("a", None) };
    let transaction = connection.transaction().unwrap();
    let old = (0..1_500).map(|_| at(0)).collect();
    write::apply(&transaction, &Batch { events: old, ..Default::default() }).unwrap();

    // Too many: some go, more than were added
    assert_eq!(write::prune(&transaction, write::MAX_EVENTS + 1_000, 10).unwrap(), 74);
    assert_eq!(write::prune(&transaction, 1_426, 10).unwrap(), 0, "not too old yet");

    // Too old: some go, but never below what is kept whatever the clock says
    write::apply(&transaction, &Batch { events: vec![at(91)], ..Default::default() }).unwrap();
    assert_eq!(write::prune(&transaction, 1_427, 1).unwrap(), 65);
    assert_eq!(write::prune(&transaction, 1_001, 1).unwrap(), 1);
    assert_eq!(write::prune(&transaction, 1_000, 1).unwrap(), 0);
}

#[test]
fn a_text_without_end_is_cut_at_a_character() {
    let (store, _) = Store::open(Place::Memory).unwrap();
    let long = NewEvent { message: "ä".repeat(10_000), ..event("a", None) };
    let stored = commit(&store, vec![], vec![long]);
    assert_eq!(stored[0].message.chars().count(), 2049);
    assert_eq!(query(&store, EventQuery::default())[0], *stored[0]);
}

#[test]
fn a_thousand_batches_at_once_are_all_stored_or_refused_as_busy() {
    let scratch = Scratch::new();
    let (store, _) = open(&scratch.file());
    let answers: Vec<_> = (0..2_000)
        .map(|_| store.commit(Batch { events: vec![event("a", Some("web.1"))], ..Default::default() }))
        .collect();
    let mut stored = Vec::new();
    for answer in answers {
        match answer.blocking_recv().unwrap() {
            Ok(events) => stored.push(events[0].id),
            Err(error) => assert_eq!(error, StoreError::Busy),
        }
    }
    assert!(stored.len() >= 1024, "{}", stored.len());
    assert_eq!(stored, (1..=stored.len() as i64).collect::<Vec<_>>());
    let found = query(&store, EventQuery { limit: 10_000, ..Default::default() });
    assert_eq!(found.len(), stored.len());
}

/// What the main loop relies on after a power cut: at every length of the log there is the old or the new state.
/// Fault 52.
#[test]
fn a_log_cut_anywhere_gives_a_state_that_was_committed() {
    let scratch = Scratch::new();
    let (store, _) = open(&scratch.file());
    for count in 1..=5 {
        let stopped = Change::Stopped(Target { process: "web".into(), index: Some(count) }, true);
        commit(&store, vec![Change::Scale("web".into(), Some(count)), stopped], vec![event("a", None)]);
    }
    let database = fs::read(scratch.file()).unwrap();
    let log = fs::read(scratch.file().with_extension("db-wal")).unwrap();
    let cut = scratch.0.join("cut.db");
    let mut seen = std::collections::BTreeSet::new();
    for length in (0..=log.len()).step_by(1021).chain([log.len()]) {
        fs::write(&cut, &database).unwrap();
        fs::write(cut.with_extension("db-wal"), &log[..length]).unwrap();
        let connection = schema::open(&Place::File(cut.clone())).unwrap();
        let desired = write::load(&connection).unwrap();
        let count = desired.scale.get("web").copied().unwrap_or(0);
        assert_eq!(desired.stopped.len(), count as usize, "torn at {length}");
        assert_eq!(write::count(&connection).unwrap(), u64::from(count));
        seen.insert(count);
        drop(connection);
    }
    assert!(seen.contains(&0) && seen.contains(&5), "{seen:?}");
}

#[test]
fn a_batch_given_again_leaves_alone_what_a_later_one_has_changed() {
    let batch = |changes: &[Change]| Batch { changes: changes.to_vec(), ..Batch::default() };
    let mut failed = batch(&[
        Change::Scale("web".into(), Some(4)),
        Change::Scale("api".into(), Some(4)),
        Change::Disabled("web".into(), true),
    ]);
    failed.drop_superseded_by(&batch(&[Change::Scale("web".into(), None), Change::Disabled("api".into(), true)]));
    assert_eq!(failed.changes, [Change::Scale("api".into(), Some(4)), Change::Disabled("web".into(), true)]);
}

/// Overwrites what is in the file from the second page on.
fn damage(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    assert!(length > 8192);
    file.write_all_at(&vec![0xa5; length as usize - 4096], 4096).unwrap();
}

/// Fills the database so that its pages do not fit into the cache, and empties its log into the file.
fn fill(path: &Path) {
    let (store, _) = open(path);
    store.begin([1; 16]).blocking_recv().unwrap().unwrap();
    let big = |_| NewEvent { message: "x".repeat(4000), ..event("a", Some("web.1")) };
    commit(&store, changes(), (0..300).map(big).collect());
    drop(store);
    // The file is free, and its log written back, once the thread has let go of it
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

#[test]
fn a_database_with_damaged_tables_is_moved_aside_when_it_is_opened() {
    let scratch = Scratch::new();
    fill(&scratch.file());
    damage(&scratch.file());
    let (store, loaded) = open(&scratch.file());
    assert!(loaded.warnings[0].contains("was damaged"), "{:?}", loaded.warnings);
    assert_eq!(commit(&store, changes(), vec![event("b", None)])[0].id, 1);
}

#[test]
fn a_database_that_is_damaged_while_svd_runs_is_replaced_without_forgetting_what_is_desired() {
    let scratch = Scratch::new();
    fill(&scratch.file());
    let (store, loaded) = open(&scratch.file());
    damage(&scratch.file());

    // Reading brings the damage to light, writing replaces the file
    let query_all = EventQuery { limit: 10_000, ..EventQuery::default() };
    assert!(matches!(store.events(query_all.clone()).blocking_recv().unwrap(), Err(StoreError::Damaged(_))));
    let stored = commit(&store, vec![Change::Scale("api".into(), Some(3))], vec![event("b", None)]);

    assert_eq!(stored[0].id, 302, "numbers go on");
    assert_eq!(kinds(&query(&store, query_all)), ["store.replaced", "b"]);
    drop(store);
    let mut expected = loaded.desired;
    expected.apply(&Change::Scale("api".into(), Some(3)));
    assert_eq!(open(&scratch.file()).1, Loaded { desired: expected, warnings: vec![] });
}
