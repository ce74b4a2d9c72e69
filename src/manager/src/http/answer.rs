//! What goes back to the client: JSON, streams, and failures as sentences.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use svd_api as api;

/// A body, whole or streamed.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;
/// Every answer.
pub type Answer = Response<Body>;

/// A request that failed: the status and a sentence for people.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    message: String,
    allow: Option<String>,
}

impl Failure {
    /// With this status and sentence.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into(), allow: None }
    }
    /// 400: the request is wrong.
    pub fn bad(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }
    /// 404: there is no such thing.
    pub fn missing(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, message)
    }
    /// 503: not now.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
    /// 405: the route has other methods.
    pub fn method(message: impl Into<String>, allow: String) -> Failure {
        Failure { allow: Some(allow), ..Failure::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }

    /// Whether there is no such thing.
    pub fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// As the client gets it.
    pub fn into_answer(self) -> Answer {
        let mut answer = with_status(self.status, &api::ErrorReply { error: self.message });
        if let Some(allow) = self.allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
            answer.headers_mut().insert(ALLOW, allow);
        }
        answer
    }
}

/// 200 with this value.
pub fn json(value: &impl Serialize) -> Answer {
    with_status(StatusCode::OK, value)
}

/// This status with this value.
pub fn with_status(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut text = match serde_json::to_vec(value) {
        Ok(text) => text,
        Err(error) => return plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{{\"error\":\"{error:?}\"}}\n")),
    };
    // For people with curl.
    text.push(b'\n');
    plain(status, text)
}

/// 200 with this text.
pub fn text(kind: &'static str, text: String) -> Answer {
    let mut answer = plain(StatusCode::OK, text);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let text = text.into();
    let length = HeaderValue::from(text.len());
    let mut answer = Response::new(Full::new(text).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// 200 with what the stream gives, sent as it comes and as fast as the client reads.
pub fn stream(kind: &'static str, chunks: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    use futures_util::StreamExt;
    let frames = StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk))));
    let mut answer = Response::new(BodyExt::boxed_unsync(frames));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
