//! The table of keys, against the reader, the schema and the manual.

mod common;

use common::{env_file, toml};
use svd_config::keys::{KEYS, Key};
use svd_config::{Sources, reference_man, schema};

fn example(key: &Key) -> Sources {
    let job = key.path.strip_prefix("job.*.").map(|name| match (name, key.example.contains("schedule = ")) {
        ("run", _) => format!("[job.report]\n{}\n", key.example),
        (_, true) => format!("[job.report]\nrun = \"x\"\n{}\n", key.example),
        (_, false) => format!("[job.report]\nrun = \"x\"\nschedule = \"0 6 * * *\"\n{}\n", key.example),
    });
    let text = match key.path.strip_prefix("process.*.") {
        None if job.is_some() => job.unwrap_or_default(),
        Some("run") => format!("[process.web]\n{}\n", key.example),
        Some(_) => format!(
            "[process]\nmigrate = {{ run = \"m\", oneshot = true }}\nredis = \"r\"\n[process.web]\nrun = \"x\"\n{}\n",
            key.example
        ),
        None => key.example.to_owned(),
    };
    let mut sources = toml(&text);
    sources.others = [".env", "web.env", ".env.staging"].map(|path| env_file(path, "A=1\n")).to_vec();
    sources
}

#[test]
fn every_example_is_accepted_and_names_its_key() {
    for key in KEYS {
        assert!(key.example.contains(key.name()), "{}", key.path);
        if let Err(errors) = svd_config::plan(&example(key)) {
            panic!("{}: {errors}", key.path);
        }
    }
}

#[test]
fn every_key_of_the_table_is_read() {
    // A date is what no key takes: whoever reads the key complains.
    for key in KEYS {
        let path = key
            .path
            .replace("process.*", "process.web")
            .replace("environment.*", "environment.e")
            .replace("job.*", "job.report");
        let path = path.replace("listen.*", "listen.http");
        // A lone port, every or timeout is refused for being alone, too; its own complaint must be among the errors.
        let text = format!("overlay_allows_ = 1\n{path} = 2026-01-01\n").replace("overlay_allows_ = 1\n", "");
        let errors = svd_config::plan(&toml(&text)).expect_err(key.path);
        let complaint =
            errors.problems.iter().any(|p| p.message.contains("a date") || p.message.contains("must be a string"));
        assert!(complaint && !errors.to_string().contains("unknown key"), "{}: {errors}", key.path);
    }
}

#[test]
fn every_key_says_what_it_takes_and_does_in_sentences() {
    for key in KEYS {
        assert!(key.doc.ends_with('.') && !key.allowed.ends_with('.') && !key.default.is_empty(), "{}", key.path);
        assert!(KEYS.iter().filter(|k| k.path == key.path).count() == 1, "{} twice", key.path);
    }
}

#[test]
fn the_schema_has_every_key() {
    let schema = schema();
    let text = schema.to_string();
    assert_eq!(
        schema["properties"]["environment"]["additionalProperties"]["properties"]["process"]["additionalProperties"]["anyOf"]
            [1]["$ref"],
        "#/$defs/process"
    );
    assert_eq!(schema["$defs"]["process"]["properties"]["count"]["maximum"], 1000);
    assert_eq!(schema["properties"]["process"]["additionalProperties"]["anyOf"][0]["type"], "string");
    for key in KEYS {
        assert!(text.contains(&format!("\"{}\":{{", key.name())), "{}", key.path);
    }
}

#[test]
fn the_two_examples_of_the_manual_are_good_configs_without_warnings() {
    let page = reference_man();
    let section = page.split(".SH TWO EXAMPLES\n").nth(1).and_then(|rest| rest.split("\n.SH ").next()).unwrap();
    let examples: Vec<String> =
        section.split(".nf\n").skip(1).map(|block| block.split(".fi\n").next().unwrap().replace("\\-", "-")).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let (_, warnings) = common::plan_and_warnings(&toml(&example));
        assert_eq!(warnings, [], "{example}");
    }
}

#[test]
fn the_manual_has_every_key_and_is_clean_roff() {
    let page = reference_man();
    for key in KEYS {
        let prefixes = ["process.*.", "job.*.", "environment.*.", "control.", "systemd."];
        let name = prefixes.iter().find_map(|p| key.path.strip_prefix(p));
        let name = name.unwrap_or(key.path).replace('*', "NAME");
        assert!(page.contains(&format!("\n.B {name}\n")), "{}", key.path);
    }
    assert_eq!(page, reference_man());
    for line in page.lines().filter(|l| l.starts_with(['.', '\''])) {
        let request = line.split(' ').next().unwrap_or("");
        assert!(
            [".TH", ".SH", ".B", ".I", ".IR", ".BR", ".TP", ".IP", ".PP", ".br", ".nf", ".fi"].contains(&request),
            "{line}"
        );
    }
}
