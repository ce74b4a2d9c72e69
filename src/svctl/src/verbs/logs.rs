//! `svctl logs`: the lines that instances wrote. Following survives the replacement of the manager: no line is lost and
//! none is shown twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use svd_api::LogLine;

use super::Session;
use super::jobs::JOB;
use super::reconnect::{Brought, Next, Reconnect};
use crate::args::{Logs, Stream};
use crate::client::{Error, Query};
use crate::failure::Failure;
use crate::screen::Format;
use crate::values::When;
use crate::view::log::Prefixes;

/// Lines of different streams may come out of order by less than this.
const DISORDER: Duration = Duration::from_secs(2);
/// How many of the past are shown before following.
const PAST_WHEN_FOLLOWED: u64 = 10;

pub(crate) async fn run(session: &mut Session<'_, '_>, options: &Logs) -> Result<(), Failure> {
    let now = session.screen.now();
    let resolve =
        |when: &Option<When>| when.as_ref().map(|when| when.resolve(&now)).transpose().map_err(Failure::Usage);
    let (since, until) = (resolve(&options.since)?, resolve(&options.until)?);
    if options.follow && until.is_some() {
        return Err(Failure::Usage("--follow never ends and --until does: give one of them".to_owned()));
    }
    let targets = targets(options)?;
    let selection = Query::new("/logs")
        .with_each("target", &targets)
        .with_some("until", until)
        .with_some("grep", options.grep.as_ref())
        .with_some("stream", options.stream.map(stream_name));
    let lines = match (options.lines, options.follow, since) {
        (None, true, None) => Some(PAST_WHEN_FOLLOWED),
        // The rest is the server's: the last 100, and all with --since.
        (lines, _, _) => lines,
    };
    let first = selection.clone().with_some("n", lines).with_some("since", since);
    if !options.follow {
        let mut seen = Seen::default();
        return match show(session, &first, &mut seen, &mut Prefixes::default()).await? {
            None => Ok(()),
            Some(error) => Err(session.client.failure(error)),
        };
    }
    follow(session, &selection, first, now.timestamp()).await
}

/// With `--run` the one run of the one job.
fn targets(options: &Logs) -> Result<Vec<String>, Failure> {
    let Some(run) = options.run else { return Ok(options.targets.clone()) };
    match options.targets.as_slice() {
        [job] => Ok(vec![format!("{JOB}{}.{run}", job.strip_prefix(JOB).unwrap_or(job))]),
        _ => Err(Failure::Usage(format!("--run goes with one job: svctl logs job:NAME --run {run}"))),
    }
}

fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

async fn follow(
    session: &mut Session<'_, '_>,
    selection: &Query,
    first: Query,
    begun: Timestamp,
) -> Result<(), Failure> {
    let mut seen = Seen::default();
    let mut prefixes = Prefixes::default();
    let mut query = first.with("follow", "true");
    let mut reconnect = Reconnect::default();
    let mut first_time = true;
    loop {
        let before = seen.lines;
        let end = show(session, &query, &mut seen, &mut prefixes).await?;
        if first_time && let Some(error @ Error::NotRunning(_)) = end {
            // It has not ended: it was not there.
            return Err(session.client.failure(error));
        }
        first_time = false;
        let brought = if seen.lines == before { Brought::Nothing } else { Brought::Something };
        match reconnect.after(session, end, brought)? {
            Next::Connect => {}
            Next::Stop => return Ok(()),
        }
        query = selection.clone().with("since", &seen.resume(begun).to_string()).with("follow", "true");
    }
}

/// Shows lines until the connection ends; tells how if not well.
async fn show(
    session: &mut Session<'_, '_>,
    query: &Query,
    seen: &mut Seen,
    prefixes: &mut Prefixes,
) -> Result<Option<Error>, Failure> {
    let mut lines = match session.client.stream(query.path()).await {
        Ok(Ok(lines)) => lines,
        Ok(Err(answer)) => return Err(Failure::from_status(answer.status, answer.error())),
        Err(error) => return Ok(Some(error)),
    };
    seen.reconnected();
    loop {
        let bytes = match lines.next().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let Ok(line) = serde_json::from_slice::<LogLine>(&bytes) else {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Err(Failure::Failed(format!("svd's answer is not understood: {}", crate::text::plain(&text))));
        };
        if !seen.is_new(&line) {
            continue;
        }
        match session.screen.format {
            Format::Json => {
                let mut bytes = bytes;
                bytes.push(b'\n');
                session.screen.print_bytes(&bytes)?;
            }
            Format::Human => {
                let text = prefixes.line(&line, session.screen.place, &session.look());
                session.screen.print(&text)?;
            }
        }
    }
}

