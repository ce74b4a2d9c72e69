//! Somebody is told of what happens: by a command, by a webhook, at least once, and at nobody's cost.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use common::{App, DEADLINE, eventually, file_with, free_port, is_alive, manager, program};
use serde_json::Value;
use svd_sys::tree::kill_verified;

/// A server of webhooks.
struct Hooks {
    listener: TcpListener,
}

impl Hooks {
    fn open() -> Hooks {
        Hooks { listener: TcpListener::bind(("127.0.0.1", 0)).expect("a port") }
    }

    fn url(&self) -> String {
        format!("http://{}/hook?key=1", self.listener.local_addr().unwrap())
    }

    /// Waits for a request, and answers it: its head and its body.
    fn answer(&self, code: &str) -> (String, Value) {
        let (mut stream, head, body) = self.request();
        write!(stream, "HTTP/1.1 {code}\r\nContent-Length: 0\r\n\r\n").expect("an answer");
        (head, body)
    }

    fn request(&self) -> (TcpStream, String, Value) {
        assert!(svd_sys::fd::wait_readable(std::os::fd::AsFd::as_fd(&self.listener), DEADLINE).unwrap(), "nobody came");
        let (stream, _) = self.listener.accept().expect("somebody");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a line") > 0, "{head}");
        }
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        let mut body = vec![0; length.expect("a length").parse().unwrap()];
        reader.read_exact(&mut body).expect("a body");
        (reader.into_inner(), head, serde_json::from_slice(&body).expect("JSON"))
    }
}

/// Appends what it is told as one line, its variables behind it, to a file.
const TELLER: &str = "#!/bin/sh\nline=$(cat)\necho \"$line $SVD_EVENT $SVD_INSTANCE $SVD_APP $SVD_EXIT\" >>told\n";

/// The lines of a file, when there are so many.
fn told(app: &App, lines: usize) -> Vec<String> {
    file_with(&app.path("told"), |text| {
        let all: Vec<String> = text.lines().map(str::to_owned).collect();
        (all.len() >= lines && text.ends_with('\n')).then_some(all)
    })
}

