//! Posting to a webhook: one try after the other, until one succeeds or the time is over.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use svd_config::plan::{Scheme, WebhookPlan};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::tls;

/// The pauses between two tries: the first one, doubled up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// So much of an answer is read, for the connection's end to be an orderly one.
const LONGEST_ANSWER: usize = 64 * 1024;

/// So many tries are made at once: a thousand jobs of one instant are not to be a thousand connections, each with the
/// certificates of all authorities in memory. Who pauses before the next try holds up nobody.
pub const MOST_TRIES: usize = 16;

/// The longest pause that somebody who is told may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What is still worth knowing an hour later is tried so long.
pub const HOUR: Duration = Duration::from_secs(3600);
/// So long, from what has happened on, is a ping that says how a run ended still worth something.
pub const END: Duration = Duration::from_secs(600);
/// So long is one that says that a run begins: it is over soon, and the next one must not wait for it.
pub const BEGIN: Duration = Duration::from_secs(30);

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
    pub within: Duration,
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

/// Posts, again and again where need be, each time when one of `tries` is free. Why the last try has failed, where all have.
pub async fn deliver(post: Post, tries: &Semaphore) -> Result<(), String> {
    let over = tokio::time::Instant::now() + post.within;
    let mut pause = PAUSE.0;
    loop {
        // Never closed.
        let turn = tries.acquire().await;
        let tried = tokio::time::timeout(post.to.timeout, once(&post)).await;
        drop(turn);
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
    use std::sync::Arc;
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
        Post { to, body, content_type: "application/json", within: HOUR }
    }

    fn tell(post: Post) -> tokio::task::JoinHandle<Result<(), String>> {
        tokio::spawn(async move { deliver(post, &Semaphore::new(1)).await })
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
        let telling = tell(post(&format!("http://127.0.0.1:{port}/hook?x=1")));
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
        let why = deliver(post(&format!("http://127.0.0.1:{port}/secret")), &Semaphore::new(1)).await.unwrap_err();
        assert!(why.starts_with(&format!("http://127.0.0.1:{port}: 127.0.0.1:{port}: Connection refused")), "{why}");
        assert!(!why.contains("secret"));
        let hour = HOUR;
        assert!(begun.elapsed() <= hour && begun.elapsed() > hour / 2, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_no_other_try_would_change_gives_it_up_at_once() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for status in ["404 Nothing", "302 Elsewhere"] {
            let telling = tell(post(&format!("http://127.0.0.1:{port}/hook")));
            answer(&listener, &format!("HTTP/1.1 {status}\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")).await;
            let why = telling.await.unwrap().unwrap_err();
            assert!(why.ends_with(&format!("answer {}", &status[..3])), "{why}");
        }
    }

    #[tokio::test]
    async fn many_at_once_are_told_a_few_at_a_time_and_all_of_them() {
        // given a server that answers nobody before as many are there as may be
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        let tries = Arc::new(Semaphore::new(2));
        let telling: Vec<_> = (0..5)
            .map(|_| {
                let (post, tries) = (post(&url), tries.clone());
                tokio::spawn(async move { deliver(post, &tries).await })
            })
            .collect();
        let mut there = vec![listener.accept().await.unwrap().0, listener.accept().await.unwrap().0];
        assert_eq!(tries.available_permits(), 0);
        // when somebody has an answer, then the next one comes
        for left in [3, 2, 1, 0, 0] {
            let mut stream = there.remove(0);
            let mut request = Vec::new();
            while !request.ends_with(b"{\"a\":1}\n") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the request ended early");
            }
            stream.write_all(b"HTTP/1.1 204 Taken\r\n\r\n").await.unwrap();
            drop(stream);
            if left > 0 {
                there.push(listener.accept().await.unwrap().0);
            }
        }
        for told in telling {
            assert_eq!(told.await.unwrap(), Ok(()));
        }
    }
}
