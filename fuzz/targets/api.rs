//! What clients write to the control socket: the real server on a real socket, whose main loop answers nothing.
#![no_main]
use std::cell::OnceCell;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use svd_manager::ask::Handle;
use svd_manager::http::{Access, ApiState, serve};
use svd_manager::logs::Logs;
use svd_manager::store::{Place, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc, watch};

struct Server {
    runtime: Runtime,
    socket: std::path::PathBuf,
    _stop: watch::Sender<bool>,
    _version: watch::Sender<u64>,
}

fn server() -> Server {
    // As the main function of a Rust program has it: writing to who has closed is an error and no death.
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Default::default()).expect("a handler");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = std::env::temp_dir().join(format!("svd-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let socket = directory.join("control.sock");
    let _former = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("a socket");
    let (asks, mut inbox) = mpsc::channel(256);
    let version = watch::Sender::new(0);
    let stop = watch::Sender::new(false);
    let state = ApiState {
        handle: Handle { asks, events: broadcast::Sender::new(8), version: version.subscribe() },
        store: Store::open(Place::Memory).expect("a store").0,
        access: Access { own_uid: 0, socket_group: None, read_group: None },
        logs: Logs::start(directory.join("logs"), mpsc::unbounded_channel().0).expect("logs"),
    };
    runtime.spawn(serve(listener, state, stop.subscribe()));
    // Whoever asks is told at once that nobody will answer.
    runtime.spawn(async move { while inbox.recv().await.is_some() {} });
    Server { runtime, socket, _stop: stop, _version: version }
}

thread_local! { static SERVER: OnceCell<Server> = const { OnceCell::new() } }

fuzz_target!(|data: &[u8]| {
    SERVER.with(|cell| {
        let server = cell.get_or_init(server);
        server.runtime.block_on(async {
            let mut stream = tokio::net::UnixStream::connect(&server.socket).await.expect("it accepts");
            // It may have closed before it has read all.
            let _cut = stream.write_all(data).await;
            let _end = stream.shutdown().await;
            let mut answer = Vec::new();
            // Streams have no end; a second is more than anything else takes.
            let mut part = stream.take(1 << 20);
            let _open = tokio::time::timeout(Duration::from_secs(1), part.read_to_end(&mut answer)).await;
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
            let code = answer.get(9..12).unwrap_or_default();
            assert!(code != b"500", "{}", String::from_utf8_lossy(&answer));
        });
    });
});