#[test]
fn a_command_is_told_on_its_input_and_in_its_variables_of_what_is_named_and_of_nothing_else() {
    // given
    let mut app = App::new(
        "app = \"shop\"
         [notify]
         events = [\"process.failed\"]
         run = \"./teller\"
         [process.web]
         run = \"sh -c 'exit 7'\"
         restart = { limit = \"1 in 1m\", backoff = \"10ms\" }",
    );
    app.script("teller", TELLER);
    // when it has failed for good, after many things that nobody asked for
    app.boot();
    app.until_state("web.1", "failed");
    // then
    let lines = told(&app, 1);
    let (json, variables) = lines[0].rsplit_once("} ").expect("JSON and variables");
    let event: Value = serde_json::from_str(&format!("{json}}}")).unwrap();
    assert_eq!((&event["event"], &event["kind"]), (&"process.failed".into(), &"instance.failed".into()), "{event:#}");
    assert_eq!((&event["app"], &event["instance"]), (&"shop".into(), &"web.1".into()), "{event:#}");
    assert!(event["id"].is_i64() && event["time"].is_string() && event["message"].is_string(), "{event:#}");
    assert_eq!(variables, "process.failed web.1 shop ");
    assert_eq!(app.stop(), Some(0));
    assert_eq!(told(&app, 1).len(), 1);
}

#[test]
fn a_webhook_is_posted_to_until_it_takes_the_event_and_is_told_in_order() {
    // given
    let hooks = Hooks::open();
    let app = App::start(&format!(
        "env = {{ KEY = \"abc\" }}
         [notify]
         events = [\"process.failed\", \"svd.started\"]
         webhook = {{ url = \"{}\", headers = {{ X-Key = \"$KEY\" }} }}
         [process.web]
         run = \"false\"
         restart = {{ when = \"never\" }}",
        hooks.url()
    ));
    // when it refuses the first one twice
    let (head, first) = hooks.answer("500 No");
    let (_, again) = hooks.answer("503 No");
    let (_, third) = hooks.answer("200 OK");
    let (_, last) = hooks.answer("204 OK");
    // then
    assert!(head.starts_with("POST /hook?key=1 HTTP/1.1\r\n") && head.to_lowercase().contains("x-key: abc"), "{head}");
    assert_eq!(first["event"], "svd.started");
    assert_eq!((&first, &first), (&again, &third));
    assert_eq!((&last["event"], &last["instance"]), (&"process.failed".into(), &"web.1".into()));
    assert!(last["id"].as_i64() > first["id"].as_i64());
    drop(app);
}

#[test]
fn a_command_that_hangs_is_ended_with_all_it_has_started_and_delays_nobody() {
    // given one that takes no TERM, and has started somebody who takes none either
    let mut app = App::new(
        "[notify]
         events = [\"process.backoff\"]
         run = \"./hangs\"
         timeout = \"100ms\"
         [process.web]
         run = [\"sleep\", \"1000\"]
         [process.flaps]
         run = \"false\"
         restart = { limit = \"2 in 1m\", backoff = \"10ms\" }",
    );
    app.script(
        "hangs",
        "#!/bin/sh\ntrap '' TERM\nsetsid sh -c 'trap \"\" TERM; echo $$ >child; while :; do sleep 1000; done' &\n\
         echo it hangs; while :; do sleep 1000; done\n",
    );
    app.boot();
    // when it hangs, what svd does goes on
    app.until_state("flaps.1", "failed");
    let child: i32 = file_with(&app.path("child"), |text| text.trim().parse().ok());
    assert!(is_alive(child));
    app.ok(&["restart", "web"]);
    // then it has an end, and why is told
    let event = app.until("the end of it", |_| app.events().into_iter().find(|event| event["kind"] == "notify.failed"));
    let message = event["message"].as_str().unwrap();
    assert!(message.contains("process.backoff") && message.contains("./hangs took too long"), "{message}");
    assert!(message.contains("it said: it hangs"), "{message}");
    eventually("the end of what it left behind", || !is_alive(child));
    drop(app);
}

#[test]
fn a_manager_that_is_killed_leaves_nobody_untold() {
    // given a command that is under way, and a webhook that refuses
    let hooks = Hooks::open();
    let mut app = App::new(&format!(
        "[notify]
         events = [\"process.failed\"]
         run = \"./slow\"
         webhook = \"{}\"
         [process.web]
         run = \"false\"
         restart = {{ when = \"never\" }}",
        hooks.url()
    ));
    let _gate = app.fifo("gate");
    app.script("slow", "#!/bin/sh\necho $$ >running\nread go <gate\nprintf 'done\\n' >>told\n");
    app.boot();
    let running: i32 = file_with(&app.path("running"), |text| text.trim().parse().ok());
    hooks.answer("500 No");
    // when
    let before = manager(app.keeper()).expect("a manager");
    kill_verified(&before, 9).expect("kill");
    app.until("another manager", |status| (status["svd"]["manager_starts"].as_i64() > Some(1)).then_some(()));
    // then the webhook is told by the next one, and the command goes on and is not begun again
    let (_, event) = hooks.answer("200 OK");
    assert_eq!(event["event"], "process.failed");
    assert!(is_alive(running));
    std::fs::write(app.path("gate"), "go\n").unwrap();
    assert_eq!(told(&app, 1), ["done"]);
    // and nobody is told again by a third one
    let before = manager(app.keeper()).expect("a manager");
    common::eventually("its end", || !is_alive(running));
    kill_verified(&before, 9).expect("kill");
    app.until("another manager", |status| (status["svd"]["manager_starts"].as_i64() > Some(2)).then_some(()));
    assert_eq!(app.stop(), Some(0));
    assert_eq!(told(&app, 1), ["done"]);
}

#[test]
fn the_end_of_svd_is_told_and_what_could_not_be_told_is_told_when_it_starts_again() {
    // given a webhook where nobody is
    let port = free_port();
    let mut app = App::new(&format!(
        "[notify]
         events = [\"svd.stopping\"]
         run = \"./teller\"
         webhook = \"http://127.0.0.1:{port}/\"
         [process.web]
         run = \"sleep 1000\""
    ));
    app.script("teller", TELLER);
    app.boot();
    // when
    assert_eq!(app.stop(), Some(0));
    // then the command was told
    assert!(told(&app, 1)[0].contains("svd.stopping"));
    // and the webhook is when there is one, after another start
    let hooks = Hooks { listener: TcpListener::bind(("127.0.0.1", port)).expect("the port") };
    app.boot();
    let (_, event) = hooks.answer("200 OK");
    assert_eq!(event["event"], "svd.stopping");
}

#[test]
fn an_apply_changes_who_is_told_without_touching_an_instance() {
    let config = "[process.web]\nrun = \"sleep 1000\"\n";
    let mut app = App::new(config);
    app.script("teller", TELLER);
    app.boot();
    app.wait("web", "ready");
    let pid = app.pid("web.1");
    // when
    app.configure(&format!("{config}[notify]\nevents = [\"process.failed\"]\nrun = \"./teller\"\n[process.bad]\nrun = \"false\"\nrestart = {{ when = \"never\" }}\n"));
    app.svctl(&["apply"]);
    // then
    assert!(told(&app, 1)[0].contains("process.failed bad.1"), "{:?}", told(&app, 1));
    assert_eq!(app.pid("web.1"), pid);
}

#[test]
fn a_run_of_a_job_that_fails_is_told_and_one_that_succeeds_is_not() {
    // given
    let mut app = App::new(
        "[notify]
         events = [\"job.failed\"]
         run = \"./teller\"
         [job.good]
         run = \"true\"
         [job.report]
         run = [\"sh\", \"-c\", \"exit 3\"]",
    );
    app.script("teller", TELLER);
    app.boot();
    // when
    app.ok(&["run", "good", "--wait"]);
    assert_eq!(app.svctl(&["run", "report", "--wait"]).code, Some(3));
    // then
    let lines = told(&app, 1);
    assert!(lines[0].contains("job.failed job:report.2 ") && lines[0].ends_with(" 3"), "{lines:?}");
    assert!(lines[0].contains("\"process\":\"job:report\""), "{lines:?}");
}

/// Takes one POST by TLS, writes its body down, and answers.
const TLS_SERVER: &str = "
import http.server, os, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        with open('@DIR@/posted', 'ab') as f: f.write(body)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('@DIR@/server.pem', '@DIR@/server.key')
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
with open('@DIR@/port.new', 'w') as f: f.write(str(server.server_address[1]))
os.rename('@DIR@/port.new', '@DIR@/port')
server.serve_forever()
";

#[test]
fn a_webhook_by_https_is_told_when_the_host_trusts_its_authority_and_not_otherwise() {
    let Some(openssl) = program("openssl") else { return };
    // given an authority and a server whose certificate it has signed
    let outside = App::new("[process]\nweb = \"sleep 1000\"\n");
    let dir = outside.path("");
    let make = "set -e
        $0 req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=test -days 2
        $0 req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost
        printf 'subjectAltName=DNS:localhost' >ext
        $0 x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile ext";
    let made = std::process::Command::new("sh").args(["-c", make, &openssl]).current_dir(&dir).output().expect("sh");
    assert!(made.status.success(), "{made:?}");
    outside.write("server.py", TLS_SERVER);
    let mut server =
        std::process::Command::new(common::python()).arg(outside.path("server.py")).spawn().expect("the server");
    let port: u16 = file_with(&outside.path("port"), |text| text.parse().ok());
    let mut app = App::new(&format!(
        "[notify]
         events = [\"svd.started\", \"svd.stopping\"]
         webhook = \"https://localhost:{port}/hook\"
         [process.web]
         run = \"sleep 1000\""
    ));
    // when svd trusts somebody else
    let mut command = app.command();
    command.env("SSL_CERT_FILE", app.write("nobody.pem", ""));
    app.boot_with(command);
    assert_eq!(app.stop(), Some(0));
    assert!(!outside.path("posted").exists());
    // and when it trusts that authority
    let mut command = app.command();
    command.env("SSL_CERT_FILE", outside.path("ca.pem"));
    app.boot_with(command);
    // then it is told, of what it could not be told before, too
    let told: Vec<String> = file_with(&outside.path("posted"), |text| {
        let events =
            text.lines().map(|line| serde_json::from_str::<Value>(line).ok()?["event"].as_str().map(str::to_owned));
        events.collect::<Option<Vec<String>>>().filter(|events| events.len() >= 3)
    });
    assert_eq!(told, ["svd.started", "svd.stopping", "svd.started"]);
    server.kill().expect("kill");
    server.wait().expect("the end of the server");
}
