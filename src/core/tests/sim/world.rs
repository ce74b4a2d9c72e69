//! The model of the keeper and of the processes that it started. It outlives every manager.

use std::collections::BTreeMap;

use fastrand::Rng;
use svd_core::*;

use super::plans::ms;

/// How a model process behaves.
#[derive(Clone, Debug)]
pub struct Character {
    pub start: StartsBy,
    /// Evidence of readiness so long after exec.
    pub ready: Option<u64>,
    /// Ends by itself so long after exec.
    pub ends: Option<(u64, ExitStatus)>,
    /// Ends so long after the first signal that asks it to; `None`: ignores them.
    pub obeys: Option<(u64, ExitStatus)>,
    pub leaves: Left,
    /// Survives KILL.
    pub immortal: bool,
    /// Says that it is stopping, so long after exec.
    pub says_stopping: Option<u64>,
    /// So long until nobody waits for it in its slot, and until its work is done; `None`: never.
    pub drains: Option<u64>,
    /// Its health probes fail from so long after its readiness on.
    pub sickens: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum StartsBy {
    Exec(u64),
    Failing(SpawnFailure),
    DyingBeforeExec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nobody,
    Polite,
    Stubborn,
    Immortal,
}

impl Character {
    pub fn good(oneshot: bool) -> Character {
        Character {
            start: StartsBy::Exec(5),
            ready: Some(100),
            ends: oneshot.then_some((300, ExitStatus::Code(0))),
            obeys: Some((50, ExitStatus::Code(0))),
            leaves: Left::Nobody,
            immortal: false,
            says_stopping: None,
            drains: Some(40),
            sickens: None,
        }
    }

    pub fn random(rng: &mut Rng, oneshot: bool) -> Character {
        let mut c = Character::good(oneshot);
        let one_in = |rng: &mut Rng, n: u32| rng.u32(..n) == 0;
        c.ready = Some(rng.u64(0..600));
        if one_in(rng, 10) {
            c.ready = None;
        }
        if one_in(rng, 8) {
            let (message, transient) = ("cannot".to_owned(), rng.bool());
            let code = [127, 126, 200, 203][rng.usize(..4)];
            c.start = StartsBy::Failing(SpawnFailure { message, code, transient });
        } else if one_in(rng, 12) {
            c.start = StartsBy::DyingBeforeExec;
        } else {
            c.start = StartsBy::Exec(rng.u64(0..60));
        }
        if one_in(rng, 3) {
            let status = match rng.u8(..5) {
                0 | 1 => ExitStatus::Code(0),
                2 => ExitStatus::Code(3),
                3 => ExitStatus::Signal { signal: 11, core: true },
                _ => ExitStatus::Unknown,
            };
            c.ends = Some((if rng.bool() { rng.u64(0..500) } else { rng.u64(0..20_000) }, status));
        }
        c.obeys = match rng.u8(..5) {
            0 => None,
            1 => Some((rng.u64(0..3000), ExitStatus::Signal { signal: 15, core: false })),
            _ => Some((rng.u64(0..200), ExitStatus::Code(0))),
        };
        c.leaves = match rng.u8(..24) {
            0 | 1 => Left::Polite,
            2 | 3 => Left::Stubborn,
            4 if one_in(rng, 5) => Left::Immortal,
            _ => Left::Nobody,
        };
        c.immortal = one_in(rng, 60);
        c.says_stopping = one_in(rng, 20).then(|| rng.u64(0..3000));
        c.drains = (!one_in(rng, 6)).then(|| rng.u64(0..900));
        c.sickens = one_in(rng, 15).then(|| rng.u64(0..3000));
        c
    }
}

/// What the keeper holds of a spawn, and what is true of its process.
#[derive(Clone, Debug)]
pub struct Kept {
    pub instance: InstanceName,
    pub lineage: Lineage,
    pub note: Note,
    pub life: AdoptedLife,
    pub exec_at: Option<Time>,
    pub last_signal: Option<(i32, Time)>,
    pub signals: Vec<i32>,
    pub evidence: bool,
    pub left: Left,
    pub character: Character,
    pub notifies: bool,
    /// The ladder with which its stop began.
    pub ladder: Option<Vec<svd_config::plan::StopStep>>,
    pub said_stopping: bool,
    /// It was told to end while those who wait in its slot were waited for.
    pub queue: bool,
}

impl Kept {
    pub fn is_live(&self) -> bool {
        matches!(self.life, AdoptedLife::Forked { .. } | AdoptedLife::Running { .. })
    }

    pub fn is_gone(&self) -> bool {
        !self.is_live() && self.left == Left::Nobody
    }

