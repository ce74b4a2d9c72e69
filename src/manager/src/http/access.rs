//! Who is at the other end of the socket, and what it may do.
//!
//! The kernel says who connected (SO_PEERCRED, unix(7)); nothing that the peer writes counts.

use std::time::Duration;

use crate::ask::{Actor, Role};

/// Who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The user svd runs as; it may do everything, like root.
    pub own_uid: u32,
    /// Members may operate.
    pub socket_group: Option<u32>,
    /// Members may look.
    pub read_group: Option<u32>,
}

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user id when it connected.
    pub uid: u32,
    /// Its group id when it connected.
    pub gid: u32,
    /// Its process id when it connected; only a hint, it may be somebody else's by now.
    pub pid: Option<i32>,
}

/// The user database may ask a server; nobody waits longer for it than this.
const LOOKUP: Duration = Duration::from_secs(1);

impl Access {
    /// Root and the user svd runs as may do everything.
    pub fn is_admin(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own_uid
    }

    /// What this user with these groups may do.
    pub fn role(&self, uid: u32, groups: &[u32]) -> Role {
        let is_member = |group: Option<u32>| group.is_some_and(|group| groups.contains(&group));
        if self.is_admin(uid) {
            Role::Admin
        } else if is_member(self.socket_group) {
            Role::Operate
        } else if is_member(self.read_group) {
            Role::Read
        } else {
            Role::None
        }
    }

    /// What this peer may do. Its supplementary groups are those of its process, and where /proc does not show them, those
    /// that the user database gives it.
    pub async fn role_of(&self, peer: Peer) -> Role {
        if self.is_admin(peer.uid) {
            return Role::Admin;
        }
        let by_gid = self.role(peer.uid, &[peer.gid]);
        if by_gid == Role::Operate || (self.socket_group.is_none() && self.read_group.is_none()) {
            return by_gid;
        }
        let mut groups = match peer.pid.and_then(|pid| groups_in_proc(pid, peer.uid)) {
            Some(groups) => groups,
            None => groups_in_database(peer.uid).await,
        };
        groups.push(peer.gid);
        self.role(peer.uid, &groups)
    }
}

/// The process id may have been given to another process since, or the process may run another program with more rights
/// now. So its groups count only where all four of its user ids are still the one that connected.
fn groups_in_proc(pid: i32, uid: u32) -> Option<Vec<u32>> {
    groups_in_status(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?, uid)
}

fn groups_in_status(status: &str, uid: u32) -> Option<Vec<u32>> {
    let numbers = |key: &str| -> Option<Vec<u32>> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().map(|number| number.parse().ok()).collect()
    };
    let uids = numbers("Uid:")?;
    if uids.len() == 4 && uids.iter().all(|found| *found == uid) { numbers("Groups:") } else { None }
}

async fn groups_in_database(uid: u32) -> Vec<u32> {
    let look = tokio::task::spawn_blocking(move || {
        // A user without an entry has no groups to look up.
        let name = svd_sys::users::user_name(uid).ok().flatten()?;
        let user = svd_sys::users::lookup_user(&name).ok().flatten()?;
        svd_sys::users::group_list(&user).ok()
    });
    match tokio::time::timeout(LOOKUP, look).await {
        Ok(Ok(Some(groups))) => groups,
        _ => Vec::new(),
    }
}

/// The peer as history names it: its user's name, else the number.
pub async fn actor(uid: u32, role: Role) -> Actor {
    let name = if uid == 0 {
        Some("root".to_owned())
    } else {
        let look = tokio::task::spawn_blocking(move || svd_sys::users::user_name(uid).ok().flatten());
        tokio::time::timeout(LOOKUP, look).await.ok().and_then(Result::ok).flatten()
    };
    Actor { uid, name: name.unwrap_or_else(|| uid.to_string()), role }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: Access = Access { own_uid: 1000, socket_group: Some(50), read_group: Some(60) };

    #[test]
    fn groups_decide_what_other_users_may_do() {
        assert_eq!(ACCESS.role(0, &[]), Role::Admin);
        assert_eq!(ACCESS.role(1000, &[]), Role::Admin);
        assert_eq!(ACCESS.role(1001, &[60, 50]), Role::Operate);
        assert_eq!(ACCESS.role(1001, &[7, 60]), Role::Read);
        assert_eq!(ACCESS.role(1001, &[7, 0]), Role::None);
        let closed = Access { own_uid: 1000, socket_group: None, read_group: None };
        assert_eq!(closed.role(1001, &[0, 50, 60]), Role::None);
    }

    #[test]
    fn groups_of_a_process_count_only_while_it_is_the_user_that_connected() {
        let status = |uids: &str| format!("Name:\tx\nUid:\t{uids}\nGid:\t1 1 1 1\nGroups:\t50 60 \nNStgid:\t1\n");
        assert_eq!(groups_in_status(&status("1001\t1001\t1001\t1001"), 1001), Some(vec![50, 60]));
        assert_eq!(groups_in_status(&status("1001\t0\t0\t0"), 1001), None);
        assert_eq!(groups_in_status(&status("1002\t1002\t1002\t1002"), 1001), None);
        assert_eq!(groups_in_status("", 1001), None);
    }

    #[test]
    fn the_real_status_file_is_understood() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
        let uid = uid.split_whitespace().next().unwrap().parse().unwrap();
        assert!(groups_in_proc(pid, uid).is_some());
    }
}
