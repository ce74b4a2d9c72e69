//! The store's thread: the only one that touches the database.
//!
//! SQLite waits for the disk, so it has a thread of its own and the manager's loop never waits for it. What has queued
//! up while the disk was busy is stored in one transaction with one fsync. It ends when the last [`Store`] is dropped.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::Connection;
use svd_core::Desired;
use tokio::sync::oneshot;

use super::types::{Batch, Commit, EventQuery, Events, Loaded, Place, StoreError};
use super::{read, schema, write};

/// So many jobs may wait.
const QUEUE: usize = 1024;
/// So many batches share a transaction.
const GROUP: usize = 128;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    Begin([u8; 16], Answer<Desired>),
    Commit(Batch, Answer<Vec<std::sync::Arc<svd_api::Event>>>),
    Events(EventQuery, Answer<Vec<svd_api::Event>>),
}

/// Handle to the store's thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: SyncSender<Job>,
}

impl Store {
    /// Opens the database and starts its thread. Waits for the disk: call it before the loop runs.
    pub fn open(place: Place) -> Result<(Store, Loaded), StoreError> {
        let (connection, warnings) = schema::open(&place)?;
        let desired = write::load(&connection)?;
        let count = write::count(&connection)?;
        let (jobs, queue) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("store".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || Worker { connection, count }.run(&queue))
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
        }
    }
}

struct Worker {
    connection: Connection,
    /// Events in the database.
    count: u64,
}

impl Worker {
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
                    let begun = write::begin(&mut self.connection, &boot).and_then(|()| write::load(&self.connection));
                    drop(answer.send(begun));
                }
                Job::Events(query, answer) => drop(answer.send(read::events(&self.connection, &query))),
            }
            if next.is_none() {
                next = queue.recv().ok();
            }
        }
    }

    fn commit(&mut self, group: Vec<(Batch, Answer<Vec<std::sync::Arc<svd_api::Event>>>)>) {
        let (batches, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        match self.store(batches) {
            Ok(stored) => answers.into_iter().zip(stored).for_each(|(answer, events)| drop(answer.send(Ok(events)))),
            Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone())))),
        }
    }

    fn store(&mut self, batches: Vec<Batch>) -> Result<Vec<Vec<std::sync::Arc<svd_api::Event>>>, StoreError> {
        // A transaction that is dropped is rolled back.
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let stored =
            batches.into_iter().map(|batch| write::apply(&transaction, batch)).collect::<Result<Vec<_>, _>>()?;
        let added = stored.iter().map(|events| events.len() as u64).sum::<u64>();
        let gone = if added > 0 { write::prune(&transaction, self.count.saturating_add(added), added)? } else { 0 };
        transaction.commit()?;
        self.count = self.count.saturating_add(added).saturating_sub(gone);
        Ok(stored)
    }
}