    pub fn is_immortal(&self) -> bool {
        self.character.immortal || self.left == Left::Immortal
    }
}

/// What happens without anybody asking.
#[derive(Clone, Debug)]
pub enum Happening {
    Exec(SpawnId),
    Exit(SpawnId, ExitStatus),
    Evidence(SpawnId),
    SaysStopping(SpawnId),
    /// Nobody waits in its slot any more.
    QueueEmpty(SpawnId),
    /// Its work is done.
    Drained(SpawnId),
    /// Its health probes fail.
    Sickens(SpawnId),
    LeftEnd(SpawnId),
    /// A report reaches the manager of this number.
    Deliver {
        manager: u32,
        event: Event,
    },
    ManagerUp,
    Command,
}

#[derive(Default)]
pub struct World {
    pub now: Time,
    pub kept: BTreeMap<SpawnId, Kept>,
    pub last_spawn: u64,
    pub agenda: BTreeMap<(Time, u64), Happening>,
    pub turn: u64,
    /// Reports that no manager has acknowledged.
    pub unacked: Vec<Event>,
    /// What happened to spawns, to be told.
    pub news: Vec<Event>,
}

impl World {
    pub fn later(&mut self, wait: u64, what: Happening) {
        self.turn += 1;
        self.agenda.insert((self.now.after(ms(wait)), self.turn), what);
    }

    pub fn spawn(&mut self, id: SpawnId, instance: InstanceName, lineage: Lineage, c: Character, notifies: bool) {
        match &c.start {
            StartsBy::Exec(wait) => self.later(*wait, Happening::Exec(id)),
            StartsBy::Failing(_) => self.later(1, Happening::Exec(id)),
            StartsBy::DyingBeforeExec => {
                self.later(1, Happening::Exit(id, ExitStatus::Signal { signal: 9, core: false }));
            }
        }
        let kept = Kept {
            instance,
            lineage,
            note: Note::default(),
            life: AdoptedLife::Forked { at: self.now },
            exec_at: None,
            last_signal: None,
            signals: vec![],
            evidence: false,
            left: Left::Nobody,
            character: c,
            notifies,
            ladder: None,
            said_stopping: false,
            queue: false,
        };
        self.last_spawn = id.0;
        self.kept.insert(id, kept);
    }

    pub fn signal(&mut self, id: SpawnId, signal: i32) {
        let now = self.now;
        let Some(kept) = self.kept.get_mut(&id).filter(|kept| kept.is_live()) else { return };
        kept.last_signal = Some((signal, now));
        kept.signals.push(signal);
        let by_signal = ExitStatus::Signal { signal, core: false };
        let before_exec = matches!(kept.life, AdoptedLife::Forked { .. });
        match (signal, kept.character.obeys, kept.character.immortal) {
            (18 | super::plans::QUIET, _, _) | (_, _, true) => {}
            (9, _, false) => self.later(1, Happening::Exit(id, by_signal)),
            (_, _, false) if before_exec => self.later(0, Happening::Exit(id, by_signal)),
            (_, Some((wait, status)), false) => self.later(wait, Happening::Exit(id, status)),
            (_, None, false) => {}
        }
    }

    pub fn sweep(&mut self, id: SpawnId, how: Sweep) {
        if how == Sweep::Kill {
            self.signal(id, 9);
        }
        match self.kept.get(&id).map(|kept| (kept.left, how)) {
            Some((Left::Polite, _)) => self.later(30, Happening::LeftEnd(id)),
            Some((Left::Stubborn, Sweep::Kill)) => self.later(1, Happening::LeftEnd(id)),
            Some((Left::Stubborn, Sweep::Terminate) | (Left::Nobody | Left::Immortal, _)) | None => {}
        }
    }

    pub fn exec(&mut self, id: SpawnId) {
        let now = self.now;
        let Some(kept) = self.kept.get_mut(&id) else { return };
        if !matches!(kept.life, AdoptedLife::Forked { .. }) {
            return;
        }
        if let StartsBy::Failing(failure) = kept.character.start.clone() {
            kept.life = AdoptedLife::Failed { failure: failure.clone(), at: now };
            return self.news.push(Event::SpawnFailed { spawn: id, failure });
        }
        let pid = i32::try_from(id.0).expect("few spawns") + 100;
        kept.life = AdoptedLife::Running { pid, at: now };
        kept.exec_at = Some(now);
        kept.left = kept.character.leaves;
        let c = kept.character.clone();
        self.news.push(Event::Spawned { spawn: id, pid });
        if let Some(wait) = c.ready {
            self.later(wait, Happening::Evidence(id));
        }
        if let Some((wait, status)) = c.ends {
            self.later(wait, Happening::Exit(id, status));
        }
        if let Some(wait) = c.says_stopping {
            self.later(wait, Happening::SaysStopping(id));
        }
    }

    pub fn exit(&mut self, id: SpawnId, exit: ExitStatus) {
        let now = self.now;
        let Some(kept) = self.kept.get_mut(&id).filter(|kept| kept.is_live()) else { return };
        let before_exec = matches!(kept.life, AdoptedLife::Forked { .. });
        kept.life = AdoptedLife::Exited { exit, before_exec, at: now };
        self.news.push(Event::Exited { spawn: id, exit, before_exec });
    }

    pub fn inventory(&self) -> Vec<Adopted> {
        let adopted = |(id, kept): (&SpawnId, &Kept)| Adopted {
            spawn: *id,
            instance: kept.instance.clone(),
            lineage: kept.lineage.clone(),
            note: kept.note,
            life: kept.life.clone(),
            last_signal: kept.last_signal,
            notified_ready: kept.notifies && kept.evidence,
            said: Said::default(),
        };
        self.kept.iter().map(adopted).collect()
    }
}
