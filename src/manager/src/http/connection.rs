//! One connection: its requests one after another, its deadlines, its end.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::access::Peer;
use super::answer::{Answer, Body};
use super::dispatch::{Caller, dispatch};
use super::limits::Place;
use super::server::{Shared, ended};

/// Bytes of a request's line and headers.
const HEADER: usize = 16 * 1024;
/// Number of headers.
const HEADERS: usize = 64;

/// Serves the connection until the client leaves, a deadline passes, its place is needed or svd ends.
pub async fn run(stream: UnixStream, peer: Peer, place: Arc<Place>, shared: Arc<Shared>) {
    let role = shared.state.access.role_of(peer).await;
    let caller = Caller { uid: peer.uid, role };
    let mut stop = shared.stop.clone();
    let mut deadline = place.deadline.subscribe();
    let evicted = place.evicted.clone();
    let service = service_fn(move |request| answer(request, caller, place.clone(), shared.clone()));
    // Times are kept here, not by hyper, whose timeout for headers also ends a connection that rests between requests.
    let serving = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(HEADERS)
        .max_buf_size(HEADER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let mut is_ending = false;
    loop {
        let at = *deadline.borrow_and_update();
        tokio::select! {
            // An error is the client's: garbage, or gone. It has had its answer where one was possible.
            _ended = &mut serving => return,
            () = evicted.notified() => return,
            () = tokio::time::sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => return,
            Ok(()) = deadline.changed() => {}
            () = ended(&mut stop), if !is_ending => {
                is_ending = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    caller: Caller,
    place: Arc<Place>,
    shared: Arc<Shared>,
) -> Result<Answer, Infallible> {
    place.busy();
    let answer = match dispatch(request, caller, &shared).await {
        Ok(answer) => answer,
        Err(failure) => failure.into_answer(),
    };
    Ok(rest_after(answer, place))
}

/// The connection is idle again when the answer's body is done with.
fn rest_after(answer: Answer, place: Arc<Place>) -> Answer {
    struct Rest(Arc<Place>);
    impl Drop for Rest {
        fn drop(&mut self) {
            self.0.idle();
        }
    }
    let rest = Rest(place);
    let (head, body) = answer.into_parts();
    let body: Body = body
        .map_frame(move |frame| {
            let _kept = &rest;
            frame
        })
        .boxed_unsync();
    Response::from_parts(head, body)
}
