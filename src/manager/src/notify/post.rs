//! Posting to a webhook: one try after the other, until one succeeds or the time is over.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use svd_config::plan::{Scheme, WebhookPlan};
use tokio::net::TcpStream;

use super::tls;

/// So long is it tried.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The pauses between two tries: the first one, doubled up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// So much of an answer is read, for the connection's end to be an orderly one.
const LONGEST_ANSWER: usize = 64 * 1024;

/// What is posted where.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where.
    pub to: WebhookPlan,
    /// JSON.
    pub body: Bytes,
}

/// Posts, again and again where need be. Why the last try has failed, where all have.
pub async fn deliver(post: Post) -> Result<(), String> {
    let over = tokio::time::Instant::now() + PATIENCE;
    let mut pause = PAUSE.0;
    loop {
        let tried = tokio::time::timeout(post.to.timeout, once(&post)).await;
        let why = match tried {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => why,
            Err(_late) => format!("no answer within {:.1} s", post.to.timeout.as_secs_f64()),
        };
        tracing::info!(to = %post.to.url, why, "a webhook did not take an event");
        if tokio::time::Instant::now() + pause >= over {
            return Err(format!("{}: {why}", post.to.url));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// One try.
async fn once(post: &Post) -> Result<(), String> {
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

async fn send<S>(stream: TokioIo<S>, post: &Post) -> Result<(), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let WebhookPlan { url, headers, .. } = &post.to;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&url.path)
        .header("host", url.authority())
        .header("user-agent", concat!("svd/", env!("CARGO_PKG_VERSION")))
        .header("content-type", "application/json")
        .header("connection", "close");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(post.body.clone())).map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        // What it says is of no use, and that it says too much no failure.
        let _read = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        match status.as_u16() {
            200..=299 => Ok(()),
            code => Err(format!("answer {code}")),
        }
    };
    tokio::pin!(exchange);
    tokio::select! {
        told = &mut exchange => told,
        ended = connection => match ended {
            // The answer may be there all the same.
            Ok(()) => exchange.await,
            Err(error) => Err(error.to_string()),
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
        Post { to, body: Bytes::from_static(b"{\"a\":1}\n") }
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
        answer(&listener, "HTTP/1.1 302 Elsewhere\r\nLocation: /\r\nContent-Length: 0\r\n\r\n").await;
        answer(&listener, "HTTP/1.1 204 Taken\r\n\r\n").await;
        // then
        assert_eq!(telling.await.unwrap(), Ok(()));
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
        assert!(begun.elapsed() <= PATIENCE && begun.elapsed() > PATIENCE / 2, "{:?}", begun.elapsed());
    }
}
