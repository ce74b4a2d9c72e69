//! Who the processes run as: names of the plan, looked up once when it is taken on. A lookup may ask a server and wait, so none
//! happens while supervising.

use std::collections::BTreeMap;

use svd_config::plan::{ExecPlan, ListenAddress, ProcessPlan};
use svd_sys::users::{self, User};

/// One process's user and groups, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: User,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, as the user database has them.
    pub groups: Vec<u32>,
}

/// The accounts of a plan, by (user, group) as the config names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts(BTreeMap<(Option<String>, Option<String>), Account>);

impl FromIterator<((Option<String>, Option<String>), Account)> for Accounts {
    fn from_iter<T: IntoIterator<Item = ((Option<String>, Option<String>), Account)>>(accounts: T) -> Accounts {
        Accounts(accounts.into_iter().collect())
    }
}

impl Accounts {
    /// All of them, with how the config names them.
    pub fn iter(&self) -> impl Iterator<Item = (&(Option<String>, Option<String>), &Account)> {
        self.0.iter()
    }

    /// Looks up what this process needs, its listeners' owners included. `Err` is a sentence that names what is missing and
    /// the way out.
    pub fn add(&mut self, process: &ProcessPlan) -> Result<(), String> {
        let exec = &process.exec;
        self.add_pair(exec.user.as_ref(), exec.group.as_ref(), "cannot start anything as")?;
        for listener in &process.listen {
            let ListenAddress::Unix { user, group, .. } = &listener.address else { continue };
            let (user, group) = (user.as_ref().or(exec.user.as_ref()), group.as_ref().or(exec.group.as_ref()));
            self.add_pair(user, group, "cannot give a socket to")?;
        }
        Ok(())
    }

    fn add_pair(&mut self, user: Option<&String>, group: Option<&String>, cannot: &str) -> Result<(), String> {
        let key = (user.cloned(), group.cloned());
        if (user.is_none() && group.is_none()) || self.0.contains_key(&key) {
            return Ok(());
        }
        let own = svd_sys::process::uid();
        let name = user.cloned().unwrap_or_else(|| own.to_string());
        let user = match users::lookup_user(&name) {
            Ok(Some(user)) => user,
            Ok(None) => {
                return Err(format!("user \"{name}\" does not exist on this machine; create it or give a number"));
            }
            Err(error) => return Err(format!("user \"{name}\" cannot be looked up: {error}")),
        };
        if own != 0 && user.uid != own {
            return Err(format!("svd runs as uid {own} and {cannot} \"{name}\"; start svd as root"));
        }
        let gid = match group {
            None => user.gid,
            Some(group) => match users::lookup_group(group) {
                Ok(Some(gid)) => gid,
                Ok(None) => {
                    return Err(format!(
                        "group \"{group}\" does not exist on this machine; create it or give a number"
                    ));
                }
                Err(error) => return Err(format!("group \"{group}\" cannot be looked up: {error}")),
            },
        };
        let groups = users::group_list(&user).unwrap_or_else(|_| vec![gid]);
        self.0.insert(key, Account { user, gid, groups });
        Ok(())
    }

    /// The account of a process; `None` keeps svd's own.
    pub fn of(&self, exec: &ExecPlan) -> Option<&Account> {
        self.of_pair(exec.user.as_ref(), exec.group.as_ref())
    }

    /// The account of a user and group as the config names them; `None` keeps svd's own.
    pub fn of_pair(&self, user: Option<&String>, group: Option<&String>) -> Option<&Account> {
        self.0.get(&(user.cloned(), group.cloned()))
    }
}
