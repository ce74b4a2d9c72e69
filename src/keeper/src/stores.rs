//! Stores of descriptors that outlive spawns (`FDSTORE=1` of sd_notify(3)): what is in them, without the descriptors, which
//! are in [`crate::holdings`] under the same numbers.

use std::collections::BTreeMap;
use svd_wire::StoreSpec;

/// One descriptor in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Names it among all that are stored.
    pub id: u64,
    /// Its name; several may have the same.
    pub name: String,
    /// It stays when the other side hangs up (`FDPOLL=0`).
    pub keep_hung: bool,
}

/// All stores by name. None of them is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stores(BTreeMap<String, Vec<Stored>>);

impl Stores {
    /// What is in a store, in the order in which it came.
    pub fn of(&self, store: &str) -> &[Stored] {
        self.0.get(store).map_or(&[], Vec::as_slice)
    }

    /// All that is in stores, with the store's name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.0.iter().flat_map(|(store, all)| all.iter().map(move |stored| (store.as_str(), stored)))
    }

    /// The names of what is in a store.
    pub fn names(&self, store: &str) -> Vec<String> {
        self.of(store).iter().map(|stored| stored.name.clone()).collect()
    }

    /// Whether there is room for one more.
    pub fn has_room(&self, store: &StoreSpec) -> bool {
        u32::try_from(self.of(&store.name).len()).is_ok_and(|count| count < store.limit)
    }

    /// Puts one in.
    pub fn put(&mut self, store: &str, stored: Stored) {
        self.0.entry(store.to_owned()).or_default().push(stored);
    }

    /// Takes those of this name out; answers their numbers.
    pub fn remove(&mut self, store: &str, name: &str) -> Vec<u64> {
        let gone = self.of(store).iter().filter(|stored| stored.name == name).map(|stored| stored.id).collect();
        if let Some(all) = self.0.get_mut(store) {
            all.retain(|stored| stored.name != name);
        }
        self.0.retain(|_, all| !all.is_empty());
        gone
    }

    /// Takes one out, whichever store it is in; answers that store's name.
    pub fn remove_one(&mut self, id: u64) -> Option<String> {
        let (store, all) = self.0.iter_mut().find(|(_, all)| all.iter().any(|stored| stored.id == id))?;
        all.retain(|stored| stored.id != id);
        let store = store.clone();
        self.0.retain(|_, all| !all.is_empty());
        Some(store)
    }

    /// Takes all of a store out; answers their numbers.
    pub fn empty(&mut self, store: &str) -> Vec<u64> {
        self.0.remove(store).unwrap_or_default().into_iter().map(|stored| stored.id).collect()
    }
}

/// An environment that tells of so many more descriptors behind those of LISTEN_FDS that it tells of already
/// (sd_listen_fds(3)).
pub fn announce(env: &[Vec<u8>], stored: &[Stored]) -> Vec<Vec<u8>> {
    const TOLD: [&[u8]; 3] = [b"LISTEN_FDS=", b"LISTEN_FDNAMES=", b"LISTEN_PID="];
    let value = |key: &[u8]| env.iter().find_map(|entry| entry.strip_prefix(key)).unwrap_or_default();
    let [fds, names, pid] = TOLD;
    let before: usize = std::str::from_utf8(value(fds)).ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    let count = before.saturating_add(stored.len());
    let all: Vec<&[u8]> = Some(value(names))
        .filter(|names| !names.is_empty())
        .into_iter()
        .chain(stored.iter().map(|stored| stored.name.as_bytes()))
        .collect();
    let mut out: Vec<Vec<u8>> =
        env.iter().filter(|entry| !TOLD.iter().any(|key| entry.starts_with(key))).cloned().collect();
    out.push([fds, count.to_string().as_bytes()].concat());
    out.push([names, &all.join(&b':')].concat());
    // The child writes its own number there.
    out.push(pid.to_vec());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(id: u64, name: &str) -> Stored {
        Stored { id, name: name.to_owned(), keep_hung: false }
    }

    #[test]
    fn a_store_takes_what_it_has_room_for_and_gives_it_up_by_name_or_number() {
        let spec = StoreSpec { name: "web.1".into(), limit: 2, first: 3 };
        let mut stores = Stores::default();
        assert!(stores.has_room(&spec));
        stores.put("web.1", stored(7, "a"));
        stores.put("web.1", stored(8, "b"));
        assert!(!stores.has_room(&spec));
        assert_eq!(stores.names("web.1"), ["a", "b"]);
        assert_eq!(stores.remove("web.1", "a"), [7]);
        assert_eq!(stores.remove_one(8).as_deref(), Some("web.1"));
        assert_eq!(stores, Stores::default());
        stores.put("web.1", stored(9, "c"));
        assert_eq!(stores.empty("web.1"), [9]);
        assert_eq!(stores.remove_one(9), None);
    }

    #[test]
    fn what_is_stored_is_told_behind_the_listeners() {
        let env = |entries: &[&str]| entries.iter().map(|entry| entry.as_bytes().to_vec()).collect::<Vec<_>>();
        let both = [stored(1, "a"), stored(2, "b")];
        assert_eq!(
            announce(&env(&["LISTEN_FDS=1", "A=b", "LISTEN_FDNAMES=http", "LISTEN_PID="]), &both),
            env(&["A=b", "LISTEN_FDS=3", "LISTEN_FDNAMES=http:a:b", "LISTEN_PID="])
        );
        assert_eq!(announce(&env(&["A=b"]), &both), env(&["A=b", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b", "LISTEN_PID="]));
    }
}
