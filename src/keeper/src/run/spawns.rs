//! Spawns and what is held for them: forked, watched, closed.

use super::{CONTROL, Keeper, Source, TOKEN_CONTROL, mailbox};
use crate::launch::spawn_error;
use crate::notify::Speakers;
use crate::outbox;
use crate::step::Input;
use std::os::fd::{AsFd, OwnedFd};
use svd_sys::epoll::Interest;
use svd_sys::spawn::Progress;
use svd_sys::{dgram, process, report, tree};
use svd_wire::{FdRole, SpawnId, SpawnSpec};

impl Keeper {
    pub(super) fn fork(&mut self, spawn: SpawnId, spec: &SpawnSpec) {
        let attached = std::mem::take(&mut self.attached);
        let stored = self.stored(spec);
        let launched = self.launcher.spawn(spec, &attached, &stored);
        drop(stored);
        match launched {
            Ok(started) => {
                let token = self.watch(Source::Status(spawn));
                let watched = self.epoll.add(started.status.as_fd(), token, Interest::Read);
                let kept = self.holdings.spawn(spawn);
                kept.pidfd = Some(started.pidfd);
                kept.status = Some((started.status, token));
                if let Err(error) = watched {
                    // Its end still tells; only the moment of exec is not seen.
                    report::line(&format!("cannot watch a status pipe: {error}"));
                }
                self.keep(spawn, started.pid, spec, attached);
                self.input(Input::Forked { spawn, pid: started.pid });
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                self.input(Input::NotForked { spawn, errno });
            }
        }
    }

    /// Keeps what the child was not given.
    fn keep(&mut self, spawn: SpawnId, pid: i32, spec: &SpawnSpec, attached: Vec<OwnedFd>) {
        let keeper = process::uid();
        let service = spec.credentials.as_ref().map_or(keeper, |who| who.uid);
        let mark = mailbox::mark(spec);
        for (role, fd) in spec.fds.iter().zip(attached) {
            let mut token = None;
            match role {
                FdRole::Child(_) | FdRole::Filter | FdRole::Cgroup(_) => continue,
                FdRole::Stdout | FdRole::Stderr | FdRole::Ready | FdRole::Intercept => {}
                FdRole::Notify => {
                    let number = self.watch(Source::Notify(spawn));
                    token = Some(number);
                    let asked = dgram::pass_credentials(fd.as_fd());
                    // Before Linux 6.5 the number alone has to do.
                    let _only_the_number = dgram::pass_process(fd.as_fd(), true);
                    if let Err(error) = asked.and(self.epoll.add(fd.as_fd(), number, Interest::Read)) {
                        report::line(&format!("cannot watch a notify socket: {error}"));
                    }
                }
            }
            let kept = self.holdings.spawn(spawn);
            kept.speakers = Some(Speakers { service, keeper, session: pid, mark: mark.clone() });
            kept.held.push((*role, fd, token));
        }
    }

    pub(super) fn watch(&mut self, source: Source) -> u64 {
        let token = self.next_token;
        self.next_token = self.next_token.saturating_add(1);
        self.sources.insert(token, source);
        token
    }

    pub(super) fn close_status(&mut self, spawn: SpawnId) {
        if let Some((_pipe, token)) = self.holdings.find_mut(spawn).and_then(|kept| kept.status.take()) {
            self.sources.remove(&token);
        }
    }

    pub(super) fn close_held(&mut self, spawn: SpawnId, role: FdRole) {
        let Some(kept) = self.holdings.find_mut(spawn) else { return };
        let Some(index) = kept.held.iter().position(|(held, _, _)| *held == role) else { return };
        let (_, fd, token) = kept.held.swap_remove(index);
        if let Some(token) = token {
            self.sources.remove(&token);
            // The manager has a duplicate, which keeps the socket in our epoll set.
            let _never_added = self.epoll.delete(fd.as_fd());
        }
    }

    pub(super) fn read_status(&mut self, spawn: SpawnId) {
        let Some((pipe, _)) = self.holdings.find_mut(spawn).and_then(|kept| kept.status.as_mut()) else { return };
        match pipe.progress() {
            Progress::Pending => return,
            Progress::Failed(stage, errno) => {
                self.input(Input::StageFailed { spawn, error: spawn_error(stage, errno) });
            }
            Progress::Execed => {
                let pid = self.table.records.get(&spawn).and_then(|record| record.living());
                // Killed in the instant between its last word and exec, the pipe looks the same; the kernel knows.
                if !pid.and_then(tree::read_proc).is_some_and(|proc| proc.never_ran_a_program()) {
                    self.input(Input::Execed { spawn });
                }
            }
            Progress::Died => {}
        }
        self.close_status(spawn);
    }

    pub(super) fn hold(&mut self, name: String, fd: OwnedFd) {
        let control = name == CONTROL;
        if let Some(old) = self.holdings.hold(name, fd)
            && control
        {
            let _never_added = self.epoll.delete(old.as_fd());
        }
        let named = outbox::FdRef::Named(CONTROL.to_owned());
        if control
            && let Some(fd) = self.holdings.resolve(&[named]).and_then(|fds| fds.first().copied())
            && let Err(error) = self.epoll.add(fd, TOKEN_CONTROL, Interest::ReadEdge)
        {
            report::line(&format!("cannot watch the control socket: {error}"));
        }
    }
}
