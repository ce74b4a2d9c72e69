//! `[notify]`: who is told of what.

mod common;

use common::{errors, plan, toml};
use svd_config::plan::{Run, Scheme};

fn config(notify: &str) -> svd_config::Sources {
    toml(&format!("process.web = \"x\"\nenv = {{ TOKEN = \"s3cret\" }}\n{notify}\n"))
}

#[test]
fn a_command_and_a_webhook_are_told_of_the_events_that_are_named() {
    let plan = plan(&config(
        "[notify]\nevents = [\"process.failed\", \"command.rolled_back\"]\nrun = \"./notify.sh -v $TOKEN\"\ntimeout = \"5s\"\n\
         [notify.webhook]\nurl = \"https://hooks.example.org:8443/$TOKEN?a=$$b\"\nheaders = { Authorization = \"Bearer ${TOKEN}\" }\n",
    ));
    let notify = plan.notify.unwrap();
    assert_eq!(notify.events, ["process.failed", "command.rolled_back"]);
    let hook = notify.hook.unwrap();
    assert_eq!(hook.exec.run, Run::Words(["./notify.sh", "-v", "${TOKEN}"].map(str::to_owned).to_vec()));
    assert_eq!((hook.timeout.as_secs(), hook.exec.cwd.to_str()), (5, Some("/srv/shop")));
    let webhook = notify.webhook.unwrap();
    assert_eq!(
        (webhook.url.scheme, webhook.url.port, webhook.url.path.as_str()),
        (Scheme::Https, 8443, "/s3cret?a=$b")
    );
    assert_eq!(webhook.headers, [("Authorization".to_owned(), "Bearer s3cret".to_owned())]);
    // Neither messages nor logs show what is secret.
    assert!(!format!("{webhook:?}").contains("/s3cret"));
}

#[test]
fn a_webhook_alone_is_a_string() {
    let plan = plan(&config("notify = { events = [\"svd.started\"], webhook = \"http://127.0.0.1:9/x\" }"));
    let notify = plan.notify.unwrap();
    assert!(notify.hook.is_none());
    assert_eq!(notify.webhook.unwrap().url.to_string(), "http://127.0.0.1:9");
    assert!(common::plan(&config("")).notify.is_none());
}

#[test]
fn what_would_tell_nobody_or_of_nothing_is_an_error_that_says_what_there_is() {
    for (notify, message, help) in [
        ("[notify]\nevents = [\"process.failed\"]", "[notify] tells nobody", "run = \"…\", webhook"),
        ("[notify]\nrun = \"x\"", "[notify] tells of nothing", "there are process.failed, "),
        (
            "[notify]\nrun = \"x\"\nevents = [\"proces.failed\"]",
            "no event \"proces.failed\"; did you mean \"process.failed\"?",
            "there are process.failed, ",
        ),
        (
            "[notify]\nrun = \"x\"\nevents = [\"svd.started\", \"svd.started\"]",
            "\"svd.started\" stands twice in \"events\" in [notify]",
            "",
        ),
        (
            "[notify]\nwebhook = \"ftp://x\"\nevents = [\"svd.started\"]",
            "\"webhook\" in [notify] begins neither with http:// nor with https://",
            "write http://HOST",
        ),
        (
            "[notify]\nwebhook = \"https://x/$NOPE\"\nevents = [\"svd.started\"]",
            "\"webhook\" in [notify] uses $NOPE, which is not set",
            "write $$ for a dollar sign",
        ),
        (
            "[notify]\nwebhook = \"https://x/\"\ntimeout = \"1s\"\nevents = [\"svd.started\"]",
            "\"timeout\" in [notify] means nothing without \"run\"",
            "a webhook has its own",
        ),
        ("[notify]\nwebhook = {}\nevents = [\"svd.started\"]", "webhook has no \"url\"", "say where"),
        (
            "[notify]\nwebhook = { url = \"https://x/\", headers = { Host = \"y\" } }\nevents = [\"svd.started\"]",
            "the header \"Host\" is written by svd itself",
            "",
        ),
        (
            "[notify]\nrun = \"a | b\"\nevents = [\"svd.started\"]",
            "\"run\" in [notify] has the shell operator \"|\", which needs a shell; write [\"sh\", \"-c\", \"…\"], or quote it",
            "",
        ),
    ] {
        let errors = errors(&config(notify));
        let problem = errors.problems.iter().find(|problem| problem.message == message);
        let problem = problem.unwrap_or_else(|| panic!("{message}\n{errors}"));
        assert!(problem.help.as_deref().unwrap_or_default().contains(help), "{problem}");
        assert!(problem.line > 0, "{problem}");
    }
}
