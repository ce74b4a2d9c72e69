use std::os::unix::process::CommandExt;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};

use super::fake::{Fake, answer, within};
use crate::ask::Role;
use crate::http::dispatch::{Caller, dispatch};
use crate::http::routes::ROUTES;

/// Every route with every role: refused exactly where the table says so, before anything is looked at.
/// Fault 56.
#[tokio::test]
async fn every_route_is_closed_to_who_has_less_than_its_role() {
    let fake = Fake::start();
    for route in ROUTES {
        for role in [Role::None, Role::Read, Role::Operate, Role::Admin] {
            // A body and a query that are wrong: who is let in gets 400 or an answer, who is not gets 403
            let request = Request::builder()
                .method(route.method.word())
                .uri(format!("{}?nonsense=1", route.path.replace("{name}", "web")))
                .body(Full::new(Bytes::from_static(b"not json")))
                .unwrap();
            let failure = within(dispatch(request, Caller { uid: 4711, role }, &fake.shared())).await.unwrap_err();
            let status = failure.into_answer().status();
            let expected = if role >= route.role { StatusCode::BAD_REQUEST } else { StatusCode::FORBIDDEN };
            assert_eq!(status, expected, "{} {} as {role:?}", route.method.word(), route.path);
        }
    }
    assert!(fake.orders.lock().unwrap().is_empty());
}

/// Whoever names the config names commands and the users they run as, so it takes more than the right to operate.
#[tokio::test]
async fn another_config_file_is_applied_for_admins_only() {
    let fake = Fake::start();
    for (role, body, expected) in [
        (Role::Operate, r#"{"file":"/tmp/other.toml"}"#, StatusCode::FORBIDDEN),
        (Role::Operate, "{}", StatusCode::OK),
        (Role::Admin, r#"{"file":"/tmp/other.toml"}"#, StatusCode::OK),
    ] {
        let request =
            Request::builder().method("POST").uri("/v1/apply").body(Full::new(Bytes::from_static(body.as_bytes())));
        let caller = Caller { uid: 4711, role };
        let answer = within(dispatch(request.unwrap(), caller, &fake.shared())).await;
        let status = answer.unwrap_or_else(|failure| failure.into_answer()).status();
        assert_eq!(status, expected, "{role:?} {body}");
    }
}

#[tokio::test]
async fn who_has_no_role_does_not_learn_what_there_is() {
    let fake = Fake::start();
    for (method, path) in [("GET", "/v1/nothing"), ("DELETE", "/v1/status"), ("GET", "/v1/status")] {
        let request = Request::builder().method(method).uri(path).body(Full::new(Bytes::new())).unwrap();
        let caller = Caller { uid: 4711, role: Role::None };
        let failure = dispatch(request, caller, &fake.shared()).await.unwrap_err();
        assert_eq!(failure.into_answer().status(), StatusCode::FORBIDDEN, "{method} {path}");
    }
}

const SOCKET: &str = "SVD_TEST_SOCKET";
const REQUEST: &str = "SVD_TEST_REQUEST";

/// Run by the test below as another user: sends a request and prints the answer.
#[test]
fn as_another_user() {
    use std::io::{Read, Write};
    let (Some(path), Ok(request)) = (std::env::var_os(SOCKET), std::env::var(REQUEST)) else { return };
    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nhost: svd\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    println!("<<<{text}>>>");
}

#[tokio::test]
async fn the_kernel_says_who_asks() {
    if std::fs::metadata("/proc/self").map(|data| std::os::unix::fs::MetadataExt::uid(&data)).unwrap() != 0 {
        eprintln!("SKIPPED: only root can ask as another user");
        return;
    }
    let fake = Fake::start();
    for (gid, look, operate) in [(4242, 200, 400), (4343, 200, 403), (4444, 403, 403), (0, 403, 403)] {
        for (request, expected) in [("GET /v1/status", look), ("POST /v1/processes/stop", operate)] {
            let mut client = std::process::Command::new(std::env::current_exe().unwrap());
            client.args(["http::tests::roles::as_another_user", "--exact", "--nocapture"]);
            client.env(SOCKET, &fake.path).env(REQUEST, request).uid(4711).gid(gid).current_dir("/");
            let output = tokio::task::spawn_blocking(move || client.output());
            let output = match within(output).await.unwrap() {
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    eprintln!("SKIPPED: another user cannot run the test's program");
                    return;
                }
                output => String::from_utf8(output.unwrap().stdout).unwrap(),
            };
            let text = output.split_once("<<<").unwrap().1.split_once(">>>").unwrap().0;
            assert_eq!(answer(text).0, expected, "{request} with group {gid}: {text}");
        }
    }
}
