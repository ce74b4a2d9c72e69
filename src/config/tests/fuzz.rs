//! No text makes the reader panic, and every error of a text has its place in it.

mod common;

use common::{procfile, source, toml};
use svd_config::{SourceKind, Sources, expand, wanted};

const SEEDS: &[&str] = &[
    "app = \"shop\"\ninclude = [\"a.toml\"]\nenv_file = [\".env\"]\n[env]\nA = \"1\"\n[defaults]\nrestart = { limit = \"5 in 1m\" }\n",
    "[process.web]\nrun = \"gunicorn -w ${W:-4} 'a b' \\\"c\\\" $PORT\"\nready = { run = \"x\", every = \"1s\" }\nstop = [\"TERM\", \"1s\"]\n",
    "[process]\nclock = \"python clock.py\"\nm = { run = [\"a\"], oneshot = true }\nweb = { run = '''\na | b''', shell = true, after = { m = \"completed\" } }\n",
    "overlay_allows = [\"env\"]\n[environment.staging]\nprocess.web.env.A = \"ö\"\n[control]\nsocket_mode = 0o660\n",
    "[process.web]\nrun = \"x\"\nlisten = { http = \"0.0.0.0:$PORT\", admin = { address = \"unix:run/${A:-a}.sock\", mode = \"0660\" } }\nhandoff = \"env:FDS={fd}{,}\"\npreset = \"node\"\nupdate = { canary = [\"10% 1m\"], surge = \"50%\" }\n",
    "[defaults]\nlisten = \"[::1]:0\"\nhealth = { tcp = true, every = \"1s\" }\nrecycle = { age = \"1d\" }\n[process.a]\nrun = \"npx gunicorn -t 5 && (b; c) >x\"\nshell = true\nquiet = \"TSTP\"\ndrained = \"./x\"\nstop = [\"TERM\", \"none\"]\n",
    "web: srv -p $PORT \"$A\" ${B:-x} \\$C\nclock: a | b\n# c\n",
    "A=1\nexport B='x'\nC=\"y\\n\"\n# d\nPORT=5\n",
];

const PIECES: &[&str] = &[
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    "$",
    "${",
    "\\",
    "\n",
    "\r",
    "\0",
    "\t",
    "ä",
    "🦀",
    "\u{feff}",
    "0o",
    "-1",
    "99999999999999999999",
    "1e9",
    "*",
    "|",
    "process.",
    "unix:",
    "$(",
    "(",
    "`",
    ":",
    "{fd",
    "\\u0000",
    "\\U0001F980",
];

fn mutate(text: &str, random: &mut fastrand::Rng) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(0..=chars.len());
        match random.u8(0..4) {
            0 if at < chars.len() => {
                let end = (at + random.usize(1..8)).min(chars.len());
                chars.drain(at..end);
            }
            1 => {
                let piece = PIECES[random.usize(0..PIECES.len())];
                chars.splice(at..at, piece.chars());
            }
            2 => {
                let other: Vec<char> = SEEDS[random.usize(0..SEEDS.len())].chars().collect();
                let from = random.usize(0..other.len());
                let end = (from + random.usize(1..40)).min(other.len());
                chars.splice(at..at, other[from..end].iter().copied());
            }
            _ => {
                if at < chars.len() {
                    chars[at] = random.char('\u{1}'..'\u{2ff}');
                }
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn mutated_texts_never_panic_and_errors_stay_within_the_text() {
    let mut random = fastrand::Rng::with_seed(20261123);
    let mut planned = 0;
    for round in 0..6000 {
        let pick = |random: &mut fastrand::Rng| SEEDS[random.usize(0..SEEDS.len())].to_owned();
        let mut text = pick(&mut random);
        if random.bool() {
            text += &pick(&mut random);
        }
        let text = mutate(&text, &mut random);
        let mut sources: Sources = if round % 3 == 0 { procfile(&text) } else { toml(&text) };
        for (path, kind, seed) in
            [(".env", SourceKind::EnvFile, "A=1\n"), ("a.toml", SourceKind::Toml, "process.a = \"x\"\n")]
        {
            let text = if random.u8(0..4) == 0 { mutate(seed, &mut random) } else { seed.to_owned() };
            sources.others.push(source(path, kind, &text));
        }
        sources.environment = (random.u8(0..4) == 0).then(|| "staging".to_owned());
        let _ = wanted(&sources.main, &sources.dir, None);
        match svd_config::plan(&sources) {
            Ok((plan, _)) => {
                planned += 1;
                for process in &plan.processes {
                    if let svd_config::plan::Run::Words(words) = &process.exec.run {
                        let _ = expand(words, &process.exec.env);
                    }
                }
            }
            Err(errors) => {
                assert!(!errors.problems.is_empty());
                for problem in &errors.problems {
                    let file = std::iter::once(&sources.main)
                        .chain(&sources.others)
                        .find(|s| s.path == problem.path)
                        .expect("the path of a source");
                    assert!(problem.line <= file.text.matches('\n').count() + 1, "{problem}");
                    assert!(!problem.message.contains('\n'), "{problem}");
                    let _ = problem.to_string();
                }
            }
        }
    }
    assert!(planned > 100, "only {planned} mutated texts were still right");
}
