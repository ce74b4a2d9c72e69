//! Users and groups by name, through libc's NSS. That can read files, ask a server and wait: never call it in the
//! keeper, and never between fork and exec.

use nix::unistd::{Gid, Group, Uid};
use std::ffi::CString;
use std::io;
use std::path::PathBuf;

/// A line of the user database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name; the number as text for a number without an entry.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory; `/` for a number without an entry.
    pub home: PathBuf,
    /// Login shell; `/bin/sh` for a number without an entry.
    pub shell: PathBuf,
}

/// The user of this name or number. A number needs no entry: its group is then the same number, as `docker run -u`
/// has it. `None` where there is no such name.
pub fn lookup_user(name: &str) -> io::Result<Option<User>> {
    let number = name.parse::<u32>().ok();
    let found = match nix::unistd::User::from_name(name).map_err(io::Error::from)? {
        Some(user) => Some(user),
        None => match number {
            Some(uid) => nix::unistd::User::from_uid(Uid::from_raw(uid)).map_err(io::Error::from)?,
            None => None,
        },
    };
    Ok(match (found, number) {
        (Some(user), _) => Some(User {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
            shell: user.shell,
        }),
        (None, Some(uid)) => Some(User {
            name: name.to_owned(),
            uid,
            gid: uid,
            home: PathBuf::from("/"),
            shell: PathBuf::from("/bin/sh"),
        }),
        (None, None) => None,
    })
}

/// The group id of this name or number. `None` where there is no such name.
pub fn lookup_group(name: &str) -> io::Result<Option<u32>> {
    let found = Group::from_name(name).map_err(io::Error::from)?;
    Ok(found.map(|group| group.gid.as_raw()).or_else(|| name.parse().ok()))
}

/// The name of a user id, where it has one.
pub fn user_name(uid: u32) -> io::Result<Option<String>> {
    let found = nix::unistd::User::from_uid(Uid::from_raw(uid)).map_err(io::Error::from)?;
    Ok(found.map(|user| user.name))
}

/// All groups of a user, the primary one included (getgrouplist(3)).
pub fn group_list(user: &User) -> io::Result<Vec<u32>> {
    let name = CString::new(user.name.as_str()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let groups = nix::unistd::getgrouplist(&name, Gid::from_raw(user.gid)).map_err(io::Error::from)?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_number_and_a_bare_number_needs_no_entry() {
        assert_eq!(lookup_user("root").unwrap().unwrap().uid, 0);
        assert_eq!(lookup_user("0").unwrap().unwrap().name, "root");
        assert_eq!(lookup_user("54321").unwrap().unwrap().gid, 54321);
        assert_eq!(lookup_user("no-such-user").unwrap(), None);
        assert_eq!(lookup_group("root").unwrap(), Some(0));
        assert!(group_list(&lookup_user("root").unwrap().unwrap()).unwrap().contains(&0));
    }
}
