//! Who is still to be told of what. Decides, and does nothing: the main loop performs what it is given.
//!
//! ```text
//! an event is on disk ──► waiting (at most MOST_WAITING a place) ──► given out (one a place) ──► done, told or given up
//! ```
//! The mark is the number of the last event before which nothing is outstanding. It is stored, and a later manager begins
//! behind it: so an event is told at least once, and one that was told is told again only when the manager dies between.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use svd_api as api;
use svd_config::Plan;
use svd_config::happenings::happening_of;
use svd_config::plan::{HookPlan, WebhookPlan};

/// So many wait for one place; what comes then is dropped.
const MOST_WAITING: usize = 1000;
/// So many commands run at once.
const MOST_COMMANDS: usize = 8;

/// Whom to tell. Each place is told of one event at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `notify.run`.
    Command,
    /// `notify.webhook`.
    Webhook,
}

impl Place {
    /// In a word, for tags and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Place::Command => "command",
            Place::Webhook => "webhook",
        }
    }

    /// Reads the word.
    pub fn of_word(word: &str) -> Option<Place> {
        [Place::Command, Place::Webhook].into_iter().find(|place| place.word() == word)
    }
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// A command is run.
    Run(Box<HookPlan>),
    /// It is posted.
    Post(WebhookPlan),
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
    /// Something may be given out: what a manager before has begun is known.
    open: bool,
}

impl Notices {
    /// As a manager begins whose predecessor left this mark.
    pub fn new(mark: i64) -> Notices {
        Notices { last: mark, marked: mark, ..Notices::default() }
    }

    /// Takes an event in that is on disk. One that was offered before is not taken twice.
    pub fn offer(&mut self, event: &Arc<api::Event>, plan: &Plan) -> Given {
        if event.id <= self.last {
            return Given::Taken;
        }
        self.last = event.id;
        let mut given = Given::Taken;
        for notice in notices(event, plan) {
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

    /// The next one to perform, if any place is free.
    pub fn next(&mut self) -> Option<Notice> {
        if !self.open {
            return None;
        }
        let commands = self.places.iter().filter(|(place, queue)| is_command(place) && queue.given.is_some()).count();
        let free = |place: &Place, queue: &Queue| {
            queue.given.is_none() && !queue.waiting.is_empty() && (commands < MOST_COMMANDS || !is_command(place))
        };
        let (_, queue) = self.places.iter_mut().find(|(place, queue)| free(place, queue))?;
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

    /// Whether nobody is to be told of anything.
    pub fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// How many wait or are being told, and what has come of others, for each place.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, usize, Counters)> {
        self.places.iter().map(|(place, queue)| {
            (place.word(), queue.waiting.len() + usize::from(queue.given.is_some()), queue.counters)
        })
    }
}

fn is_command(place: &Place) -> bool {
    match place {
        Place::Command => true,
        Place::Webhook => false,
    }
}

/// Whom the plan has told of an event.
fn notices(event: &Arc<api::Event>, plan: &Plan) -> Vec<Notice> {
    let (Some(notify), Some(happening)) = (&plan.notify, happening_of(&event.kind)) else { return Vec::new() };
    if !notify.events.contains(&happening.name) {
        return Vec::new();
    }
    let command = notify.hook.as_ref().map(|hook| (Place::Command, How::Run(Box::new(hook.clone()))));
    let webhook = notify.webhook.as_ref().map(|webhook| (Place::Webhook, How::Post(webhook.clone())));
    let notice = |(place, how)| Notice { event: event.clone(), name: happening.name, place, how };
    [command, webhook].into_iter().flatten().map(notice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use svd_config::{Source, SourceKind, Sources};

    fn plan() -> Plan {
        let text =
            "process.web = \"x\"\n[notify]\nevents = [\"process.failed\"]\nrun = \"x\"\nwebhook = \"http://a\"\n";
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

    fn opened(mark: i64) -> Notices {
        let mut notices = Notices::new(mark);
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
        let (mut notices, plan) = (Notices::new(0), plan());
        notices.offer(&event(1, "instance.failed"), &plan);
        assert_eq!(notices.next(), None);
        let running = notices.resume(&Place::Command, 1).unwrap();
        notices.open();
        assert_eq!(notices.next().map(|notice| notice.place), Some(Place::Webhook));
        assert_eq!(notices.next(), None);
        notices.done(&running, true);
        assert_eq!(notices.resume(&Place::Command, 1), None);
    }
}
