//! HTTP/1.1 over the control socket: one connection for each request, as few are made. Owns every deadline of svctl's
//! side; knows no route.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::lines::Lines;

/// How long connecting may take. The socket stays open while a manager is replaced, so this is only ever needed when
/// its queue is full.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take that only looks.
pub(crate) const LOOK: Duration = Duration::from_secs(30);
/// Longest answer that is taken, bytes.
const LONGEST: usize = 64 << 20;

/// What can go wrong between us and svd.
#[derive(Debug)]
pub(crate) enum Error {
    /// Nobody listens there.
    NotRunning(io::Error),
    /// Somebody listens and we may not connect.
    Denied,
    /// Connecting failed otherwise.
    Connect(io::Error),
    /// No answer in this time.
    Late(Duration),
    /// The connection ended before the answer did.
    Cut(String),
}

/// An answer, complete.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub status: u16,
    pub body: Bytes,
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// A connection and the task that moves its bytes, which ends with it.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects, to see whether somebody listens.
pub(crate) async fn connect(socket: &Path) -> Result<UnixStream, Error> {
    match timeout(CONNECT, UnixStream::connect(socket)).await {
        Err(_) => Err(Error::Late(CONNECT)),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match error.kind() {
            // The socket of an svd that has ended without removing it refuses.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                Error::NotRunning(error)
            }
            io::ErrorKind::PermissionDenied => Error::Denied,
            _ => Error::Connect(error),
        }),
    }
}

impl Client {
    pub fn new(socket: PathBuf) -> Client {
        Client { socket }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(Response<Incoming>, Connection), Error> {
        let stream = connect(&self.socket).await?;
        let cut = |error: hyper::Error| Error::Cut(error.to_string());
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(cut)?;
        let task = tokio::spawn(async move {
            // An error here ends the request or body that waits for it, and is told there.
            let _told_there = connection.await;
        });
        let mut connection = Connection { sender, task };
        let response = connection.sender.send_request(request).await.map_err(cut)?;
        Ok((response, connection))
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Answer, Error> {
        let (response, _connection) = self.send(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| Error::Cut(error.to_string()))?.to_bytes();
        Ok(Answer { status, body })
    }

    /// Asks; `deadline` is for the whole answer.
    pub async fn get(&self, path: &str, deadline: Option<Duration>) -> Result<Answer, Error> {
        within(deadline, self.answer(request(Method::GET, path, Bytes::new()))).await
    }

    /// Orders; without a deadline it takes as long as it takes.
    pub async fn post<T: Serialize>(&self, path: &str, body: &T, deadline: Option<Duration>) -> Result<Answer, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Cut(error.to_string()))?;
        within(deadline, self.answer(request(Method::POST, path, body.into()))).await
    }

    /// Asks for an answer without an end. Where it is no success, it is read whole.
    pub async fn stream(&self, path: &str) -> Result<Result<Lines, Answer>, Error> {
        let opened = within(Some(LOOK), self.send(request(Method::GET, path, Bytes::new()))).await?;
        let (response, connection) = opened;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(Ok(Lines::new(response.into_body(), connection)));
        }
        let body = within(Some(LOOK), async {
            let body = Limited::new(response.into_body(), LONGEST).collect().await;
            body.map_err(|error| Error::Cut(error.to_string()))
        });
        Ok(Err(Answer { status, body: body.await?.to_bytes() }))
    }

    /// Asks and takes the answer for what it should be.
    pub async fn look<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.get(path, Some(LOOK)).await.map_err(|error| self.failure(error))?;
        answer.take()
    }

    /// What an error means for whoever called svctl.
    pub fn failure(&self, error: Error) -> Failure {
        let socket = self.socket.display();
        match error {
            Error::NotRunning(error) => Failure::NotRunning(format!(
                "svd is not running: nothing answers on {socket} ({}); start it with `svd` in the app's directory",
                reason(&error)
            )),
            Error::Denied => Failure::Refused(format!(
                "permission denied on {socket}: only root, the user svd runs as, and members of socket_group or read_group in [control] may use it"
            )),
            Error::Connect(error) => Failure::Failed(format!("cannot connect to {socket}: {}", reason(&error))),
            Error::Late(time) => Failure::Failed(format!(
                "svd accepted the connection on {socket} but did not answer within {} s",
                time.as_secs_f32()
            )),
            Error::Cut(why) => {
                Failure::Failed(format!("svd cut the connection on {socket} before its answer was complete: {why}"))
            }
        }
    }
}

impl Answer {
    /// The lines of its body, where it is a success.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let body: &[u8] = if self.status == 200 { &self.body } else { &[] };
        body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }

    /// The value of a success; anything else as the failure it tells of.
    pub fn take<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if self.status != 200 {
            return Err(Failure::from_status(self.status, self.error()));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::Failed(format!("svd's answer is not understood ({error}); is svctl of another version than svd?"))
        })
    }

    /// What an answer that is no success says.
    pub fn error(&self) -> String {
        match serde_json::from_slice::<svd_api::ErrorReply>(&self.body) {
            Ok(reply) => reply.error,
            Err(_) if self.body.is_empty() => format!("svd answered with HTTP status {}", self.status),
            Err(_) => String::from_utf8_lossy(&self.body).into_owned(),
        }
    }
}

/// The kernel's words without Rust's `(os error 2)`.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

async fn within<T>(deadline: Option<Duration>, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match deadline {
        None => answer.await,
        Some(time) => timeout(time, answer).await.unwrap_or(Err(Error::Late(time))),
    }
}

fn request(method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    // Paths are made by `Query`, which leaves nothing in them that a URI may not hold.
    *request.uri_mut() = path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert("host", hyper::header::HeaderValue::from_static("svd"));
    headers.insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    request
}

/// A path with its query.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    path: String,
    next: char,
}

impl Query {
    /// Below `/v1`.
    pub fn new(route: &str) -> Query {
        Query { path: format!("{}{route}", svd_api::PREFIX), next: '?' }
    }

    /// With one more parameter.
    pub fn with(mut self, name: &str, value: &str) -> Query {
        self.path.push(self.next);
        self.next = '&';
        self.path.push_str(name);
        self.path.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => self.path.push(byte.into()),
                byte => self.path.push_str(&format!("%{byte:02X}")),
            }
        }
        self
    }

    /// With one more parameter where there is a value.
    pub fn with_some<T: ToString>(self, name: &str, value: Option<T>) -> Query {
        match value {
            Some(value) => self.with(name, &value.to_string()),
            None => self,
        }
    }

    /// With a parameter for each value.
    pub fn with_each(self, name: &str, values: &[String]) -> Query {
        values.iter().fold(self, |query, value| query.with(name, value))
    }

    pub fn path(&self) -> &str {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_text_fit_into_a_query() {
        let query = Query::new("/logs").with("grep", "a b&c=ü%").with_some("n", Some(3)).with_some("x", None::<u8>);
        assert_eq!(query.path(), "/v1/logs?grep=a%20b%26c%3D%C3%BC%25&n=3");
        assert_eq!(
            Query::new("/why").with_each("target", &["a".to_owned(), "b.*".to_owned()]).path(),
            "/v1/why?target=a&target=b.%2A"
        );
    }
}
