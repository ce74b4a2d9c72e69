//! Who is still to be told of what. Decides, and does nothing: the main loop performs what it is given.
//!
//! ```text
//! an event is on disk ──► waiting (at most MOST_WAITING a place) ──► given out (one a place) ──► done, told or given up
//! ```
//! The mark is the number of the last event before which nothing is outstanding. It is stored, and who was told of what beyond it:
//! one place that cannot be reached holds the mark for as long as it is tried. A later manager begins behind the mark, without
//! those: so an event is told at least once, and one that was told is told again only when the manager dies between.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use svd_api as api;
use svd_config::Plan;
use svd_config::happenings::{HAPPENINGS, Happening, happening_of};
use svd_config::plan::{HookPlan, JOB, JobPlan, PingPlan, RunIds, Url, WebhookPlan};

/// So many wait for one place; what comes then is dropped.
const MOST_WAITING: usize = 1000;
/// So many commands of jobs run at once. The command that is told of all has a place of its own.
const MOST_COMMANDS: usize = 8;

/// Before the name of a job, in the word of those who are pinged.
const PING: &str = "ping:";

/// Whom to tell. Each place is told of one event at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `notify.run`.
    Command,
    /// `notify.webhook`.
    Webhook,
    /// The commands of a job that are told of its runs.
    JobCommand(String),
    /// The addresses of a job that are told of its runs.
    JobPing(String),
}

impl Place {
    /// In a word, for tags and metrics: `command`, `webhook`, `job:NAME` or `ping:NAME`.
    pub fn word(&self) -> Cow<'static, str> {
        match self {
            Place::Command => "command".into(),
            Place::Webhook => "webhook".into(),
            Place::JobCommand(job) => format!("{JOB}{job}").into(),
            Place::JobPing(job) => format!("{PING}{job}").into(),
        }
    }

    /// Reads the word.
    pub fn of_word(word: &str) -> Option<Place> {
        match word {
            "command" => Some(Place::Command),
            "webhook" => Some(Place::Webhook),
            word => match word.strip_prefix(JOB) {
                Some(job) => Some(Place::JobCommand(job.to_owned())),
                None => word.strip_prefix(PING).map(|job| Place::JobPing(job.to_owned())),
            },
        }
    }
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// A command is run.
    Run(Box<HookPlan>),
    /// It is posted.
    Post(WebhookPlan),
    /// It is posted that a run begins, or how it ended.
    Ping {
        /// Where.
        url: Url,
        /// So long may one try take.
        timeout: Duration,
        /// What is worth little when it comes late.
        start: bool,
    },
}

/// One event for one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What has happened.
    pub event: Arc<api::Event>,
    /// As the config names it.
    pub name: &'static str,
    /// Whom to tell.
    pub place: Place,
    /// How.
    pub how: How,
}

/// What an offered event has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// It waits wherever somebody is to be told.
    Taken,
    /// A place has too many waiting: it was dropped there, for the first time since that place had none.
    Dropped,
}

/// What has come of notices since this manager began, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Somebody was told.
    pub told: u64,
    /// It was given up.
    pub failed: u64,
    /// Too many were waiting.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Notice>,
    /// The event that the place is being told of.
    given: Option<i64>,
    counters: Counters,
    /// Something was dropped since it was last empty.
    dropping: bool,
}

/// All that is outstanding.
#[derive(Debug, Default)]
pub struct Notices {
    places: BTreeMap<Place, Queue>,
    /// For each event how many have not been told of it yet.
    outstanding: BTreeMap<i64, usize>,
    /// The last event that was offered.
    last: i64,
    /// The last mark that was given out to be stored.
    marked: i64,
    /// Who was told beyond the mark when this manager began.
    told_before: BTreeSet<(i64, String)>,
    /// Who was told since that was asked for the last time.
    told: Vec<(i64, String)>,
    /// Something may be given out: what a manager before has begun is known.
    open: bool,
}

impl Notices {
    /// As a manager begins whose predecessor left this mark, and these beyond it who were told: number of the event, and word for
    /// the place.
    pub fn new(mark: i64, told_before: BTreeSet<(i64, String)>) -> Notices {
        Notices { last: mark, marked: mark, told_before, ..Notices::default() }
    }

