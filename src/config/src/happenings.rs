//! What somebody can be told of: the words of `notify.events`, and which entries of history each of them means.

/// Something that happens.
#[derive(Debug)]
pub struct Happening {
    /// Its name in the config and in what is told.
    pub name: &'static str,
    /// The kinds of history that it is.
    pub kinds: &'static [&'static str],
    /// What it is; finishes the sentence "it happens when …".
    pub when: &'static str,
}

/// All of them, in the order of the manual.
pub const HAPPENINGS: &[Happening] = &[
    Happening {
        name: "process.failed",
        kinds: &["instance.failed"],
        when: "an instance is given up: it failed too often, or cannot be started",
    },
    Happening {
        name: "process.essential_failed",
        kinds: &["process.essential_failed"],
        when: "an essential process has failed for good, and svd stops all",
    },
    Happening {
        name: "process.backoff",
        kinds: &["instance.backoff"],
        when: "an instance has failed and is started again after a pause",
    },
    Happening {
        name: "process.start_failed",
        kinds: &["instance.start_failed"],
        when: "an instance could not be started, this time",
    },
    Happening {
        name: "process.unhealthy",
        kinds: &["instance.unhealthy"],
        when: "the health probes of an instance fail",
    },
    Happening { name: "process.recovered", kinds: &["instance.recovered"], when: "they succeed again" },
    Happening {
        name: "process.rolled_back",
        kinds: &["process.rolled_back"],
        when: "new instances did not come up, and what ran before runs on",
    },
    Happening {
        name: "process.oom_killed",
        kinds: &["instance.oom_killed"],
        when: "the kernel has killed a process of an instance for lack of memory, and the instance lives on",
    },
    Happening { name: "process.stuck", kinds: &["instance.stuck"], when: "an instance does not die" },
    Happening {
        name: "command.rolled_back",
        kinds: &["command.rolled_back"],
        when: "a command such as an apply has failed and was taken back",
    },
    Happening { name: "command.failed", kinds: &["command.failed"], when: "a command has failed" },
    Happening {
        name: "command.held",
        kinds: &["command.held"],
        when: "a command has failed and could not be taken back either",
    },
    Happening { name: "job.started", kinds: &["job.started"], when: "a run of a job begins" },
    Happening {
        name: "job.failed",
        kinds: &["job.failed", "job.timed_out"],
        when: "a run of a job has failed or took too long, after all its attempts",
    },
    Happening {
        name: "job.unknown",
        kinds: &["job.unknown"],
        when: "a run of a job has ended while nobody saw it, and its result is not known",
    },
    Happening { name: "job.succeeded", kinds: &["job.succeeded"], when: "a run of a job has succeeded" },
    Happening { name: "job.missed", kinds: &["job.missed"], when: "a run of a job was missed, and is not made up for" },
    Happening {
        name: "job.skipped",
        kinds: &["job.skipped"],
        when: "a run of a job did not happen, since another one was in progress",
    },
    Happening { name: "logs.dropping", kinds: &["logs.dropping"], when: "output cannot be stored and is dropped" },
    Happening {
        name: "store.replaced",
        kinds: &["store.replaced"],
        when: "the state database was damaged, and a new one is in its place",
    },
    Happening {
        name: "manager.replaced",
        kinds: &["manager.replaced"],
        when: "svd's manager has ended and was replaced",
    },
    Happening { name: "svd.started", kinds: &["manager.started"], when: "svd has started" },
    Happening { name: "svd.stopping", kinds: &["svd.shutting_down"], when: "svd stops all and ends" },
];

/// The happening of this name.
pub fn happening(name: &str) -> Option<&'static Happening> {
    HAPPENINGS.iter().find(|happening| happening.name == name)
}

/// What an entry of history is, where somebody can be told of it.
pub fn happening_of(kind: &str) -> Option<&'static Happening> {
    HAPPENINGS.iter().find(|happening| happening.kinds.contains(&kind))
}
