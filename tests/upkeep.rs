//! Looking after what is ready: health probes, proofs that work is finished, memory.

mod common;

use common::{App, file_with};
use serde_json::Value;

/// An HTTP server that is well as long as no file `ill.INSTANCE` says otherwise.
const SERVER: &str = "
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ill = os.path.exists('@DIR@/ill.' + os.environ['SVD_INSTANCE'])
        if ill and open('@DIR@/ill.' + os.environ['SVD_INSTANCE']).read() == str(os.getpid()):
            self.send_response(500)
        else:
            self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
";

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["kind"].as_str()).collect()
}

#[test]
fn an_instance_whose_probes_fail_is_replaced_and_its_sibling_is_not_touched() {
    // given
    let mut app = App::new(
        "[process.web]
         run = [\"@PY@\", \"@DIR@/server.py\"]
         count = 2
         listen = \"127.0.0.1:0\"
         health = { http = \"/healthz\", every = \"100ms\", timeout = \"5s\", failures = 3 }
         stop = [\"KILL\"]",
    );
    app.write("server.py", SERVER);
    app.boot();
    app.wait("web", "ready");
    let (one, two) = (app.pid("web.1"), app.pid("web.2"));
    // when one is ill until it is another one
    app.write("ill.web.2", &two.to_string());
    // then
    let healed = |status: &Value| {
        let instances = status["processes"][0]["instances"].as_array()?;
        let well = |role: Option<&Value>| role.is_none() || role == Some(&Value::from("current"));
        let found = instances.iter().find(|one| one["id"] == "web.2" && well(one.get("role")))?;
        (found["pid"] != two && found["state"] == "ready").then(|| found.clone())
    };
    app.until("another web.2", healed);
    assert_eq!(app.pid("web.1"), one);
    let events = app.events_of("web.2");
    let told = events.iter().find(|event| event["kind"] == "instance.unhealthy").expect("it was told");
    assert!(told["message"].as_str().unwrap().contains("answer 500"), "{told:#}");
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn a_health_command_is_run_for_each_instance_and_one_that_hangs_counts_as_failed() {
    // given
    let app = App::start(
        "[process.worker]
         run = [\"sleep\", \"1000\"]
         count = 2
         health = { run = [\"/bin/sh\", \"-c\", \"if [ -e @DIR@/ill.$SVD_INSTANCE ]; then rm @DIR@/ill.$SVD_INSTANCE; exec sleep 1000; fi\"], every = \"100ms\", timeout = \"300ms\", failures = 1 }",
    );
    app.wait("worker", "ready");
    let (one, two) = (app.pid("worker.1"), app.pid("worker.2"));
    // when
    app.write("ill.worker.1", "");
    // then
    app.until("another worker.1", |status| {
        let instance = &status["processes"][0]["instances"][0];
        (instance["pid"].is_i64() && instance["pid"] != one && instance["state"] == "ready").then_some(())
    });
    assert_eq!(app.pid("worker.2"), two);
    let events = app.events_of("worker.1");
    let told = events.iter().find(|event| event["kind"] == "instance.unhealthy").expect("it was told");
    assert!(told["message"].as_str().unwrap().contains("the command took too long"), "{told:#}");
}

#[test]
fn a_worker_is_told_to_stop_when_the_proof_that_it_has_finished_comes() {
    // given a worker that is busy as long as there is a file, and notes its signals
    let app = App::new(
        "[process.worker]
         run = [\"@PY@\", \"@DIR@/worker.py\"]
         quiet = \"USR1\"
         drained = { run = [\"/bin/sh\", \"-c\", \"test ! -e @DIR@/busy && echo asked >> @DIR@/asked\"], every = \"50ms\", timeout = \"none\" }
         update = { strategy = \"handover\" }
         ready = { fd = 3 }",
    );
    app.write(
        "worker.py",
        "import os, signal
def note(number, _):
    open('@DIR@/signals', 'a').write('%d %d\\n' % (os.getpid(), number))
    if number == signal.SIGTERM:
        raise SystemExit(0)
signal.signal(signal.SIGUSR1, note)
signal.signal(signal.SIGTERM, note)
os.write(3, b'\\n')
while True:
    signal.pause()
",
    );
    app.write("busy", "");
    let mut app = app;
    app.boot();
    app.wait("worker", "ready");
    let old = app.pid("worker.1");
    // when
    app.ok(&["restart", "worker"]);
    // then the new one works while the old one finishes
    assert_ne!(app.pid("worker.1"), old);
    file_with(&app.path("signals"), |text| text.contains(&format!("{old} 10\n")).then_some(()));
    assert!(!app.path("asked").exists());
    // and a later manager asks on
    let manager = app.status()["svd"]["manager_pid"].as_i64().unwrap();
    let pidfd = svd_sys::pidfd::open(i32::try_from(manager).unwrap()).unwrap();
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), 9).unwrap();
    app.until("the next manager", |status| (status["svd"]["manager_pid"] != manager).then_some(()));
    // when it has finished
    std::fs::remove_file(app.path("busy")).unwrap();
    // then
    file_with(&app.path("signals"), |text| text.contains(&format!("{old} 15\n")).then_some(()));
    assert!(app.path("asked").exists());
    let told = app.events_of("worker.1");
    assert!(kinds(&told).contains(&"instance.quieted"), "{:?}", kinds(&told));
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn a_tree_that_has_grown_too_large_is_replaced() {
    // given a program whose child grows, once
    let mut app = App::new(
        "[process.web]
         run = [\"@PY@\", \"@DIR@/grow.py\"]
         recycle = { memory = \"200M\" }",
    );
    app.write(
        "grow.py",
        "import os, time
if not os.path.exists('@DIR@/grown') and os.fork() == 0:
    kept = bytearray(os.urandom(1 << 20) * 300)
    open('@DIR@/grown', 'w').close()
    time.sleep(1000)
time.sleep(1000)
",
    );
    app.boot();
    app.wait("web", "ready");
    let old = app.pid("web.1");
    // then
    app.until("another one", |status| {
        let instance = &status["processes"][0]["instances"][0];
        (instance["pid"].is_i64() && instance["pid"] != old && instance["state"] == "ready").then_some(())
    });
    let events = app.events_of("web.1");
    assert!(kinds(&events).contains(&"instance.worn"), "{:?}", kinds(&events));
    assert_eq!(app.stop(), Some(0));
}
