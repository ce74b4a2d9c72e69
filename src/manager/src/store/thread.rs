//! The store's thread: the only one that touches the database.
//!
//! SQLite waits for the disk, so it has a thread of its own and the manager's loop never waits for it. What has queued
//! up while the disk was busy is stored in one transaction with one fsync. It ends when the last [`Store`] is dropped.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::Connection;
use svd_api as api;
use svd_core::{Desired, Run, StoredJobs};
use tokio::sync::oneshot;

use super::jobs::RunQuery;
use super::types::{Batch, Commit, EventQuery, Events, Loaded, NewEvent, Notified, Place, StoreError};
use super::{jobs, read, schema, write};
use crate::abort::AbortOnPanic;

/// So many jobs may wait.
const QUEUE: usize = 1024;
/// So many batches share a transaction.
const GROUP: usize = 128;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    Begin([u8; 16], Answer<Desired>),
    Commit(Batch, Answer<Vec<Arc<api::Event>>>),
    Events(EventQuery, Answer<Vec<api::Event>>),
    Notified(Answer<Notified>),
    Jobs(Answer<StoredJobs>),
    Runs(RunQuery, Answer<Vec<Run>>),
}

/// Handle to the store's thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: SyncSender<Job>,
}

impl Store {
    /// Opens the database and starts its thread. Waits for the disk: call it before the loop runs.
    pub fn open(place: Place) -> Result<(Store, Loaded), StoreError> {
        let mut warnings = Vec::new();
        let worker = match Worker::open(&place) {
            Err(StoreError::Damaged(why)) => {
                warnings.push(set_aside(&place, &why)?);
                Worker::open(&place)?
            }
            other => other?,
        };
        let desired = worker.desired.clone();
        let (jobs, queue) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("store".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || {
                let _abort = AbortOnPanic;
                worker.run(&queue);
            })
            .map_err(|error| StoreError::Open {
                what: "start the thread for",
                path: format!("{place:?}"),
                error: error.to_string(),
            })?;
        Ok((Store { jobs }, Loaded { desired, warnings }))
    }

    /// Says which keeper (its boot id, from `Welcome`) this manager works for; every manager calls it once, before it
    /// acts. Under another keeper than the stored one svd was started afresh, and `stopped` and `generation` are
    /// forgotten. Answers what is desired from now on. A repeated call changes nothing, so a manager that dies in
    /// between loses nothing.
    pub fn begin(&self, boot: [u8; 16]) -> oneshot::Receiver<Result<Desired, StoreError>> {
        self.ask(|answer| Job::Begin(boot, answer))
    }

    /// Stores a batch in one transaction; when the answer comes it is on disk. The answer has the stored events with
    /// their ids, in order. After an error nothing of the batch is stored, and it may be given again.
    pub fn commit(&self, batch: Batch) -> Commit {
        self.ask(|answer| Job::Commit(batch, answer))
    }

    /// Reads history, after everything committed before.
    pub fn events(&self, query: EventQuery) -> Events {
        self.ask(|answer| Job::Events(query, answer))
    }

    /// Who has been told of what.
    pub fn notified(&self) -> oneshot::Receiver<Result<Notified, StoreError>> {
        self.ask(Job::Notified)
    }

    /// What is remembered of jobs. After [`Store::begin`].
    pub fn jobs(&self) -> oneshot::Receiver<Result<StoredJobs, StoreError>> {
        self.ask(Job::Jobs)
    }

    /// Reads runs of jobs, after everything committed before; the newest first.
    pub fn runs(&self, query: RunQuery) -> oneshot::Receiver<Result<Vec<Run>, StoreError>> {
        self.ask(|answer| Job::Runs(query, answer))
    }

    fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> oneshot::Receiver<Result<T, StoreError>> {
        let (answer, receiver) = oneshot::channel();
        if let Err(refused) = self.jobs.try_send(job(answer)) {
            let (error, job) = match refused {
                TrySendError::Full(job) => (StoreError::Busy, job),
                TrySendError::Disconnected(job) => (StoreError::Closed, job),
            };
            job.fail(error);
        }
        receiver
    }
}

impl Job {
    /// A receiver that is gone wants no answer.
    fn fail(self, error: StoreError) {
        match self {
            Job::Begin(_, answer) => drop(answer.send(Err(error))),
            Job::Commit(_, answer) => drop(answer.send(Err(error))),
            Job::Events(_, answer) => drop(answer.send(Err(error))),
            Job::Notified(answer) => drop(answer.send(Err(error))),
            Job::Jobs(answer) => drop(answer.send(Err(error))),
            Job::Runs(_, answer) => drop(answer.send(Err(error))),
        }
    }
}

