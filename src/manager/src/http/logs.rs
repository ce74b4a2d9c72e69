//! Output as JSON lines.
//!
//! Files are read on a blocking thread, a piece at a time and only when the client has taken the piece before: a client
//! that reads slowly holds a descriptor and nothing else.

use bytes::Bytes;
use hyper::StatusCode;
use regex::bytes::{Regex, RegexBuilder};
use std::collections::VecDeque;
use std::io;
use svd_api as api;
use tokio::sync::watch;

use super::ApiState;
use super::answer::{Answer, Failure, stream};
use super::query::Query;
use super::server::{Shared, ended};
use crate::instant::instant;
use crate::logs::{Follow, GapCause, LogItem, LogQuery, Query as LogReader, Selector, Stream, Unfinished};

/// Lines when neither number nor time is given.
const DEFAULT: i64 = 100;
/// The last so many lines at most, since they are held in memory; `since` gives any number.
const LONGEST: i64 = 10_000;
/// A piece ends at so many bytes.
const PIECE: usize = 32 * 1024;
/// So many bytes of an instance's output are looked at for the lines of one that has ended.
const LOOKED_AT: usize = 64 << 20;
/// Memory of a compiled `grep`.
const PATTERN: usize = 1 << 20;

/// The lines that the query asks for.
pub async fn logs(shared: &Shared, query: &Query) -> Result<Answer, Failure> {
    let state = &shared.state;
    let now = svd_sys::clock::now().real_ns;
    let is_following = query.flag("follow")?;
    let since_ns = query.instant("since", now)?;
    let until_ns = query.instant("until", now)?;
    if is_following && until_ns.is_some() {
        return Err(Failure::bad("`until` does not go with `follow`"));
    }
    let last = match query.number("n", LONGEST)? {
        None if since_ns.is_some() => None,
        n => usize::try_from(n.unwrap_or(DEFAULT)).ok(),
    };
    let stream_wanted = match query.text("stream") {
        None => None,
        Some("stdout") => Some(Stream::Stdout),
        Some("stderr") => Some(Stream::Stderr),
        Some(other) => return Err(Failure::bad(format!("stream: `{other}` is neither `stdout` nor `stderr`"))),
    };
    let names = super::stream::targets(state, query.list("target")).await?;
    let question = LogQuery {
        selector: Selector { names, stream: stream_wanted },
        since_ns,
        until_ns,
        last,
        grep: query.text("grep").map(pattern).transpose()?,
        spawn: None,
        unfinished: if is_following { Unfinished::Keep } else { Unfinished::Give },
    };
    let logs = state.logs.clone();
    let reader = blocking(move || logs.query(question)).await?;
    let tail = if is_following { Tail::Follow(shared.stop.clone()) } else { Tail::End };
    Ok(stream("application/x-ndjson", futures_util::stream::unfold(Phase::Reading(Box::new(reader), tail), next)))
}

/// The last lines of an instance, or of one of its starts; of the latter those since `since_ns`, nanoseconds since 1970.
pub async fn last(
    state: &ApiState,
    instance: &str,
    start: Option<(u64, u64)>,
    lines: usize,
) -> Result<Vec<api::LogLine>, Failure> {
    let selector = Selector { names: vec![instance.to_owned()], stream: None };
    let (spawn, since_ns) = start.unzip();
    let question = LogQuery { selector, spawn, since_ns, last: Some(lines), ..LogQuery::default() };
    let logs = state.logs.clone();
    let items = blocking(move || logs.query(question)?.collect::<io::Result<Vec<_>>>()).await?;
    Ok(items.iter().map(line).collect())
}

/// The last lines of a start that has ended, from the time in which it ran (nanoseconds since 1970). What others of its
/// instance have written since is not read.
pub async fn last_of_ended(
    state: &ApiState,
    instance: &str,
    spawn: u64,
    ran: std::ops::Range<u64>,
    lines: usize,
) -> Result<Vec<api::LogLine>, Failure> {
    let selector = Selector { names: vec![instance.to_owned()], stream: None };
    let question = LogQuery { selector, since_ns: Some(ran.start), ..LogQuery::default() };
    let logs = state.logs.clone();
    let found = blocking(move || {
        let mut found = VecDeque::new();
        let mut seen = 0;
        for item in logs.query(question)? {
            let LogItem::Line(one) = item? else { continue };
            seen += one.text.len();
            if one.time_ns > ran.end || seen > LOOKED_AT {
                break;
            }
            if one.spawn == spawn {
                if found.len() == lines {
                    found.pop_front();
                }
                found.push_back(line(&LogItem::Line(one)));
            }
        }
        Ok(found)
    });
    Ok(found.await?.into())
}

