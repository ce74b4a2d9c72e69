//! Who the processes run as: names of the plan, looked up once when it is taken on. A lookup may ask a server and wait, so none
//! happens while supervising.

use std::collections::BTreeMap;

use svd_config::plan::ExecPlan;
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

    /// Looks up what this process needs. `Err` is a sentence that names what is missing and the way out.
    pub fn add(&mut self, exec: &ExecPlan) -> Result<(), String> {
        let key = (exec.user.clone(), exec.group.clone());
        if (exec.user.is_none() && exec.group.is_none()) || self.0.contains_key(&key) {
            return Ok(());
        }
        let own = svd_sys::process::uid();
        let name = exec.user.clone().unwrap_or_else(|| own.to_string());
        let user = match users::lookup_user(&name) {
            Ok(Some(user)) => user,
            Ok(None) => {
                return Err(format!("user \"{name}\" does not exist on this machine; create it or give a number"));
            }
            Err(error) => return Err(format!("user \"{name}\" cannot be looked up: {error}")),
        };
        if own != 0 && user.uid != own {
            return Err(format!("svd runs as uid {own} and cannot start anything as \"{name}\"; start svd as root"));
        }
        let gid = match &exec.group {
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
        self.0.get(&(exec.user.clone(), exec.group.clone()))
    }
}
