//! A main loop that answers from a table, a server on a socket, and a client that sends exactly what it is given.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use svd_api as api;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, watch};

use crate::ask::{Actor, Ask, Handle};
use crate::http::server::Shared;
use crate::http::{Access, ApiState, serve};
use crate::logs::Logs;
use crate::store::{Batch, NewEvent, Place, Store};

/// Nothing in these tests takes longer.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it took too long")
}

pub struct Fake {
    pub path: PathBuf,
    pub state: ApiState,
    pub stop: watch::Sender<bool>,
    /// Orders that came, with who gave them.
    pub orders: Arc<Mutex<Vec<(String, Actor)>>>,
    tree: Arc<Mutex<api::Status>>,
    /// How often the tree was looked at.
    pub looks: watch::Receiver<u32>,
    version: watch::Sender<u64>,
    pub server: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.path.parent().unwrap());
    }
}

impl Fake {
    pub fn start() -> Fake {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("svd-http-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("control.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let tree = Arc::new(Mutex::new(tree()));
        let orders = Arc::new(Mutex::new(Vec::new()));
        let (asks, inbox) = mpsc::channel(256);
        let version = watch::Sender::new(0);
        let handle = Handle { asks, events: broadcast::Sender::new(8), version: version.subscribe() };
        let (count, looks) = watch::channel(0);
        tokio::spawn(main_loop(inbox, tree.clone(), orders.clone(), count));
        let state = ApiState {
            handle,
            store: Store::open(Place::Memory).unwrap().0,
            access: Access { own_uid: 0, socket_group: Some(4242), read_group: Some(4343) },
            logs: logs(&directory),
        };
        let stop = watch::Sender::new(false);
        let server = Some(tokio::spawn(serve(listener, state.clone(), stop.subscribe())));
        Fake { path, state, stop, orders, tree, looks, version, server }
    }

    pub fn shared(&self) -> Shared {
        Shared { state: self.state.clone(), stop: self.stop.subscribe() }
    }

    /// The tree changes.
    pub fn change(&self, change: impl FnOnce(&mut api::Status)) {
        change(&mut self.tree.lock().unwrap());
        self.version.send_modify(|version| *version += 1);
    }

    /// Something happens: stored, then told.
    pub async fn happen(&self, kind: &str, instance: Option<&str>) -> Arc<api::Event> {
        self.happen_to(kind, instance, None).await
    }

    /// Something happens to a start.
    pub async fn happen_to(&self, kind: &str, instance: Option<&str>, spawn: Option<u64>) -> Arc<api::Event> {
        let event = NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: kind.to_owned(),
            process: instance.map(|name| name.split('.').next().unwrap().to_owned()),
            instance: instance.filter(|name| name.contains('.')).map(str::to_owned),
            spawn,
            message: format!("{kind} happened"),
            ..NewEvent::default()
        };
        let stored =
            self.state.store.commit(Batch { events: vec![event], ..Default::default() }).await.unwrap().unwrap();
        let _nobody_listens = self.state.handle.events.send(stored[0].clone());
        stored[0].clone()
    }

    pub async fn connect(&self) -> UnixStream {
        within(UnixStream::connect(&self.path)).await.unwrap()
    }

    /// Sends these bytes and reads until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may close before it has all.
        let _closed = within(stream.write_all(bytes)).await;
        let mut text = Vec::new();
        let _reset = within(stream.read_to_end(&mut text)).await;
        String::from_utf8_lossy(&text).into_owned()
    }

    pub async fn get(&self, path: &str) -> (u16, serde_json::Value) {
        answer(&self.raw(format!("GET {path} HTTP/1.1\r\nhost: svd\r\nconnection: close\r\n\r\n").as_bytes()).await)
    }

    pub async fn post(&self, path: &str, body: &str) -> (u16, serde_json::Value) {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: svd\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        answer(&self.raw((head + body).as_bytes()).await)
    }
}

/// Status and body.
pub fn answer(text: &str) -> (u16, serde_json::Value) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text:?}")))
}

