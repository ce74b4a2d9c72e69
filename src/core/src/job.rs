//! Jobs: which run begins when, and what becomes of one that does not fit.
//!
//! A run is an instance of a process that is called `job:NAME`, with the run's number; its attempts are that instance's
//! spawns. So starting, stopping, sweeping and taking up after a manager's death are those of processes; here are only
//! ticks ([`ticks`]), what a tick becomes ([`runs`]), commands ([`commands`]) and what is remembered ([`book`], [`open`]).
//!
//! A run is begun in two steps: what is begun, and that its tick is handled, is handed out as [`crate::Action::Jobs`]; only when
//! that is on disk ([`crate::Event::RunRecorded`]) its first spawn is asked for. So a manager that is killed at any moment
//! neither loses a tick nor starts one twice: its successor finds the run, and the spawn in the keeper's inventory or nowhere.

mod book;
mod commands;
mod open;
mod record;
mod runs;
mod ticks;
mod view;

pub use book::Zones;
pub(crate) use book::{Jobs, job_of};
pub use record::{Cause, JobChange, JobState, Phase, Run, RunId, RunNews, RunResult, StoredJobs, Wall};
pub use view::JobView;
