//! What the control API asks of the main loop. The main loop owns all state; everybody else asks it.

use std::sync::Arc;

use svd_api as api;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// What a caller may do. Each route names the least role it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nothing: the connection is answered 403.
    None,
    /// Look.
    Read,
    /// Change what runs.
    Operate,
    /// See values of the environment: root and the user svd runs as.
    Admin,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// User id, from the socket's peer credentials.
    pub uid: u32,
    /// Name of the user, or its number.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// One question or order. The answer goes to `reply`; a reply whose receiver is gone is dropped.
#[derive(Debug)]
pub enum Ask {
    /// The whole tree.
    Status {
        /// Also sample cpu and memory.
        usage: Usage,
        /// The answer.
        reply: oneshot::Sender<api::Status>,
    },
    /// start, stop, restart, reload, drain, kill, enable, disable.
    Command {
        /// Which.
        kind: api::CommandKind,
        /// On what.
        request: api::CommandRequest,
        /// Who asks.
        actor: Actor,
        /// Answered when the command has ended.
        reply: oneshot::Sender<api::CommandResult>,
    },
    /// How many instances.
    Scale {
        /// What.
        request: api::ScaleRequest,
        /// Who asks.
        actor: Actor,
        /// Answered when the command has ended.
        reply: oneshot::Sender<api::CommandResult>,
    },
    /// A signal to main processes.
    Signal {
        /// What.
        request: api::SignalRequest,
        /// Who asks.
        actor: Actor,
        /// Answered when sent.
        reply: oneshot::Sender<api::CommandResult>,
    },
    /// Re-read the config.
    Apply {
        /// What.
        request: api::ApplyRequest,
        /// Who asks.
        actor: Actor,
        /// Answered when the command has ended.
        reply: oneshot::Sender<api::CommandResult>,
    },
    /// Become another build without a restart.
    Upgrade {
        /// What.
        request: api::UpgradeRequest,
        /// Who asks.
        actor: Actor,
        /// Answered where it is refused. Where it is not, the next manager is to be asked.
        reply: oneshot::Sender<api::CommandResult>,
    },
    /// How an upgrade has ended.
    UpgradeOutcome {
        /// Its token.
        token: String,
        /// Answered when it has.
        reply: oneshot::Sender<api::CommandResult>,
    },
    /// Stop all and end.
    Shutdown {
        /// What.
        request: api::ShutdownRequest,
        /// Who asks.
        actor: Actor,
        /// Answered when everything has stopped, just before svd ends.
        reply: oneshot::Sender<api::CommandResult>,
    },
    /// Names of the instances that these targets mean; empty means all. The error lists what there is.
    Resolve {
        /// `web`, `web.2`, globs, `all`.
        targets: Vec<String>,
        /// The answer.
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    /// Run a job now.
    RunJob {
        /// Which.
        request: api::RunRequest,
        /// Who asks.
        actor: Actor,
        /// Answered when it is sure to begin, or when it is over.
        reply: oneshot::Sender<api::CommandResult>,
    },
    /// Pause jobs, or resume them.
    PauseJobs {
        /// Pause.
        pause: bool,
        /// Which.
        request: api::JobsRequest,
        /// Who asks.
        actor: Actor,
        /// Answered when that is stored.
        reply: oneshot::Sender<api::CommandResult>,
    },
    /// Names of a process's variables.
    Env {
        /// The process.
        process: String,
        /// The answer, or what is wrong.
        reply: oneshot::Sender<Result<api::EnvReply, String>>,
    },
    /// What a one-off command is run with.
    Exec {
        /// As this process; `None`: the first one.
        process: Option<String>,
        /// Who asks.
        actor: Actor,
        /// The answer, or what is wrong.
        reply: oneshot::Sender<Result<api::ExecReply, String>>,
    },
}

/// Whether a status samples cpu and memory, which costs a look at every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Leave them out.
    Skip,
    /// Sample them.
    Sample,
}

/// How everybody but the main loop reaches it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Questions, at most 256 waiting.
    pub asks: mpsc::Sender<Ask>,
    /// Events, live; a slow receiver loses the oldest and is told how many (it may read them from the store).
    pub events: broadcast::Sender<Arc<api::Event>>,
    /// Grows with every change of the tree: for `wait`.
    pub version: watch::Receiver<u64>,
}