/// Which lines have been shown. Times never go back within one stream of one instance, so its last time and how many of
/// its lines bear that time are enough.
#[derive(Debug, Default)]
struct Seen {
    lines: u64,
    /// Last instant and number of lines at it, by instance and stream.
    last: BTreeMap<(String, String), (Timestamp, u32)>,
    /// Lines that the present connection repeated, of those at the last instant.
    repeated: BTreeMap<(String, String), u32>,
    /// Streams that went beyond the last instant of the former connection: whatever they bring is new.
    beyond: BTreeSet<(String, String)>,
    first: Option<Timestamp>,
    latest: Option<Timestamp>,
}

impl Seen {
    /// A connection begins, which may repeat lines of the former one; the first one repeats none.
    fn reconnected(&mut self) {
        self.repeated.clear();
        self.beyond.clear();
    }

    fn is_new(&mut self, line: &LogLine) -> bool {
        let Ok(time) = line.time.parse::<Timestamp>() else {
            // Shown rather than lost.
            self.lines += 1;
            return true;
        };
        let stream = (line.instance.clone(), line.stream.clone());
        let new = match self.last.get(&stream) {
            None => true,
            Some(_) if self.beyond.contains(&stream) => true,
            Some((last, _)) if time < *last => false,
            Some((last, count)) if time == *last => {
                let repeated = self.repeated.entry(stream.clone()).or_default();
                *repeated += 1;
                *repeated > *count
            }
            Some(_) => true,
        };
        if !new {
            return false;
        }
        let _was_there = self.beyond.insert(stream.clone());
        let at = self.last.entry(stream).or_insert((time, 0));
        *at = if at.0 == time { (time, at.1 + 1) } else { (time, 1) };
        self.lines += 1;
        self.first.get_or_insert(time);
        self.latest = self.latest.max(Some(time));
        true
    }

    /// From when on the next connection is to bring lines: a little before the latest, and not before the first.
    fn resume(&self, begun: Timestamp) -> Timestamp {
        match (self.first, self.latest) {
            (Some(first), Some(latest)) => latest.checked_sub(DISORDER).unwrap_or(latest).max(first),
            _ => begun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(instance: &str, time: &str, message: &str) -> LogLine {
        LogLine {
            time: format!("2026-11-23T10:00:{time}Z"),
            instance: instance.to_owned(),
            stream: "stdout".to_owned(),
            message: message.to_owned(),
            partial: false,
        }
    }

    fn shown(seen: &mut Seen, lines: &[LogLine]) -> Vec<String> {
        seen.reconnected();
        lines.iter().filter(|line| seen.is_new(line)).map(|line| line.message.clone()).collect()
    }

    #[test]
    fn a_reconnection_repeats_nothing_and_loses_nothing_even_within_one_microsecond() {
        let mut seen = Seen::default();
        let a = line("web.1", "01.000001", "a");
        let same = |text: &str| line("web.1", "02.000002", text);
        let other = line("db.1", "01.500000", "other");
        // given three lines of one instant, of which two had come before the cut
        assert_eq!(shown(&mut seen, &[a.clone(), same("b"), same("c")]), ["a", "b", "c"]);
        // when all is sent again, with one more at that instant, a late one of another stream, and a later one
        let again =
            [a, other.clone(), same("b"), same("c"), same("d"), line("web.1", "03.0", "e"), line("web.1", "03.0", "f")];
        assert_eq!(shown(&mut seen, &again), ["other", "d", "e", "f"]);
        // and once more
        assert_eq!(
            shown(&mut seen, &[other, line("web.1", "03.0", "e"), line("web.1", "03.0", "f")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn following_resumes_a_little_before_the_latest_line() {
        let begun: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        let mut seen = Seen::default();
        assert_eq!(seen.resume(begun), begun);
        shown(&mut seen, &[line("web.1", "01.0", "a")]);
        assert_eq!(seen.resume(begun).to_string(), "2026-11-23T10:00:01Z");
        shown(&mut seen, &[line("web.1", "09.5", "b")]);
        assert_eq!(seen.resume(begun).to_string(), "2026-11-23T10:00:07.5Z");
    }
}
