//! What must be durable before it is acknowledged: exit reports to the keeper, outcomes to users.
//!
//! Everything that one turn of the main loop decides goes into one transaction. Transactions are answered in order; with
//! the answer go the acknowledgement, the events and the replies that waited for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use svd_api as api;
use tokio::sync::oneshot;

use crate::store::{Batch, NewEvent, Store, StoreError};

/// Pause before a transaction that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// An outcome and who waits for it.
pub type Reply = (oneshot::Sender<api::CommandResult>, api::CommandResult);

type Answer = oneshot::Receiver<Result<Vec<Arc<api::Event>>, StoreError>>;

/// What is on its way to the disk.
pub struct Commits {
    store: Store,
    open: Turn,
    waiting: VecDeque<(Turn, Answer)>,
    /// When the transaction in front, which failed, is tried again. While this is set its answer is used up.
    retry_at: Option<tokio::time::Instant>,
    /// Why nothing can be stored at the moment.
    pub trouble: Option<String>,
}

/// One turn of the main loop.
#[derive(Default)]
struct Turn {
    batch: Batch,
    ack: Option<u64>,
    replies: Vec<Reply>,
    forget: Vec<svd_wire::SpawnId>,
}

/// A transaction that is on disk.
pub struct Committed {
    /// Reports up to this number may be acknowledged.
    pub ack: Option<u64>,
    /// The events, with their ids.
    pub events: Vec<Arc<api::Event>>,
    /// Who waits for an outcome.
    pub replies: Vec<Reply>,
    /// Records that the keeper may drop, their reports being acknowledged.
    pub forget: Vec<svd_wire::SpawnId>,
}

impl Commits {
    /// Nothing on its way yet.
    pub fn new(store: Store) -> Commits {
        Commits { store, open: Turn::default(), waiting: VecDeque::new(), retry_at: None, trouble: None }
    }

    /// A change of what is desired.
    pub fn change(&mut self, change: svd_core::Change) {
        self.open.batch.changes.push(change);
    }

    /// Something for history.
    pub fn event(&mut self, event: NewEvent) {
        self.open.batch.events.push(event);
    }

    /// A report was taken in.
    pub fn ack(&mut self, seq: u64) {
        self.open.ack = Some(self.open.ack.map_or(seq, |earlier| earlier.max(seq)));
    }

    /// A record that the keeper may drop once everything up to here is durable.
    pub fn forget(&mut self, spawn: svd_wire::SpawnId) {
        self.open.forget.push(spawn);
    }

    /// An outcome, to be told once everything up to here is durable.
    pub fn reply(&mut self, reply: Reply) {
        self.open.replies.push(reply);
    }

    /// Sends what this turn gathered on its way.
    pub fn submit(&mut self) {
        let turn = std::mem::take(&mut self.open);
        if turn.ack.is_none() && turn.replies.is_empty() && turn.forget.is_empty() && turn.batch == Batch::default() {
            return;
        }
        let answer = self.store.commit(turn.batch.clone());
        self.waiting.push_back((turn, answer));
    }

    /// Whether anything is on its way.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next transaction that reached the disk; never answers while nothing is on its way. Cancel-safe.
    ///
    /// Where it fails it is tried again until it succeeds: nothing is acknowledged meanwhile, so that the keeper goes on
    /// holding what is not stored. Users are told at once.
    pub async fn next(&mut self) -> Committed {
        loop {
            if let Some(at) = self.retry_at {
                tokio::time::sleep_until(at).await;
                self.retry_at = None;
                self.again();
            }
            let Some((turn, answer)) = self.waiting.front_mut() else {
                std::future::pending::<()>().await;
                continue;
            };
            let error = match (&mut *answer).await {
                Ok(Ok(events)) => {
                    self.trouble = None;
                    let turn = std::mem::take(turn);
                    self.waiting.pop_front();
                    return Committed { ack: turn.ack, events, replies: turn.replies, forget: turn.forget };
                }
                Ok(Err(error)) => error.to_string(),
                Err(_gone) => "the store has ended".to_owned(),
            };
            for (reply, mut result) in turn.replies.drain(..) {
                result.outcome = api::OutcomeWord::Failed;
                result.message = format!("{}; but it could not be stored: {error}", result.message);
                // Whoever asked may have left.
                let _left = reply.send(result);
            }
            tracing::error!(%error, "state cannot be stored; trying again");
            self.trouble = Some(format!("state cannot be stored: {error}; trying again every second"));
            self.retry_at = Some(tokio::time::Instant::now() + RETRY);
        }
    }

    /// Tries the transaction in front again. Later ones may be on disk already: what they changed is not changed back.
    fn again(&mut self) {
        let mut turns = std::mem::take(&mut self.waiting).into_iter();
        let Some((mut front, _used)) = turns.next() else { return };
        let rest: VecDeque<(Turn, Answer)> = turns.collect();
        for (later, _) in &rest {
            front.batch.drop_superseded_by(&later.batch);
        }
        front.batch.drop_superseded_by(&self.open.batch);
        let answer = self.store.commit(front.batch.clone());
        self.waiting = rest;
        self.waiting.push_front((front, answer));
    }
}