/// Moves a damaged database away; says so in a sentence.
fn set_aside(place: &Place, why: &str) -> Result<String, StoreError> {
    let Place::File(path) = place else { return Err(StoreError::Damaged(why.to_owned())) };
    let aside = schema::move_aside(path)?;
    let (path, aside) = (path.display(), aside.display());
    Ok(format!(
        "{path} was damaged ({why}); it was moved to {aside}, and svd goes on with a new one without its history"
    ))
}

struct Worker {
    place: Place,
    connection: Connection,
    /// What the database holds, so that a damaged one can be replaced while svd runs.
    desired: Desired,
    /// Likewise of jobs; without history.
    jobs: StoredJobs,
    boot: Option<[u8; 16]>,
    /// Events in the database.
    count: u64,
    /// The last event's number.
    last: i64,
}

impl Worker {
    fn open(place: &Place) -> Result<Worker, StoreError> {
        let connection = schema::open(place)?;
        let (desired, count, last) = (write::load(&connection)?, write::count(&connection)?, write::last(&connection)?);
        let jobs = StoredJobs { history: Default::default(), ..jobs::load(&connection)? };
        Ok(Worker { place: place.clone(), connection, desired, jobs, boot: None, count, last })
    }

    fn run(mut self, queue: &Receiver<Job>) {
        let mut next = queue.recv().ok();
        while let Some(job) = next.take() {
            match job {
                Job::Commit(batch, answer) => {
                    let mut group = vec![(batch, answer)];
                    while group.len() < GROUP {
                        match queue.try_recv() {
                            Ok(Job::Commit(batch, answer)) => group.push((batch, answer)),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(group);
                }
                Job::Begin(boot, answer) => {
                    drop(answer.send(self.begin(boot)));
                }
                Job::Events(query, answer) => drop(answer.send(read::events(&self.connection, &query))),
                Job::Notified(answer) => drop(answer.send(write::notified(&self.connection))),
                Job::Jobs(answer) => drop(answer.send(jobs::load(&self.connection))),
                Job::Runs(query, answer) => drop(answer.send(jobs::runs(&self.connection, &query))),
            }
            if next.is_none() {
                next = queue.recv().ok();
            }
        }
    }

    fn commit(&mut self, group: Vec<(Batch, Answer<Vec<Arc<api::Event>>>)>) {
        let (batches, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let mut stored = self.store(&batches);
        if let Err(StoreError::Damaged(why)) = &stored {
            let why = why.clone();
            stored = self.replace(&why).and_then(|()| self.store(&batches));
        }
        match stored {
            Ok(stored) => answers.into_iter().zip(stored).for_each(|(answer, events)| drop(answer.send(Ok(events)))),
            Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone())))),
        }
    }

    fn begin(&mut self, boot: [u8; 16]) -> Result<Desired, StoreError> {
        write::begin(&mut self.connection, &boot)?;
        self.boot = Some(boot);
        self.desired = write::load(&self.connection)?;
        Ok(self.desired.clone())
    }

    fn store(&mut self, batches: &[Batch]) -> Result<Vec<Vec<Arc<api::Event>>>, StoreError> {
        // A transaction that is dropped is rolled back.
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let stored = batches.iter().map(|batch| write::apply(&transaction, batch)).collect::<Result<Vec<_>, _>>()?;
        let added = stored.iter().map(|events| events.len() as u64).sum::<u64>();
        let gone = if added > 0 { write::prune(&transaction, self.count.saturating_add(added), added)? } else { 0 };
        transaction.commit()?;
        self.count = self.count.saturating_add(added).saturating_sub(gone);
        self.last = stored.iter().flatten().map(|event| event.id).max().unwrap_or(self.last);
        batches.iter().flat_map(|batch| &batch.changes).for_each(|change| self.desired.apply(change));
        batches.iter().flat_map(|batch| &batch.jobs).for_each(|change| jobs::mirror(&mut self.jobs, change));
        Ok(stored)
    }

    /// Goes on with a new database that has all that is desired; history is lost, its numbers go on.
    fn replace(&mut self, why: &str) -> Result<(), StoreError> {
        // The damaged file is closed before it is moved: closing it writes into it.
        self.connection = schema::open(&Place::Memory)?;
        let message = set_aside(&self.place, why)?;
        tracing::error!("{message}");
        self.connection = schema::open(&self.place)?;
        write::restore(&mut self.connection, &self.desired, &self.jobs, self.boot.as_ref(), self.last)?;
        self.count = 0;
        let time_ns = svd_sys::clock::now().real_ns;
        let told = NewEvent { time_ns, kind: "store.replaced".to_owned(), message, ..NewEvent::default() };
        self.store(&[Batch { events: vec![told], ..Batch::default() }]).map(drop)
    }
}
