//! The configs that instances run by: the one in force and, while an apply is in progress, the other one.
//!
//! The keeper holds each under a number of its own, and which of them is in force stands in the wish, beside the generations
//! that run by the other one. So however a manager dies, its successor finds either all of an apply or nothing of it:
//!
//! - apply: the new config is held under a new number, then the wish names it. A death in between leaves a config that
//!   nobody names, which the next manager lets go.
//! - take back: the wish names the old one as in force again. The core tells this together with the generations.
//! - the end of an apply: the wish names one only, then the other is let go. A death in between leaves one that nobody
//!   names, as above.

use std::sync::Arc;

use svd_config::Plan;

use crate::plan::Snapshot;
use crate::seam::Configs;

/// A config that was read, with all that a start by it needs.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Under which the keeper holds it; never used twice.
    pub number: u64,
    /// What it says.
    pub plan: Arc<Plan>,
    /// Its texts and accounts.
    pub snapshot: Snapshot,
    /// What the user should know of it.
    pub warnings: Vec<String>,
}

/// One or two of them.
#[derive(Debug)]
pub struct Settings {
    in_force: Setting,
    other: Option<Setting>,
    /// Numbers that no wish names any more once the next one is told.
    obsolete: Vec<u64>,
    last: u64,
    /// Why the last apply was taken back, until one succeeds.
    pub taken_back: Option<String>,
}

impl Settings {
    /// As a manager begins with them. `last` is the largest number that the keeper has ever been given.
    pub fn new(in_force: Setting, other: Option<Setting>, last: u64, taken_back: Option<String>) -> Settings {
        let last = last.max(in_force.number).max(other.as_ref().map_or(0, |other| other.number));
        Settings { in_force, other, obsolete: Vec::new(), last, taken_back }
    }

    /// The one in force.
    pub fn in_force(&self) -> &Setting {
        &self.in_force
    }

    /// The other one of an apply in progress.
    pub fn other(&self) -> Option<&Setting> {
        self.other.as_ref()
    }

    /// All plans that instances run by.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        [Some(&self.in_force), self.other.as_ref()].into_iter().flatten().map(|setting| &setting.plan)
    }

    /// Makes them fit this machine, before anybody was given one.
    pub fn fit(&mut self, fit: impl Fn(Plan) -> Plan) {
        for setting in [Some(&mut self.in_force), self.other.as_mut()].into_iter().flatten() {
            setting.plan = Arc::new(fit(Plan::clone(&setting.plan)));
        }
    }

    /// The one with this plan; the one in force where none has it.
    pub fn of(&self, plan: &Arc<Plan>) -> &Setting {
        self.other.as_ref().filter(|other| Arc::ptr_eq(&other.plan, plan)).unwrap_or(&self.in_force)
    }

    /// A number for a new one.
    pub fn next_number(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.last
    }

    /// An apply has begun: a new one is in force, and the one before it is the other.
    pub fn begin(&mut self, new: Setting) {
        let before = std::mem::replace(&mut self.in_force, new);
        self.obsolete.extend(self.other.replace(before).map(|older| older.number));
        self.taken_back = None;
    }

    /// Takes the place of the one in force, by which the instances run on.
    pub fn replace(&mut self, same: Setting) {
        let before = std::mem::replace(&mut self.in_force, same);
        self.obsolete.push(before.number);
    }

    /// The core takes an apply back: makes the one with this plan the one in force. Says whether that is news.
    pub fn turn_to(&mut self, plan: &Arc<Plan>) -> bool {
        match &mut self.other {
            Some(other) if Arc::ptr_eq(&other.plan, plan) && !Arc::ptr_eq(&self.in_force.plan, plan) => {
                std::mem::swap(other, &mut self.in_force);
                true
            }
            Some(_) | None => false,
        }
    }

    /// All instances run by the one in force.
    pub fn drop_other(&mut self) {
        self.obsolete.extend(self.other.take().map(|other| other.number));
    }

    /// As the wish tells them.
    pub fn configs(&self) -> Configs {
        Configs {
            in_force: self.in_force.number,
            other: self.other.as_ref().map(|other| other.number),
            taken_back: self.taken_back.clone(),
        }
    }

    /// The numbers that can be let go, now that the wish is told.
    pub fn take_obsolete(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.obsolete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use svd_config::{Source, SourceKind, Sources};

    fn setting(number: u64) -> Setting {
        let main = Source { path: "Procfile".into(), kind: SourceKind::Procfile, text: "a: b".into(), mode: 0o600 };
        let sources = Sources {
            main,
            dir: "/srv/shop".into(),
            others: Vec::new(),
            environment: None,
            only: Vec::new(),
            no_jobs: false,
            inherited: Default::default(),
        };
        let (plan, _) = svd_config::plan(&sources).unwrap();
        let snapshot = Snapshot {
            sources,
            root: "/r".into(),
            runtime: "/r".into(),
            accounts: Default::default(),
            groups: Default::default(),
        };
        Setting { number, plan: Arc::new(plan), snapshot, warnings: Vec::new() }
    }

    #[test]
    fn an_apply_that_is_taken_back_leaves_the_config_before_it_and_lets_the_other_go() {
        // given
        let mut settings = Settings::new(setting(1), None, 0, None);
        let old = settings.in_force().plan.clone();
        // when one is applied
        let number = settings.next_number();
        settings.begin(setting(number));
        // then instances of both have theirs
        let new = settings.in_force().plan.clone();
        assert_eq!((settings.of(&old).number, settings.of(&new).number), (1, 2));
        // when it is taken back, and told once more
        assert!(settings.turn_to(&old));
        assert!(!settings.turn_to(&old));
        // then
        assert_eq!(settings.configs(), Configs { in_force: 1, other: Some(2), taken_back: None });
        assert!(settings.take_obsolete().is_empty());
        settings.drop_other();
        assert_eq!((settings.configs().other, settings.take_obsolete()), (None, vec![2]));
        assert_eq!(settings.next_number(), 3);
    }
}