fn pattern(text: &str) -> Result<Regex, Failure> {
    let wrong = |error: regex::Error| Failure::bad(format!("grep: {error}"));
    RegexBuilder::new(text).size_limit(PATTERN).dfa_size_limit(PATTERN).build().map_err(wrong)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Failure> {
    let failed = |why: String| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("output cannot be read: {why}"));
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failed(error.to_string())),
        Err(ended) => Err(failed(ended.to_string())),
    }
}

/// What comes after the stored lines.
enum Tail {
    End,
    Follow(watch::Receiver<bool>),
}

enum Phase {
    Reading(Box<LogReader>, Tail),
    Following(Box<Follow>, watch::Receiver<bool>),
    Ended,
}

/// The next piece. Where the files cannot be read any more the stream ends early, with a remark.
async fn next(mut phase: Phase) -> Option<(Bytes, Phase)> {
    loop {
        phase = match phase {
            Phase::Reading(reader, tail) => {
                let (piece, rest) = tokio::task::spawn_blocking(move || read(reader)).await.ok()?;
                let after = match (rest, tail) {
                    (Rest::More(reader), tail) => Phase::Reading(reader, tail),
                    (Rest::End(reader), Tail::Follow(stop)) => Phase::Following(Box::new(reader.follow()), stop),
                    (Rest::End(_), Tail::End) | (Rest::Failed, _) => Phase::Ended,
                };
                if !piece.is_empty() {
                    return Some((piece, after));
                }
                after
            }
            Phase::Following(mut follow, mut stop) => {
                // Both are safe to cancel.
                let item = tokio::select! {
                    item = follow.next() => item,
                    () = ended(&mut stop) => return None,
                };
                let mut piece = Vec::new();
                match item {
                    Ok(Some(item)) => write(&mut piece, &line(&item)),
                    Ok(None) => return None,
                    Err(error) => {
                        write(&mut piece, &broken(&error));
                        return Some((piece.into(), Phase::Ended));
                    }
                }
                return Some((piece.into(), Phase::Following(follow, stop)));
            }
            Phase::Ended => return None,
        }
    }
}

enum Rest {
    More(Box<LogReader>),
    End(Box<LogReader>),
    Failed,
}

fn read(mut reader: Box<LogReader>) -> (Bytes, Rest) {
    let mut piece = Vec::new();
    while piece.len() < PIECE {
        match reader.next() {
            Some(Ok(item)) => write(&mut piece, &line(&item)),
            Some(Err(error)) => {
                write(&mut piece, &broken(&error));
                return (piece.into(), Rest::Failed);
            }
            None => return (piece.into(), Rest::End(reader)),
        }
    }
    (piece.into(), Rest::More(reader))
}

fn write(piece: &mut Vec<u8>, line: &api::LogLine) {
    // Strings and a bool: they always have a JSON form.
    if let Ok(text) = serde_json::to_vec(line) {
        piece.extend(text);
        piece.push(b'\n');
    }
}

fn line(item: &LogItem) -> api::LogLine {
    match item {
        LogItem::Line(line) => api::LogLine {
            time: time(line.time_ns),
            instance: line.instance.to_string(),
            stream: line.stream.name().to_owned(),
            message: String::from_utf8_lossy(&line.text).into_owned(),
            partial: line.partial,
        },
        LogItem::Gap(gap) => {
            let what = match gap.cause {
                GapCause::NotStored { bytes } => format!("{bytes} bytes of {} could not be stored", gap.stream),
                GapCause::Deleted => format!("older output of {} was deleted to make room", gap.stream),
            };
            remark(gap.time_ns, gap.instance.to_string(), what)
        }
    }
}

fn broken(error: &io::Error) -> api::LogLine {
    remark(svd_sys::clock::now().real_ns, String::new(), format!("output cannot be read on: {error}"))
}

fn remark(time_ns: u64, instance: String, message: String) -> api::LogLine {
    api::LogLine { time: time(time_ns), instance, stream: "svd".to_owned(), message, partial: false }
}

fn time(time_ns: u64) -> String {
    format!("{:.6}", instant(time_ns))
}
