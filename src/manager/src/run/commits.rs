//! What must be durable before it is acknowledged: exit reports to the keeper, outcomes to users.
//!
//! Everything that one turn of the main loop decides goes into one transaction. Transactions are answered in order; with
//! the answer go the acknowledgement, the events and the replies that waited for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use svd_api as api;
use svd_core::{JobChange, Phase, RunId};
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
    waiting: VecDeque<Waiting>,
    /// When what failed is tried again; set while anything in `waiting` has failed.
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
    upgrade_seen: bool,
    /// Runs that begin with it.
    runs: Vec<RunId>,
}

/// One transaction on its way.
struct Waiting {
    turn: Turn,
    state: State,
}

enum State {
    /// The store has it.
    Given(Answer),
    /// It is on disk, with these events; others before it are not.
    Stored(Vec<Arc<api::Event>>),
    /// It has to be given again.
    Failed,
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
    /// The outcome of an upgrade need not be told again.
    pub upgrade_seen: bool,
    /// Runs whose beginning is on disk with it.
    pub runs: Vec<RunId>,
}

impl Commits {
    /// What was stored can be read there.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Nothing on its way yet.
    pub fn new(store: Store) -> Commits {
        Commits { store, open: Turn::default(), waiting: VecDeque::new(), retry_at: None, trouble: None }
    }

    /// A change of what is desired.
    pub fn change(&mut self, change: svd_core::Change) {
        self.open.batch.changes.push(change);
    }

    /// Something about jobs. Of a run that begins it is told when that is on disk.
    pub fn job(&mut self, change: JobChange) {
        if let JobChange::Run(run) = &change
            && run.phase == Phase::Begun
        {
            self.open.runs.push(run.id);
        }
        self.open.batch.jobs.push(change);
    }

    /// Something for history.
    pub fn event(&mut self, event: NewEvent) {
        self.open.batch.events.push(event);
    }

    /// Of everything up to this event everybody has been told.
    pub fn notified(&mut self, mark: i64) {
        self.open.batch.notified = Some(mark);
    }

    /// These were told of something before everybody was told of what was before it.
    pub fn told(&mut self, ahead: Vec<(i64, String)>) {
        self.open.batch.told.extend(ahead);
    }

    /// A report was taken in.
    pub fn ack(&mut self, seq: u64) {
        self.open.ack = Some(self.open.ack.map_or(seq, |earlier| earlier.max(seq)));
    }

    /// A record that the keeper may drop once everything up to here is durable.
    pub fn forget(&mut self, spawn: svd_wire::SpawnId) {
        self.open.forget.push(spawn);
    }

    /// The keeper need not tell the outcome of an upgrade again once everything up to here is durable.
    pub fn upgrade_seen(&mut self) {
        self.open.upgrade_seen = true;
    }

    /// An outcome, to be told once everything up to here is durable.
    pub fn reply(&mut self, reply: Reply) {
        self.open.replies.push(reply);
    }

    /// Sends what this turn gathered on its way.
    pub fn submit(&mut self) {
        let turn = std::mem::take(&mut self.open);
        let waits = turn.ack.is_some() || !turn.replies.is_empty() || !turn.forget.is_empty() || turn.upgrade_seen;
        if !waits && turn.batch == Batch::default() {
            return;
        }
        let state = State::Given(self.store.commit(turn.batch.clone()));
        self.waiting.push_back(Waiting { turn, state });
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
            if let Some(done) = self.take_front() {
                return done;
            }
            match self.retry_at {
                None => poll_fn(|cx| self.poll_answers(cx)).await,
                Some(at) => match tokio::time::timeout_at(at, poll_fn(|cx| self.poll_answers(cx))).await {
                    Ok(()) => {}
                    Err(_due) => self.again(),
                },
            }
        }
    }

    fn take_front(&mut self) -> Option<Committed> {
        let Some(Waiting { state: State::Stored(_), .. }) = self.waiting.front() else { return None };
        let Some(Waiting { turn, state: State::Stored(events) }) = self.waiting.pop_front() else { return None };
        if self.retry_at.is_none() {
            self.trouble = None;
        }
        let Turn { ack, replies, forget, upgrade_seen, runs, batch: _ } = turn;
        Some(Committed { ack, events, replies, forget, upgrade_seen, runs })
    }

    /// Takes in what the store has answered; ready when it has answered anything.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut news = Poll::Pending;
        let mut failure = None;
        for waiting in &mut self.waiting {
            let State::Given(answer) = &mut waiting.state else { continue };
            let Poll::Ready(answered) = Pin::new(answer).poll(cx) else { continue };
            news = Poll::Ready(());
            let error = match answered {
                Ok(Ok(events)) => {
                    waiting.state = State::Stored(events);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_gone) => "the store has ended".to_owned(),
            };
            waiting.state = State::Failed;
            for (reply, mut result) in waiting.turn.replies.drain(..) {
                result.outcome = api::OutcomeWord::Failed;
                result.message = format!("{}; but it could not be stored: {error}", result.message);
                // Whoever asked may have left.
                let _left = reply.send(result);
            }
            failure = Some(error);
        }
        if let Some(error) = failure {
            let told = format!("state cannot be stored: {error}; trying again every second");
            if self.trouble.as_ref() != Some(&told) {
                tracing::error!("{told}");
            }
            self.trouble = Some(told);
            self.retry_at.get_or_insert_with(|| tokio::time::Instant::now() + RETRY);
        }
        news
    }

    /// Gives what failed to the store again. Later ones may be on disk already: what they changed is not changed back.
    fn again(&mut self) {
        self.retry_at = None;
        let mut later: Vec<Batch> = vec![Batch { events: Vec::new(), ..self.open.batch.clone() }];
        for waiting in self.waiting.iter_mut().rev() {
            let batch = &mut waiting.turn.batch;
            if matches!(waiting.state, State::Failed) {
                later.iter().for_each(|later| batch.drop_superseded_by(later));
            }
            if !batch.changes.is_empty() || !batch.jobs.is_empty() {
                later.push(Batch { events: Vec::new(), ..batch.clone() });
            }
        }
        for waiting in self.waiting.iter_mut().filter(|waiting| matches!(waiting.state, State::Failed)) {
            waiting.state = State::Given(self.store.commit(waiting.turn.batch.clone()));
        }
    }
}
