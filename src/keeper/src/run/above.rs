//! The keeper's side of the service manager above it.

use super::{Keeper, TOKEN_HOST};
use crate::host::Left;
use crate::outbox;
use crate::step::Input;
use svd_sys::clock;
use svd_sys::epoll::Interest;
use svd_sys::report;

impl Keeper {
    /// Whoever is to be told that svd is well is told when it is: the manager is asked at the same time.
    pub(super) fn beat(&mut self) {
        let now = clock::now().mono_ns;
        if self.host.as_mut().is_some_and(|host| host.beat(&self.table, now)) {
            self.input(Input::Knock);
        }
    }

    pub(super) fn tell_host(&mut self) {
        let Some(host) = &mut self.host else { return };
        let left = host.flush();
        if left == self.host_left {
            return;
        }
        self.host_left = left;
        let Some(socket) = host.socket() else { return };
        let watched = match left {
            Left::Something => self.epoll.add(socket, TOKEN_HOST, Interest::Write),
            Left::Nothing => self.epoll.delete(socket),
        };
        if let Err(error) = watched {
            report::line(&format!("the socket of the service manager cannot be waited for: {error}"));
        }
    }

    /// Takes a message of the manager's up. Where it names a descriptor that is not held any more, there is nothing to tell.
    pub(super) fn for_host(&mut self, state: String, attach: Option<String>) {
        let named = attach.map(outbox::FdRef::Named);
        let fds = self.holdings.resolve(named.as_slice()).unwrap_or_default();
        let fd = fds.first().and_then(|fd| fd.try_clone_to_owned().ok());
        if let Some(host) = &mut self.host
            && fd.is_some() == named.is_some()
        {
            host.tell(state, fd);
        }
    }
}