    /// Takes an event in that is on disk. One that was offered before is not taken twice.
    pub fn offer(&mut self, event: &Arc<api::Event>, plan: &Plan) -> Given {
        if event.id <= self.last {
            return Given::Taken;
        }
        self.last = event.id;
        let mut given = Given::Taken;
        for notice in notices(event, plan) {
            if self.told_before.remove(&(event.id, notice.place.word().into_owned())) {
                continue;
            }
            let queue = self.places.entry(notice.place.clone()).or_default();
            if queue.waiting.len() >= MOST_WAITING {
                queue.counters.dropped = queue.counters.dropped.saturating_add(1);
                if !std::mem::replace(&mut queue.dropping, true) {
                    given = Given::Dropped;
                }
                continue;
            }
            queue.waiting.push_back(notice);
            *self.outstanding.entry(event.id).or_default() += 1;
        }
        given
    }

    /// From now on something is given out.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// The next one to perform, if any place is free: of several the one that has waited longest.
    pub fn next(&mut self) -> Option<Notice> {
        if !self.open {
            return None;
        }
        let commands = self.places.iter().filter(|(place, queue)| is_shared(place) && queue.given.is_some()).count();
        let waits = |place: &Place, queue: &Queue| {
            let free = queue.given.is_none() && (commands < MOST_COMMANDS || !is_shared(place));
            queue.waiting.front().filter(|_| free).map(|notice| notice.event.id)
        };
        let (_, queue) = self
            .places
            .iter_mut()
            .filter_map(|(place, queue)| Some((waits(place, queue)?, queue)))
            .min_by_key(|(event, _)| *event)?;
        let notice = queue.waiting.pop_front()?;
        queue.given = Some(notice.event.id);
        Some(notice)
    }

    /// What a manager before has given out and what goes on: `None` where it does not wait, since it was told already.
    pub fn resume(&mut self, place: &Place, event: i64) -> Option<Notice> {
        let queue = self.places.get_mut(place).filter(|queue| queue.given.is_none())?;
        let at = queue.waiting.iter().position(|notice| notice.event.id == event)?;
        let notice = queue.waiting.remove(at)?;
        queue.given = Some(event);
        Some(notice)
    }

    /// A notice is done with.
    pub fn done(&mut self, notice: &Notice, told: bool) {
        let Some(queue) = self.places.get_mut(&notice.place) else { return };
        if queue.given != Some(notice.event.id) {
            return;
        }
        queue.given = None;
        queue.dropping &= !queue.waiting.is_empty();
        let counter = if told { &mut queue.counters.told } else { &mut queue.counters.failed };
        *counter = counter.saturating_add(1);
        self.told.push((notice.event.id, notice.place.word().into_owned()));
        if let Some(left) = self.outstanding.get_mut(&notice.event.id) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.outstanding.remove(&notice.event.id);
            }
        }
    }

    /// The mark, where it has moved by something that was done since it was asked for the last time.
    pub fn take_mark(&mut self) -> Option<i64> {
        let mark = self.outstanding.first_key_value().map_or(self.last, |(first, _)| first.saturating_sub(1));
        (mark > self.marked).then(|| {
            self.marked = mark;
            mark
        })
    }

    /// Who is done with beyond the mark since this was asked for the last time. After [`take_mark`](Self::take_mark).
    pub fn take_told(&mut self) -> Vec<(i64, String)> {
        let mut told = std::mem::take(&mut self.told);
        told.retain(|(event, _)| *event > self.marked);
        told
    }

    /// Whether nobody is to be told of anything.
    pub fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// How many wait or are being told, and what has come of others, for each place.
    pub fn counters(&self) -> impl Iterator<Item = (String, usize, Counters)> {
        self.places.iter().map(|(place, queue)| {
            (place.word().into_owned(), queue.waiting.len() + usize::from(queue.given.is_some()), queue.counters)
        })
    }
}

/// Whether it is one of those of whom only so many are told at once.
fn is_shared(place: &Place) -> bool {
    match place {
        Place::JobCommand(_) => true,
        Place::Command | Place::Webhook | Place::JobPing(_) => false,
    }
}