/// Reads from the stream until `wanted` has come.
pub async fn read_until(stream: &mut UnixStream, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut buffer = [0; 4096];
        let count = within(stream.read(&mut buffer)).await.unwrap();
        assert_ne!(count, 0, "closed before {wanted:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

fn instance(id: &str, state: &str) -> api::Instance {
    api::Instance {
        id: id.to_owned(),
        role: api::Role::Current,
        spawn: None,
        pid: Some(7),
        state: state.to_owned(),
        release: None,
        since: "2026-11-23T10:00:00Z".to_owned(),
        restarts: 0,
        exit: None,
        reason: (state == "backoff").then(|| "exited with code 1".to_owned()),
        cpu_percent: None,
        memory_bytes: None,
        pressure: None,
        notify: None,
    }
}

fn process(name: &str, oneshot: bool, instances: Vec<api::Instance>) -> api::Process {
    api::Process {
        name: name.to_owned(),
        want: instances.len() as u32,
        ready: 0,
        disabled: false,
        oneshot,
        listeners: vec![],
        instances,
    }
}

pub fn tree() -> api::Status {
    let web = vec![instance("web.1", "ready"), instance("web.2", "backoff")];
    api::Status {
        app: "shop".to_owned(),
        environment: None,
        release: None,
        svd: api::Svd {
            keeper_version: "0.0.0".into(),
            protocol: 2,
            version: "0".to_owned(),
            keeper_pid: 1,
            manager_pid: 2,
            manager_starts: 1,
            state: "running".to_owned(),
            config: "/c".to_owned(),
            root: "/r".to_owned(),
        },
        processes: vec![process("web", false, web), process("migrate", true, vec![instance("migrate.1", "starting")])],
        jobs: vec![],
        deploy: None,
        warnings: vec![],
    }
}

async fn main_loop(
    mut inbox: mpsc::Receiver<Ask>,
    tree: Arc<Mutex<api::Status>>,
    orders: Arc<Mutex<Vec<(String, Actor)>>>,
    looks: watch::Sender<u32>,
) {
    let done = |what: String, actor: Actor| {
        let outcome = match what.as_str() {
            text if text.contains("refuse") => api::OutcomeWord::Refused,
            text if text.contains("fail") => api::OutcomeWord::Failed,
            text if text.contains("bad") => api::OutcomeWord::RolledBack,
            text if text.contains("worse") => api::OutcomeWord::Held,
            _ => api::OutcomeWord::Done,
        };
        orders.lock().unwrap().push((what, actor));
        let (message, changes, problems, evidence) = ("so be it".to_owned(), vec![], vec![], vec![]);
        api::CommandResult { outcome, message, changes, problems, evidence, run: None }
    };
    while let Some(ask) = inbox.recv().await {
        match ask {
            Ask::Status { reply, .. } => {
                drop(reply.send(tree.lock().unwrap().clone()));
                looks.send_modify(|count| *count += 1);
            }
            Ask::Metrics { reply } => drop(reply.send(Some("up 1\n".to_owned()))),
            // Never answered: the client has to leave first.
            Ask::Command { request, reply, .. } if request.targets == ["slow"] => {
                tokio::spawn(async move {
                    let mut reply = reply;
                    reply.closed().await;
                });
            }
            Ask::Command { kind, request, actor, reply } => {
                let replaced = if request.replaced { " replaced" } else { "" };
                drop(reply.send(done(format!("{kind:?} {:?}{replaced}", request.targets), actor)));
            }
            Ask::Scale { request, actor, reply } => {
                drop(reply.send(done(format!("scale {:?}", request.counts), actor)))
            }
            Ask::Signal { request, actor, reply } => {
                drop(reply.send(done(format!("signal {}", request.signal), actor)))
            }
            Ask::Apply { request, actor, reply } => drop(reply.send(done(format!("apply {:?}", request.file), actor))),
            Ask::Upgrade { request, actor, reply } => {
                drop(reply.send(done(format!("upgrade {:?}", request.binary), actor)))
            }
            Ask::UpgradeOutcome { token, reply } => {
                let nobody = Actor { uid: 0, name: "nobody".into(), role: crate::ask::Role::Read };
                drop(reply.send(done(format!("outcome of {token}"), nobody)))
            }
            Ask::Shutdown { request, actor, reply } => {
                drop(reply.send(done(format!("shutdown {}", request.now), actor)))
            }
            Ask::RunJob { request, actor, reply } => drop(reply.send(done(format!("run {}", request.job), actor))),
            Ask::PauseJobs { pause, request, actor, reply } => {
                drop(reply.send(done(format!("pause {pause} {:?}", request.jobs), actor)))
            }
            Ask::Resolve { targets, reply } => {
                let all: Vec<String> =
                    tree.lock().unwrap().processes.iter().flat_map(|p| &p.instances).map(|i| i.id.clone()).collect();
                let fits = |target: &str, id: &str| {
                    target == "all" || target == id || id.starts_with(&format!("{}.", target.trim_end_matches('*')))
                };
                let unknown = targets.iter().find(|target| !all.iter().any(|id| fits(target, id)));
                drop(reply.send(match unknown {
                    Some(unknown) => Err(format!("there is no `{unknown}`; there are web, migrate")),
                    None if targets.is_empty() => Ok(all),
                    None => Ok(all.into_iter().filter(|id| targets.iter().any(|target| fits(target, id))).collect()),
                }));
            }
            Ask::Env { process, reply } => drop(reply.send(match process.as_str() {
                "web" => Ok(api::EnvReply { process, variables: vec![] }),
                _ => Err(format!("there is no process `{process}`")),
            })),
            Ask::Exec { reply, .. } => drop(reply.send(Ok(api::ExecReply {
                env: vec![("A".to_owned(), "secret".to_owned())],
                cwd: "/".to_owned(),
                uid: None,
                gid: None,
                groups: vec![],
                umask: None,
            }))),
        }
    }
}

fn logs(directory: &std::path::Path) -> Logs {
    Logs::start(directory.join("logs"), mpsc::unbounded_channel().0).unwrap()
}
