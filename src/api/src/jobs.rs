//! Jobs and their runs.

use serde::{Deserialize, Serialize};

use crate::Exit;

/// A job: in the list of `GET /v1/jobs` and in the status.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Its schedule, as the config has it; none: it runs by hand only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The zone whose clock the schedule is about; only where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// It does not run by its schedule.
    pub paused: bool,
    /// When it runs next, with its jitter (RFC 3339).
    pub next: Option<String>,
    /// How many instants of its schedule were missed, ever.
    pub missed: u64,
    /// How many runs are in progress.
    pub running: u32,
    /// Runs in progress and those that wait, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Run>,
    /// The last run that has happened and is over.
    pub last: Option<Run>,
}

/// One run of a job.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Run {
    /// Its number, which no other run of the app ever has.
    pub run: u32,
    /// The job.
    pub job: String,
    /// `queued`, `running`, `succeeded`, `failed`, `timed-out`, `skipped`, `missed`, `replaced`, `cancelled` or `unknown`.
    pub result: String,
    /// `schedule`, `catch-up`, `reboot` or `hand`.
    pub cause: String,
    /// The instant of the schedule that it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<String>,
    /// For so many instants it stands; more than 1 for those that were missed together.
    pub count: u32,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// From its beginning to its end, all attempts and pauses included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// How often it was tried.
    pub attempts: u32,
    /// How its last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Process id of its main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Why it became what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// Body of `POST /v1/jobs/run`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The job.
    pub job: String,
    /// Answer when the run is over; else when it is sure to begin.
    #[serde(default)]
    pub wait: bool,
    /// Why, for history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Body of `POST /v1/jobs/pause` and `/v1/jobs/resume`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct JobsRequest {
    /// Names and globs of jobs; never empty.
    pub jobs: Vec<String>,
    /// Why, for history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}