/// The kinds of history that the plan has somebody told of.
pub fn kinds(plan: &Plan) -> Vec<String> {
    let of_jobs: BTreeSet<&str> = plan.jobs.iter().flat_map(kinds_of).collect();
    let told = |happening: &&Happening| plan.notify.as_ref().is_some_and(|told| told.events.contains(&happening.name));
    let named: BTreeSet<&str> =
        HAPPENINGS.iter().filter(told).flat_map(|happening| happening.kinds.iter().copied()).collect();
    named.union(&of_jobs).map(|kind| (*kind).to_owned()).collect()
}

const BEGINS: &[&str] = &["job.started"];
const SUCCEEDS: &[&str] = &["job.succeeded"];
const FAILS: &[&str] = &["job.failed", "job.timed_out", "job.unknown"];
const IS_MISSED: &[&str] = &["job.missed"];

fn kinds_of(job: &JobPlan) -> Vec<&'static str> {
    let ping = |url: fn(&PingPlan) -> &Option<Url>| job.ping.as_ref().is_some_and(|ping| url(ping).is_some());
    let told = [
        (BEGINS, ping(|ping| &ping.start)),
        (SUCCEEDS, job.hooks.success.is_some() || ping(|ping| &ping.success)),
        (FAILS, job.hooks.failure.is_some() || ping(|ping| &ping.failure)),
        (IS_MISSED, job.hooks.missed.is_some()),
    ];
    told.into_iter().filter(|(_, told)| *told).flat_map(|(kinds, _)| kinds.iter().copied()).collect()
}

/// Whom the plan has told of an event.
fn notices(event: &Arc<api::Event>, plan: &Plan) -> Vec<Notice> {
    let mut told = Vec::new();
    if let (Some(notify), Some(happening)) = (&plan.notify, happening_of(&event.kind))
        && notify.events.contains(&happening.name)
    {
        let command = notify.hook.as_ref().map(|hook| (Place::Command, How::Run(Box::new(hook.clone()))));
        let webhook = notify.webhook.as_ref().map(|webhook| (Place::Webhook, How::Post(webhook.clone())));
        let notice = |(place, how)| Notice { event: event.clone(), name: happening.name, place, how };
        told.extend([command, webhook].into_iter().flatten().map(notice));
    }
    let job = event.process.as_deref().and_then(|name| name.strip_prefix(JOB)).and_then(|name| plan.job(name));
    told.extend(job.map(|job| notices_of_run(event, job, &plan.app)).unwrap_or_default());
    told
}

/// Whom a job has told of one of its runs.
fn notices_of_run(event: &Arc<api::Event>, job: &JobPlan, app: &str) -> Vec<Notice> {
    let kind = event.kind.as_str();
    let (hook, url) = if BEGINS.contains(&kind) {
        (&None, job.ping.as_ref().and_then(|ping| ping.start.as_ref()))
    } else if SUCCEEDS.contains(&kind) {
        (&job.hooks.success, job.ping.as_ref().and_then(|ping| ping.success.as_ref()))
    } else if FAILS.contains(&kind) {
        (&job.hooks.failure, job.ping.as_ref().and_then(|ping| ping.failure.as_ref()))
    } else if IS_MISSED.contains(&kind) {
        (&job.hooks.missed, None)
    } else {
        return Vec::new();
    };
    let name = happening_of(kind).map_or("job.unknown", |happening| happening.name);
    let command = hook.as_ref().map(|hook| (Place::JobCommand(job.name.clone()), How::Run(Box::new(hook.clone()))));
    let ping = url.zip(job.ping.as_ref()).map(|(url, ping)| {
        let run = event.instance.as_deref().unwrap_or_default();
        let url = match ping.ids {
            RunIds::Told => url.asking("rid", &run_id(app, run)),
            RunIds::NotTold => url.clone(),
        };
        let how = How::Ping { url, timeout: ping.timeout, start: BEGINS.contains(&kind) };
        (Place::JobPing(job.name.clone()), how)
    });
    let notice = |(place, how)| Notice { event: event.clone(), name, place, how };
    [command, ping].into_iter().flatten().map(notice).collect()
}

