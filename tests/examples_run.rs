//! The examples do what their files say, under the real binaries.

mod common;

use common::{App, DEADLINE, Load, Reply, eventually, free_port, program, venv};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

const INT: i32 = 2;
const TERM: i32 = 15;

#[test]
fn every_example_config_is_valid() {
    for config in [
        "shop/Procfile.toml",
        "procfile/Procfile",
        "node-web/Procfile",
        "gunicorn-celery/Procfile.toml",
        "nginx-front/Procfile.toml",
        "cron/Procfile.toml",
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_svd"));
        command.arg("check").arg(examples().join(config));
        let reply = Reply::of(command);
        assert_eq!(reply.code, Some(0), "{config}: {reply:?}");
    }
}

#[test]
fn the_cron_example_greets_beats_and_reports_at_the_second_try() {
    // given
    let mut app = App::new("");
    copy(&examples().join("cron"), &app.path(""));
    app.boot();
    // then
    app.out().containing("good morning");
    app.out().containing("beat ");
    // when
    let reply = app.svctl(&["run", "report", "--wait"]);
    // then
    assert!(reply.code == Some(0) && reply.out.contains("2 attempts"), "{reply:?}");
    app.out().containing("of report: all is well");
}

#[test]
fn the_shop_takes_orders_and_its_workers_make_them() {
    // given: the shop, open
    let port = free_port();
    let mut app = App::new("");
    copy(&examples().join("shop"), &app.path(""));
    let mut command = app.command();
    command.env("PORT", port.to_string());
    app.boot_with(command);
    app.wait("web", "ready");
    app.wait("worker", "ready");
    assert_eq!(app.instance("prepare.1")["state"], "completed");
    assert_eq!(http(port, "GET / HTTP/1.0\r\n\r\n"), "new: 0\nworking: 0\ndone: 0\n");

    // when: two people order
    assert_eq!(order(port, "tea"), "order 1: tea\n");
    assert_eq!(order(port, "cake"), "order 2: cake\n");

    // then: both get what they ordered
    app.out().containing("order 1: tea is done");
    app.out().containing("order 2: cake is done");
    assert_eq!(http(port, "GET / HTTP/1.0\r\n\r\n"), "new: 0\nworking: 0\ndone: 2\n");

    // when: Ctrl-C while an order is in hand
    order(port, "coffee");
    app.out().containing("order 3: making coffee");
    let out = app.out().clone();
    app.signal(INT);

    // then: it is finished first, and all end well
    assert_eq!(app.over(), Some(0));
    let said = out.closed().join("\n");
    assert!(said.contains("order 3: coffee is done"), "{said}");
    assert_eq!(said.matches("closing").count(), 2, "{said}");
}

