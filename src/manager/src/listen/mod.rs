//! The sockets that svd holds for its processes: bound here, held by the keeper by name, handed to instances at their start.
//!
//! Owns what is known of them. It never accepts, reads or writes, and closes one only when nobody uses it any more: what waits
//! in a closed socket is reset.

mod explain;
mod group;
mod handed;
mod key;
mod set;
mod socket_file;

pub use group::Listener;
pub use handed::{Handed, stored_name, take as take_handed};
pub use key::Key;
pub use set::{Held, Listeners, key};

#[cfg(test)]
pub mod tests {
    use std::path::PathBuf;

    use svd_config::plan::{ListenAddress, ListenerPlan, Traffic};
    use svd_config::{Plan, Source, SourceKind, Sources};

    /// A directory that is gone with its test.
    pub struct Dir {
        pub path: PathBuf,
    }

    impl Dir {
        pub fn new(name: &str) -> Dir {
            let path = std::env::temp_dir().join(format!("svd-{name}-{}", std::process::id()));
            let _stale = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Dir { path }
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _gone = std::fs::remove_dir_all(&self.path);
        }
    }

    /// A listener, gated where it is TCP.
    pub fn listen(name: &str, address: ListenAddress) -> ListenerPlan {
        let traffic = match address {
            ListenAddress::Tcp { .. } => Traffic::Gated,
            ListenAddress::Udp { .. } | ListenAddress::Unix { .. } => Traffic::Shared,
        };
        ListenerPlan { name: name.to_owned(), address, traffic }
    }

    /// A plan of processes with these listeners.
    pub fn plan(processes: &[(&str, &[ListenerPlan])]) -> Plan {
        let text: String = processes.iter().map(|(name, _)| format!("{name}: sleep 60\n")).collect();
        let main = Source { path: "Procfile".into(), kind: SourceKind::Procfile, text, mode: 0o600 };
        let sources = Sources {
            main,
            dir: "/srv/shop".into(),
            others: Vec::new(),
            environment: None,
            only: Vec::new(),
            no_jobs: false,
            inherited: [("HOME".to_owned(), "/".to_owned())].into(),
        };
        let (mut plan, _) = svd_config::plan(&sources).unwrap();
        for (name, listeners) in processes {
            let process = plan.processes.iter_mut().find(|process| process.name == *name).unwrap();
            process.listen = listeners.to_vec();
        }
        plan
    }
}
