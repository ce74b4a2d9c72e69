//! How an instance gets its listeners, how instances are replaced, watched and drained: defaults and combinations.

use std::time::Duration;

use crate::document::Named;
use crate::handoff::FIRST_FD;
use crate::plan::{DrainedPlan, Handoff, HealthBy, HealthPlan, RecyclePlan, Strategy, Traffic, UpdatePlan};
use crate::report::{At, Span};
use crate::resolve::{Asked, Resolver};
use crate::rolling::{Amount, RawHealthBy, strategy_name};

impl Resolver<'_> {
    /// How the listeners are handed over, and what is said of listeners without reason.
    pub(crate) fn handoff(&mut self, asked: &Asked<'_>) -> Handoff {
        let (name, raw) = (asked.name, asked.raw);
        if asked.is_oneshot() {
            self.check_oneshot(asked);
        }
        let handoff = raw.handoff.as_ref().map_or(Handoff::Auto, |handoff| handoff.value.clone());
        let Some(listen) = &raw.listen else {
            let without = [
                ("handoff", raw.handoff.as_ref().map(|handoff| handoff.span)),
                ("traffic", raw.traffic.as_ref().map(|traffic| traffic.span)),
            ];
            for (key, span) in without {
                if let Some(span) = span {
                    let message = format!("\"{key}\" in [process.{name}] is about listeners, and it has none");
                    self.report.problem_with(span, message, "say where it listens: listen = \"127.0.0.1:8080\"");
                }
            }
            return handoff;
        };
        if let Handoff::Env { name: variable, .. } = &handoff
            && let Some(said) = asked.known.own.get(variable).or_else(|| asked.known.shared.get(variable))
        {
            let message = format!("{variable} of {name} is set by its handoff; what is said here has no effect");
            self.report.warn(Some(said.span), message, "leave it out, or take another handoff");
        }
        if let Some(At { value: Handoff::Stdin, span }) = raw.handoff
            && listen.value.len() > 1
        {
            let message = format!(
                "handoff = \"stdin\" in [process.{name}] takes one listener, and there are {}",
                listen.value.len()
            );
            self.report.problem_with(span, message, "take \"auto\" or \"listen-fds\", or one listener");
        }
        handoff
    }

    fn check_oneshot(&mut self, asked: &Asked<'_>) {
        let raw = asked.raw;
        let impossible: [(&str, Option<Span>); 4] = [
            ("listen", raw.listen.as_ref().map(|listen| listen.span)),
            ("health", raw.health.as_ref().map(|health| health.span)),
            ("recycle", raw.recycle.span),
            ("preset", raw.preset.as_ref().map(|preset| preset.span)),
        ];
        for (key, span) in impossible {
            if let Some(span) = span {
                let message = format!(
                    "process \"{}\" is a one-shot, which runs to completion: \"{key}\" does not go with it",
                    asked.name
                );
                self.report.problem(span, message);
            }
        }
    }

    /// A descriptor for readiness must not be one of the listeners.
    pub(crate) fn check_ready_fd(&mut self, asked: &Asked<'_>, handoff: &Handoff, fd: At<u32>) {
        let listeners = u32::try_from(asked.listen.len()).unwrap_or(u32::MAX);
        let end = FIRST_FD.saturating_add(listeners);
        let stored = asked.raw.fd_store.as_ref().map_or(0, |most| most.value);
        let last = end.saturating_add(stored);
        if stored > 0 && (FIRST_FD..last).contains(&fd.value) {
            let message = format!(
                "descriptor {} in \"ready\" in [process.{}] may be one of its listeners or of its fd_store, which begin with \
                 {FIRST_FD}",
                fd.value, asked.name
            );
            return self.report.problem_with(fd.span, message, format!("write ready = {{ fd = {last} }}"));
        }
        if !handoff.numbers_descriptors() || !(FIRST_FD..end).contains(&fd.value) {
            return;
        }
        let message = format!(
            "descriptor {} in \"ready\" in [process.{}] is one of its listeners, which begin with {FIRST_FD}",
            fd.value, asked.name
        );
        self.report.problem_with(fd.span, message, format!("write ready = {{ fd = {end} }}"));
    }

    /// What is stored is told by LISTEN_FDS, which begins with 3.
    pub(crate) fn check_fd_store(&mut self, asked: &Asked<'_>, handoff: &Handoff) {
        let Some(store) = asked.raw.fd_store.as_ref().filter(|store| store.value > 0) else { return };
        if let Handoff::Env { name, .. } = handoff
            && !asked.listen.is_empty()
        {
            let message = format!(
                "\"fd_store\" in [process.{}] gives descriptors from {FIRST_FD} on, where {name} has its listeners",
                asked.name
            );
            self.report.problem_with(store.span, message, "take another handoff, or leave fd_store out");
        }
    }

    /// How running instances are replaced.
    pub(crate) fn update(&mut self, asked: &Asked<'_>, handoff: &Handoff) -> UpdatePlan {
        let raw = &asked.raw.update;
        let listens = !asked.listen.is_empty() && *handoff != Handoff::None;
        let strategy = match &raw.strategy {
            Some(strategy) => strategy.value,
            None if asked.is_oneshot() => Strategy::Exclusive,
            None if listens => Strategy::Overlap,
            None if asked.raw.quiet.is_some() => Strategy::Handover,
            None => Strategy::Exclusive,
        };
        if let Some(At { value, span }) = raw.strategy
            && asked.is_oneshot()
            && value != Strategy::Exclusive
        {
            let message = format!(
                "process \"{}\" is a one-shot, and two of it would run at once with \"{}\"",
                asked.name,
                strategy_name(value)
            );
            self.report.problem_with(span, message, "one-shots take only \"exclusive\", which is their default");
        }
        self.check_amounts(asked, strategy);
        self.check_canary(asked, strategy, handoff);
        let amount = |amount: &Option<At<Amount>>| amount.as_ref().map_or(1, |a| a.value.of(asked.count()).max(1));
        UpdatePlan {
            strategy,
            surge: amount(&raw.surge),
            unavailable: amount(&raw.unavailable),
            bake: raw.bake.as_ref().map_or(Duration::ZERO, |bake| bake.value),
            canary: raw.canary.as_ref().map(|canary| canary.value.clone()).unwrap_or_default(),
        }
    }

    fn check_amounts(&mut self, asked: &Asked<'_>, strategy: Strategy) {
        let raw = &asked.raw.update;
        let label = format!("[process.{}.update]", asked.name);
        let is_zero = |amount: &At<Amount>| amount.value == Amount::Number(0);
        let exclusive = strategy == Strategy::Exclusive;
        if let Some(surge) = raw.surge.as_ref().filter(|surge| is_zero(surge) != exclusive) {
            let (message, help) = if exclusive {
                let message = format!(
                    "\"surge\" in {label} has no meaning with \"exclusive\": the old one ends before the new one starts"
                );
                (message, "leave it out, or take unavailable: so many are replaced at once")
            } else {
                let strategy = strategy_name(strategy);
                let message = format!(
                    "\"surge\" in {label} leaves no room for a new instance beside the old one (\"{strategy}\")"
                );
                (message, "write at least 1, or strategy = \"exclusive\"")
            };
            self.report.problem_with(surge.span, message, help);
        }
        if let Some(unavailable) = raw.unavailable.as_ref().filter(|unavailable| is_zero(unavailable) == exclusive) {
            let (message, help) = if exclusive {
                let message = format!(
                    "\"unavailable\" in {label} leaves no instance to replace: with \"exclusive\" one goes first"
                );
                (message, "write at least 1, or strategy = \"overlap\"")
            } else {
                let strategy = strategy_name(strategy);
                let message = format!(
                    "\"unavailable\" in {label} has no meaning with \"{strategy}\": no instance is ever missing"
                );
                (message, "leave it out, or take surge: so many are replaced at once")
            };
            self.report.problem_with(unavailable.span, message, help);
        }
    }

    fn check_canary(&mut self, asked: &Asked<'_>, strategy: Strategy, handoff: &Handoff) {
        let Some(canary) = asked.raw.update.canary.as_ref().filter(|canary| !canary.value.is_empty()) else { return };
        let title = format!("\"canary\" in [process.{}.update]", asked.name);
        let gated = asked.misses_listeners() || asked.listen.iter().any(|listener| listener.traffic == Traffic::Gated);
        let (why, help) = if asked.raw.listen.is_none() {
            (
                "there is no listener whose traffic could be shared out",
                "say where it listens: listen = \"0.0.0.0:8080\"",
            )
        } else if *handoff == Handoff::None {
            ("handoff = \"none\" hands it no traffic", "take another handoff")
        } else if !gated {
            (
                "only a gate can share traffic out, and none of its listeners has one",
                "take a TCP listener with traffic = \"gated\"",
            )
        } else if strategy != Strategy::Overlap {
            ("only \"overlap\" has both generations under traffic", "write strategy = \"overlap\"")
        } else {
            return;
        };
        self.report.problem_with(canary.span, format!("{title} is impossible: {why}"), help);
    }

    /// Outer `None`: a problem was noted.
    pub(crate) fn health(&mut self, asked: &Asked<'_>) -> Option<Option<HealthPlan>> {
        let Some(At { value: raw, .. }) = &asked.raw.health else { return Some(None) };
        let by = match &raw.by {
            RawHealthBy::Http { port, path } => HealthBy::Http { port: *port, path: path.clone() },
            RawHealthBy::Tcp { port } => HealthBy::Tcp { port: *port },
            RawHealthBy::Run(run) => {
                let title = format!("\"run\" in [process.{}.health]", asked.name);
                HealthBy::Run(self.probe(&title, run, asked.known)?)
            }
        };
        Some(Some(HealthPlan {
            by,
            every: raw.every.unwrap_or(Duration::from_secs(5)),
            timeout: raw.timeout.unwrap_or(Duration::from_secs(2)),
            failures: raw.failures.unwrap_or(3),
        }))
    }

    /// Outer `None`: a problem was noted.
    pub(crate) fn drained(&mut self, asked: &Asked<'_>) -> Option<Option<DrainedPlan>> {
        let Some(At { value: raw, .. }) = &asked.raw.drained else { return Some(None) };
        let title = format!("\"drained\" in [process.{}]", asked.name);
        Some(Some(DrainedPlan {
            run: self.probe(&title, &raw.run, asked.known)?,
            every: raw.every.unwrap_or(Duration::from_secs(1)),
            timeout: raw.timeout.unwrap_or(Some(Duration::from_secs(600))),
        }))
    }

    /// When instances are replaced although they are well.
    pub(crate) fn recycle(&mut self, named: &Named) -> RecyclePlan {
        let raw = &named.raw.recycle;
        let plan = RecyclePlan {
            memory: raw.memory.as_ref().map(|memory| memory.value),
            age: raw.age.as_ref().map(|age| age.value),
        };
        if let Some(span) = raw.span
            && plan == RecyclePlan::default()
            && !self.report.has_problems()
        {
            let message =
                format!("\"recycle\" in [process.{}] says no reason; it needs memory or age", named.name.value);
            self.report.problem(span, message);
        }
        plan
    }
}