#[test]
fn the_plain_procfile_serves_its_page_and_greets() {
    // given
    let port = free_port();
    let mut app = App::new("");
    copy(&examples().join("procfile"), &app.path(""));
    let mut command = app.command();
    command.arg("-c").arg(app.path("Procfile")).env("PORT", port.to_string());

    // when
    app.boot_with(command);

    // then: the page is there, and the line with shell operators has what .env says
    eventually("web to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(http(port, "GET / HTTP/1.0\r\n\r\n").contains("kept by svd"));
    app.out().containing("Good day, it is ");

    // when: Ctrl-C
    app.signal(INT);

    // then
    assert_eq!(app.over(), Some(0));
}

#[test]
fn one_command_gives_its_exit_code_and_gets_the_signals() {
    // given: commands as a container has them
    let mut app = App::new("");

    // when: it ends by itself
    app.spawn(one_command(&app, &["sh", "-c", "exit 7"]));

    // then: its code is svd's
    assert_eq!(app.over(), Some(7));

    // when: a server is told to stop
    let port = free_port();
    app.spawn(one_command(&app, &["python3", "-m", "http.server", &port.to_string()]));
    eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    app.signal(TERM);

    // then: it ends as the signal ended it
    assert_eq!(app.over(), Some(128 + TERM));
}

#[test]
fn the_node_server_gets_another_release_without_a_lost_page() {
    let Some(node) = program("node") else { return };
    eprintln!("with {node}");
    // given: the plain Procfile, and people who look all the time
    let port = free_port();
    let mut app = App::new("");
    std::fs::remove_file(app.path("Procfile.toml")).expect("it was written");
    copy(&examples().join("node-web"), &app.path(""));
    let mut command = app.command();
    command.env("PORT", port.to_string());
    app.boot_with(command);
    app.wait("web", "ready");
    let load = Load::on(port).clients(3, 3, 0).expect("made by").start();

    // when: it is done as its README says
    app.write("package.json", &app.read("package.json").replace("\"1\"", "\"2\""));
    app.ok(&["restart", "web"]);
    load.until("the other release", |tally| tally.by.keys().any(|page| page.starts_with("release 2")));
    app.ok(&["scale", "web=3"]);
    load.more(5);
    app.ok(&["restart", "web"]);
    load.more(5);

    // and: a release that does not work
    app.write("server.js", "this is no program");
    let reply = app.svctl(&["restart", "web"]);
    assert_eq!(reply.code, Some(4), "{reply:?}");
    assert!(format!("{}{}", reply.out, reply.err).contains("web"), "{reply:?}");
    load.more(5);

    // then
    load.stop().assert_whole("the node example");
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn the_post_office_delivers_each_letter_once_while_all_of_it_is_replaced() {
    let (Some(redis), Some(gunicorn)) = (program("redis-server"), venv("gunicorn")) else { return };
    eprintln!("with {redis} and {gunicorn}");
    // given
    let (port, redis_port) = (free_port(), free_port());
    let mut app = App::new("");
    copy(&examples().join("gunicorn-celery"), &app.path(""));
    let config = app.read("Procfile.toml").replace("5379", &redis_port.to_string());
    app.configure(&config.replace("127.0.0.1:5000", &format!("127.0.0.1:{port}")));
    let mut command = app.command();
    let bin = Path::new(&gunicorn).parent().expect("it is in a directory");
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").expect("a PATH")));
    app.boot_with(command);
    app.wait("all", "ready");

    // when: letters are posted, and all but the queue is replaced
    const LETTERS: u32 = 40;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=LETTERS {
                let text = format!("letter {number}");
                let request =
                    format!("POST / HTTP/1.0\r\nHost: office\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                assert_eq!(http(port, &request), format!("letter {number}\n"));
            }
        });
        app.ok(&["restart", "web", "worker"]);
        app.ok(&["restart", "web", "worker"]);
    });

    // then
    let count = || http(port, "GET / HTTP/1.0\r\nHost: office\r\n\r\n");
    eventually("all letters to be delivered", || count().contains(&format!("delivered: {LETTERS}\n")));
    assert_eq!(count(), format!("posted: {LETTERS}\ndelivered: {LETTERS}\ntwice: 0\n"));
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn nginx_and_what_is_behind_it_are_replaced_without_a_lost_page() {
    let Some(nginx) = program("nginx") else { return };
    eprintln!("with {nginx}");
    // given
    let mut app = App::new("");
    copy(&examples().join("nginx-front"), &app.path(""));
    let port = free_port();
    for (example, here) in [("5000", port), ("5001", free_port()), ("5002", free_port())] {
        for file in ["Procfile.toml", "nginx.conf"] {
            app.write(file, &app.read(file).replace(example, &here.to_string()));
        }
    }
    let mut command = app.command();
    command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").expect("a PATH")));
    app.boot_with(command);
    app.wait("all", "ready");
    let pages = Load::on(port).clients(1, 2, 0).expect("kept by svd").start();
    let calls = Load::on(port).clients(1, 2, 0).path("/api/").expect("says api.").start();

    // when
    for name in ["api", "page", "front", "api"] {
        app.ok(&["restart", name]);
        pages.more(5);
        calls.more(5);
    }

    // then
    pages.stop().assert_whole("the pages behind nginx");
    calls.stop().assert_whole("the api behind nginx");
    assert_eq!(app.stop(), Some(0));
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// `svd -- COMMAND`.
fn one_command(app: &App, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svd"));
    command.arg("--").args(words);
    command.current_dir(app.path("")).env("SVD_TEST_DIR", app.path(""));
    command
}

/// Copies the files of a directory and of those below it, but not what a run of the example has left there.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a writable directory");
    for entry in std::fs::read_dir(from).expect("the example is readable") {
        let path = entry.expect("the example is readable").path();
        let name = path.file_name().expect("an entry has a name");
        if path.is_file() {
            std::fs::copy(&path, to.join(name)).expect("a file is copied");
        } else if name != "data" && name != "__pycache__" {
            copy(&path, &to.join(name));
        }
    }
}

fn order(port: u16, item: &str) -> String {
    let body = format!("item={item}");
    http(port, &format!("POST /orders HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// Sends a request and gives the body of the answer.
fn http(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    body.to_owned()
}
