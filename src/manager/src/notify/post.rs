//! Posting to a webhook: one try after the other, until one succeeds or the time is over.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use svd_config::plan::{Scheme, WebhookPlan};
use tokio::net::TcpStream;

use super::tls;

/// The pauses between two tries: the first one, doubled up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// So much of an answer is read, for the connection's end to be an orderly one.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The longest pause that somebody who is told may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How long it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// What is still worth knowing an hour later.
    Hour,
    /// What says that somebody is alive: ten minutes.
    TenMinutes,
    /// What is over soon, and what the next word must not wait for: half a minute.
    HalfMinute,
}

impl Patience {
    fn time(self) -> Duration {
        Duration::from_secs(match self {
            Patience::Hour => 3600,
            Patience::TenMinutes => 600,
            Patience::HalfMinute => 30,
        })
    }
}

/// What is posted where.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where.
    pub to: WebhookPlan,
    /// What is sent.
    pub body: Bytes,
    /// What kind of text that is.
    pub content_type: &'static str,
    /// How long it is tried.
    pub patience: Patience,
}

/// Why a try has failed.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    why: String,
    then: Then,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Another try may succeed.
    Again,
    /// So does one after this pause, which the other side has asked for.
    After(Duration),
    /// No other try would succeed.
    Never,
}

impl From<String> for Fault {
    fn from(why: String) -> Fault {
        Fault { why, then: Then::Again }
    }
}

/// Posts, again and again where need be. Why the last try has failed, where all have.
pub async fn deliver(post: Post) -> Result<(), String> {
    let over = tokio::time::Instant::now() + post.patience.time();
    let mut pause = PAUSE.0;
    loop {
        let tried = tokio::time::timeout(post.to.timeout, once(&post)).await;
        let Fault { why, then } = match tried {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(fault)) => fault,
            Err(_late) => format!("no answer within {:.1} s", post.to.timeout.as_secs_f64()).into(),
        };
        tracing::info!(to = %post.to.url, why, "a webhook did not take an event");
        let wait = match then {
            Then::Again => pause,
            Then::After(asked) => asked.clamp(pause, LONGEST_PAUSE),
            Then::Never => return Err(format!("{}: {why}", post.to.url)),
        };
        if tokio::time::Instant::now() + wait >= over {
            return Err(format!("{}: {why}", post.to.url));
        }
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// One try.
async fn once(post: &Post) -> Result<(), Fault> {
    let url = &post.to.url;
    let stream = connect(&url.host, url.port).await?;
    match url.scheme {
        Scheme::Http => send(TokioIo::new(stream), post).await,
        Scheme::Https => send(TokioIo::new(tls::connect(stream, &url.host).await?), post).await,
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let mut why = "its name has no address".to_owned();
    for address in tokio::net::lookup_host((host, port)).await.map_err(|error| error.to_string())? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(why)
}

async fn send<S>(stream: TokioIo<S>, post: &Post) -> Result<(), Fault>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let WebhookPlan { url, headers, .. } = &post.to;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&url.path)
        .header("host", url.authority())
        .header("user-agent", concat!("svd/", env!("CARGO_PKG_VERSION")))
        .header("content-type", post.content_type)
        .header("connection", "close");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(post.body.clone())).map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let asked = answer.headers().get("retry-after").and_then(|text| text.to_str().ok()?.trim().parse().ok());
        // What it says is of no use, and that it says too much no failure.
        let _read = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        let then = match (status, asked.map(Duration::from_secs)) {
            (200..=299, _) => return Ok(()),
            (408 | 425 | 429 | 500.., Some(pause)) => Then::After(pause),
            (408 | 425 | 429 | 500.., None) => Then::Again,
            // Neither an address that is none nor a body that is refused becomes better by itself.
            (..=499, _) => Then::Never,
        };
        Err(Fault { why: format!("answer {status}"), then })
    };
    tokio::pin!(exchange);
    tokio::select! {
        told = &mut exchange => told,
        ended = connection => match ended {
            // The answer may be there all the same.
            Ok(()) => exchange.await,
            Err(error) => Err(error.to_string().into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use svd_config::plan::Url;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn post(url: &str) -> Post {
        let to = WebhookPlan {
            url: Url::parse(url).unwrap(),
            headers: vec![("X-Key".into(), "abc".into())],
            timeout: Duration::from_secs(5),
        };
        let body = Bytes::from_static(b"{\"a\":1}\n");
        Post { to, body, content_type: "application/json", patience: Patience::Hour }
    }

    /// Answers one request; says what it was.
    async fn answer(listener: &TcpListener, answer: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"{\"a\":1}\n") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the request ended early");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_posted_until_somebody_takes_it() {
        // given a server that fails twice, and hangs up once
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let telling = tokio::spawn(deliver(post(&format!("http://127.0.0.1:{port}/hook?x=1"))));
        let request = answer(&listener, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await;
        drop(listener.accept().await.unwrap());
        answer(&listener, "HTTP/1.1 429 Slowly\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n").await;
        let before = tokio::time::Instant::now();
        answer(&listener, "HTTP/1.1 204 Taken\r\n\r\n").await;
        // then, not before it was asked to
        assert_eq!(telling.await.unwrap(), Ok(()));
        assert!(before.elapsed() >= Duration::from_secs(30), "{:?}", before.elapsed());
        assert!(request.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{request}");
        for header in [&format!("host: 127.0.0.1:{port}"), "content-type: application/json", "x-key: abc"] {
            assert!(request.to_lowercase().contains(header), "{header}: {request}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_given_up_after_an_hour_and_says_why_without_the_secret() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let begun = tokio::time::Instant::now();
        let why = deliver(post(&format!("http://127.0.0.1:{port}/secret"))).await.unwrap_err();
        assert!(why.starts_with(&format!("http://127.0.0.1:{port}: 127.0.0.1:{port}: Connection refused")), "{why}");
        assert!(!why.contains("secret"));
        let hour = Patience::Hour.time();
        assert!(begun.elapsed() <= hour && begun.elapsed() > hour / 2, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_no_other_try_would_change_gives_it_up_at_once() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for status in ["404 Nothing", "302 Elsewhere"] {
            let telling = tokio::spawn(deliver(post(&format!("http://127.0.0.1:{port}/hook"))));
            answer(&listener, &format!("HTTP/1.1 {status}\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")).await;
            let why = telling.await.unwrap().unwrap_err();
            assert!(why.ends_with(&format!("answer {}", &status[..3])), "{why}");
        }
    }
}