/// An id in the form of a UUID (RFC 9562, version 8) that is the same for all pings of a run, whoever is the manager: the
/// number of a run is never used twice in an app.
fn run_id(app: &str, run: &str) -> String {
    // FNV-1a, twice from different beginnings.
    let hash = |begin: u64| {
        let bytes = app.bytes().chain([0]).chain(run.bytes());
        bytes.fold(begin, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let (high, low) = (hash(0xcbf2_9ce4_8422_2325), hash(0x6c62_272e_07bb_0142));
    format!(
        "{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use svd_config::{Source, SourceKind, Sources};

    const TOLD: &str =
        "process.web = \"x\"\n[notify]\nevents = [\"process.failed\"]\nrun = \"x\"\nwebhook = \"http://a\"\n";

    fn plan() -> Plan {
        plan_of(TOLD)
    }

    fn plan_of(text: &str) -> Plan {
        let main = Source { path: "Procfile.toml".into(), kind: SourceKind::Toml, text: text.into(), mode: 0o600 };
        let sources = Sources {
            main,
            dir: "/srv/shop".into(),
            others: Vec::new(),
            environment: None,
            only: Vec::new(),
            no_jobs: false,
            inherited: Default::default(),
        };
        svd_config::plan(&sources).unwrap().0
    }

    fn event(id: i64, kind: &str) -> Arc<api::Event> {
        let text = format!("{{\"id\":{id},\"time\":\"2026-11-25T12:00:00Z\",\"kind\":\"{kind}\",\"message\":\"\"}}");
        Arc::new(serde_json::from_str(&text).unwrap())
    }

    /// A run of this job has succeeded.
    fn succeeded(id: i64, job: &str) -> Arc<api::Event> {
        let text = format!(
            "{{\"id\":{id},\"time\":\"2026-11-25T12:00:00Z\",\"kind\":\"job.succeeded\",\"process\":\"job:{job}\",\
             \"instance\":\"job:{job}.{id}\",\"message\":\"\"}}"
        );
        Arc::new(serde_json::from_str(&text).unwrap())
    }

    fn opened(mark: i64) -> Notices {
        let mut notices = Notices::new(mark, BTreeSet::new());
        notices.open();
        notices
    }

    #[test]
    fn each_place_is_told_of_one_event_at_a_time_in_their_order() {
        // given two events that are told, and others
        let (mut notices, plan) = (opened(0), plan());
        for (id, kind) in
            [(1, "instance.failed"), (2, "instance.ready"), (3, "instance.failed"), (3, "instance.failed")]
        {
            assert_eq!(notices.offer(&event(id, kind), &plan), Given::Taken);
        }
        // when
        let mut first = [notices.next().unwrap(), notices.next().unwrap()];
        first.sort_by(|a, b| a.place.cmp(&b.place));
        // then
        assert_eq!(
            first.iter().map(|notice| (notice.event.id, &notice.place)).collect::<Vec<_>>(),
            [(1, &Place::Command), (1, &Place::Webhook)]
        );
        assert_eq!(notices.next(), None);
        notices.done(&first[0], true);
        let second = notices.next().unwrap();
        assert_eq!((second.event.id, &second.place, second.name), (3, &Place::Command, "process.failed"));
    }

    #[test]
    fn who_was_told_while_another_could_not_be_is_not_told_again_by_a_later_manager() {
        // given two places, one of which is told of both events and the other of none
        let (mut notices, plan) = (opened(5), plan());
        let events = [6, 7].map(|id| event(id, "instance.failed"));
        events.iter().for_each(|event| _ = notices.offer(event, &plan));
        let mut told = BTreeSet::new();
        while let Some(notice) = notices.next() {
            if notice.place == Place::Command {
                notices.done(&notice, true);
                assert_eq!(notices.take_mark(), None);
                told.extend(notices.take_told());
            }
        }
        assert_eq!(told, BTreeSet::from([(6, "command".to_owned()), (7, "command".to_owned())]));
        // when
        let mut later = Notices::new(5, told);
        events.iter().for_each(|event| _ = later.offer(event, &plan));
        later.open();
        // then
        let webhook = later.next().unwrap();
        assert_eq!((webhook.event.id, &webhook.place, later.next()), (6, &Place::Webhook, None));
        later.done(&webhook, true);
        assert_eq!((later.take_mark(), later.take_told()), (Some(6), vec![]));
    }

    #[test]
    fn the_mark_stays_before_the_first_event_that_somebody_has_not_been_told_of() {
        let (mut notices, plan) = (opened(5), plan());
        for id in 6..9 {
            notices.offer(&event(id, "instance.failed"), &plan);
        }
        let (a, b) = (notices.next().unwrap(), notices.next().unwrap());
        assert_eq!(notices.take_mark(), None);
        notices.done(&a, true);
        let next = notices.next().unwrap();
        notices.done(&next, true);
        // one place is two events ahead of the other
        assert_eq!(notices.take_mark(), None);
        notices.done(&b, false);
        assert_eq!((notices.take_mark(), notices.take_mark()), (Some(6), None));
        while let Some(notice) = notices.next() {
            notices.done(&notice, true);
        }
        assert_eq!((notices.take_mark(), notices.is_idle()), (Some(8), true));
        // what tells nobody moves it with the next thing that is done
        notices.offer(&event(9, "instance.ready"), &plan);
        assert_eq!(notices.take_mark(), Some(9));
    }

    #[test]
    fn a_place_that_does_not_keep_up_drops_what_is_too_much_and_says_so_once() {
        let (mut notices, plan) = (opened(0), plan());
        let most = MOST_WAITING as i64;
        let given: Vec<Given> = (1..=most + 3).map(|id| notices.offer(&event(id, "instance.failed"), &plan)).collect();
        assert_eq!(given.iter().filter(|given| **given == Given::Dropped).count(), 1, "told once");
        assert!(notices.counters().all(|(_, waiting, counters)| waiting == MOST_WAITING && counters.dropped == 3));
    }

    #[test]
    fn what_a_manager_before_was_telling_goes_on_and_is_not_told_again() {
        let (mut notices, plan) = (Notices::new(0, BTreeSet::new()), plan());
        notices.offer(&event(1, "instance.failed"), &plan);
        assert_eq!(notices.next(), None);
        let running = notices.resume(&Place::Command, 1).unwrap();
        notices.open();
        assert_eq!(notices.next().map(|notice| notice.place), Some(Place::Webhook));
        assert_eq!(notices.next(), None);
        notices.done(&running, true);
        assert_eq!(notices.resume(&Place::Command, 1), None);
    }

    #[test]
    fn with_many_hooks_the_one_that_waits_longest_is_next_and_none_of_them_holds_up_the_command_for_all() {
        // given more jobs with hooks than hooks may run at once, and each has two to tell
        let jobs: Vec<String> = (0..=MOST_COMMANDS).map(|n| format!("j{n}")).collect();
        let hook = |job: &String| format!("[job.{job}]\nrun = \"x\"\non_success = \"x\"\n");
        let jobs_text: String = jobs.iter().map(hook).collect();
        let (mut notices, plan) = (opened(0), plan_of(&format!("{TOLD}{jobs_text}")));
        for (id, job) in (1..).zip(jobs.iter().chain(&jobs)) {
            notices.offer(&succeeded(id, job), &plan);
        }
        // when as many are told as may be at once
        let given: Vec<Notice> = std::iter::from_fn(|| notices.next()).collect();
        assert_eq!(given.len(), MOST_COMMANDS);
        // then a failed process is told at once, though nobody may tell of jobs
        notices.offer(&event(100, "instance.failed"), &plan);
        let mut told = [notices.next().unwrap().place, notices.next().unwrap().place];
        told.sort();
        assert_eq!(told, [Place::Command, Place::Webhook]);
        assert_eq!(notices.next(), None);
        // and the next of jobs is the one that has waited longest, not the first by its name again
        notices.done(&given[0], true);
        assert_eq!(notices.next().map(|notice| notice.event.id), Some(MOST_COMMANDS as i64 + 1));
    }
}
