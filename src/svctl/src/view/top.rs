//! The live screen as lines, none of them wider than the terminal. Pure.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Look, color, name};
use crate::screen::Place;
use crate::text;
use crate::verbs::top::model::{Link, Mode, Model, Row};

const HELP: &[&str] = &[
    "up, down, j, k, page up, page down, home, end   choose a row",
    "s, S    stop the instance, the whole process",
    "r, R    restart the instance, the whole process",
    "a, A    start the instance, the whole process",
    "+, -    one instance more, one less",
    "        each of these asks first",
    "c, m, e, o   sort by cpu, memory, restarts, or as the config has them",
    "/       show only rows with a text in their name; escape ends that",
    "q       leave; what svd runs is not touched",
];

/// The columns of the terminal and its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub columns: usize,
    pub lines: usize,
}

/// The frame: as many lines as the terminal has.
pub(crate) fn frame(model: &mut Model, size: Size, look: &Look) -> Vec<String> {
    let mut shown = vec![head(model, look)];
    let warnings = model.status.as_ref().map(|status| status.warnings.clone()).unwrap_or_default();
    shown.extend(
        warnings
            .iter()
            .take(2)
            .map(|text| look.paint.apply("33", &cut(&format!("warning: {}", text::plain(text)), size.columns))),
    );
    if model.mode == Mode::Help {
        shown.push(String::new());
        shown.extend(HELP.iter().map(|line| (*line).to_owned()));
    } else {
        table(model, size, look, &mut shown);
    }
    let foot = foot(model, look);
    let room = size.lines.saturating_sub(1);
    shown.truncate(room);
    shown.resize(room, String::new());
    shown.push(foot);
    shown.truncate(size.lines);
    shown.into_iter().map(|line| fit(&line, size.columns)).collect()
}

/// All of it at once, for a file or a pipe.
pub(crate) fn whole(model: &Model, look: &Look) -> String {
    let mut shown = vec![head(model, look), columns()];
    shown.extend(model.rows().iter().map(|row| line(row, look)));
    shown.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn head(model: &Model, look: &Look) -> String {
    let Some(status) = &model.status else { return "svctl top".to_owned() };
    let all: Vec<_> = status.processes.iter().flat_map(|process| &process.instances).collect();
    let (want, ready) =
        status.processes.iter().fold((0, 0), |(want, ready), process| (want + process.want, ready + process.ready));
    let cpu: f32 = all.iter().filter_map(|instance| instance.cpu_percent).sum();
    let memory: u64 = all.iter().filter_map(|instance| instance.memory_bytes).sum();
    let mut parts = Vec::new();
    if matches!(model.link, Link::Lost(_)) {
        parts.push("as last seen".to_owned());
    }
    parts.push(text::plain(&status.app).into_owned());
    parts.extend(status.environment.as_deref().map(|name| text::plain(name).into_owned()));
    parts.push(format!("{ready} of {want} ready"));
    parts.push(format!("cpu {cpu:.1}%"));
    parts.push(format!("memory {}", text::bytes(memory)));
    parts.push(look.now.zoned().strftime("%H:%M:%S").to_string());
    if status.svd.state != "running" {
        parts.push(text::plain(&status.svd.state).into_owned());
    }
    parts.join(" · ")
}

fn columns() -> String {
    format!(
        "{:24} {:11} {:>8} {:>9} {:>8} {:>7} {:>10}  REASON",
        "TARGET", "STATE", "PID", "AGE", "RESTARTS", "CPU", "MEM"
    )
}

fn line(row: &Row<'_>, look: &Look) -> String {
    let Some(instance) = row.instance else {
        let state = if row.process.disabled { "disabled" } else { "stopped" };
        return format!("{} {state:11}", pad(&text::plain(&row.process.name), 24));
    };
    let state = pad(&text::plain(&instance.state), 11);
    let since = text::since(&instance.since, &look.now);
    format!(
        "{} {} {:>8} {since:>9} {:>8} {:>7} {:>10}  {}",
        pad(&name(instance), 24),
        look.paint.apply(color(&instance.state), &state),
        instance.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        instance.restarts,
        instance.cpu_percent.map(|percent| format!("{percent:.1}%")).unwrap_or_default(),
        instance.memory_bytes.map(text::bytes).unwrap_or_default(),
        instance.reason.as_deref().map(text::plain).unwrap_or_default(),
    )
}

fn table(model: &mut Model, size: Size, look: &Look, shown: &mut Vec<String>) {
    shown.push(look.paint.apply("1", &cut(&columns(), size.columns)));
    // A third for what the selected process writes, where there is room for it.
    let lines = if size.lines >= 12 { size.lines / 3 } else { 0 };
    let room = size.lines.saturating_sub(shown.len() + 1 + if lines > 0 { lines + 1 } else { 0 });
    model.page = room.max(1);
    let (rows, at) = (model.rows(), model.cursor());
    let first = (at + 1).saturating_sub(room).min(rows.len().saturating_sub(1));
    for (place, row) in rows.iter().enumerate().skip(first).take(room) {
        let line = line(row, look);
        shown.push(match place == at {
            // Colours within would end the reverse.
            true => look.paint.apply("7", &pad(&cut(&strip(&line), size.columns), size.columns)),
            false => line,
        });
        if place == at && look.paint == crate::screen::Paint::Plain {
            let marked = shown.pop().map(|line| format!(">{}", line.trim_end())).unwrap_or_default();
            shown.push(marked);
        }
    }
    if rows.is_empty() && model.status.is_some() {
        shown.push(if model.filter.is_empty() { "no processes" } else { "no row has that in its name" }.to_owned());
    }
    if lines == 0 {
        return;
    }
    shown.resize(shown.len().max(size.lines.saturating_sub(lines + 2)), String::new());
    let of = model.process().map(|process| format!(" {} ", text::plain(&process))).unwrap_or_default();
    let rule = format!("──{of}{}", "─".repeat(size.columns.saturating_sub(2 + of.width())));
    shown.push(look.paint.apply("2", &cut(&rule, size.columns)));
    let skip = model.lines.len().saturating_sub(lines);
    for line in model.lines.iter().skip(skip) {
        let message = text::log_line(&line.message, Place::Terminal, crate::screen::Paint::Plain).replace('\t', "    ");
        shown.push(format!("{} {} | {message}", text::clock(&line.time, &look.now), text::plain(&line.instance)));
    }
}

fn foot(model: &Model, look: &Look) -> String {
    let lost = match &model.link {
        Link::Lost(why) => Some(format!("asking again: {}", text::plain(why))),
        Link::Unknown | Link::Answers => None,
    };
    match (&model.mode, lost) {
        (Mode::Asking(order), _) => look.paint.apply("1", &format!("{}? y or n", text::plain(&order.words()))),
        (Mode::Filter, _) => format!("/{}_", text::plain(&model.filter)),
        (Mode::Help, _) => "any key goes back".to_owned(),
        (Mode::Browse, Some(lost)) => look.paint.apply("31", &lost),
        (Mode::Browse, None) => {
            let filter =
                if model.filter.is_empty() { String::new() } else { format!("/{} · ", text::plain(&model.filter)) };
            match &model.told {
                Some(told) => format!("{filter}{}", text::plain(told)),
                None => format!("{filter}sorted by {} · ? help · q quit", model.sort.word()),
            }
        }
    }
}

/// So wide, with blanks behind it.
fn pad(text: &str, width: usize) -> String {
    let shown = cut(text, width);
    let blanks = width.saturating_sub(shown.width());
    format!("{shown}{}", " ".repeat(blanks))
}

/// As much of a text as fits.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let fits = |char: &char| {
        used += char.width().unwrap_or(0);
        used < width
    };
    let mut shown: String = text.chars().take_while(fits).collect();
    if width > 0 {
        shown.push('…');
    }
    shown
}

/// Without the colours that we have put there.
fn strip(line: &str) -> String {
    let mut shown = String::new();
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            let _sequence = chars.by_ref().find(|char| *char == 'm');
        } else {
            shown.push(char);
        }
    }
    shown
}

/// A line that may have colours in it, no wider than the terminal.
fn fit(line: &str, width: usize) -> String {
    let bare = strip(line);
    if bare.width() <= width { line.to_owned() } else { cut(&bare, width) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Paint;
    use crate::verbs::top::model::Key;
    use crate::verbs::top::model::tests::model;

    fn look(paint: Paint) -> Look {
        Look { now: "2026-11-25T12:01:05Z[UTC]".parse().unwrap(), paint, width: None }
    }

    fn text(model: &mut Model, columns: usize, lines: usize) -> String {
        frame(model, Size { columns, lines }, &look(Paint::Plain)).join("\n")
    }

    fn log(message: &str) -> svd_api::LogLine {
        svd_api::LogLine {
            time: "2026-11-25T12:01:04.5Z".into(),
            instance: "web.1".into(),
            stream: "stdout".into(),
            message: message.into(),
            partial: false,
        }
    }

    #[test]
    fn a_frame_has_the_tree_the_selection_the_last_lines_and_what_keys_do() {
        let mut model = model();
        model.lines = [log("GET /\t200")].into();
        let shown = text(&mut model, 90, 15);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 15);
        assert_eq!(lines[0], "shop · 3 of 3 ready · cpu 101.5% · memory 55M · 12:01:05");
        assert!(lines[1].starts_with("TARGET                   STATE"), "{shown}");
        assert!(lines[2].starts_with(">web.1 ") && lines[2].contains("1m 5s"), "{shown}");
        assert!(lines[3].starts_with("web.2 ") && lines[3].contains("90.0%"), "{shown}");
        assert!(lines[5].starts_with("off                      stopped"), "{shown}");
        assert!(shown.contains("── web ─") && shown.contains("12:01:04 web.1 | GET /    200"), "{shown}");
        assert_eq!(lines[14], "sorted by config · ? help · q quit");
    }

    #[test]
    fn a_question_a_filter_help_and_a_lost_svd_are_shown_at_the_bottom() {
        let mut model = model();
        model.key(Key::Char('s'));
        assert!(text(&mut model, 80, 10).ends_with("stop web.1? y or n"));
        model.key(Key::Char('n'));
        assert!(text(&mut model, 80, 10).ends_with("stop web.1: no"));
        model.key(Key::Char('/'));
        model.key(Key::Char('z'));
        let shown = text(&mut model, 80, 10);
        assert!(shown.ends_with("/z_") && shown.contains("no row has that in its name"), "{shown}");
        model.key(Key::Escape);
        model.key(Key::Char('?'));
        assert!(text(&mut model, 80, 20).contains("restart the instance, the whole process"));
        model.key(Key::Enter);
        model.link = Link::Lost("svd cut the connection".into());
        assert!(text(&mut model, 80, 10).starts_with("as last seen · shop"));
        assert!(text(&mut model, 80, 10).ends_with("asking again: svd cut the connection"));
    }

    #[test]
    fn no_line_is_wider_and_no_frame_longer_than_the_terminal_however_small_it_is() {
        let mut model = model();
        model.lines = [log("ä long 漢字漢字漢字漢字漢字漢字漢字漢字漢字 line"), log("x")].into();
        for paint in [Paint::Plain, Paint::Colors] {
            for columns in [0, 1, 2, 7, 20, 79, 200] {
                for lines in [0, 1, 2, 5, 12, 40] {
                    let shown = frame(&mut model, Size { columns, lines }, &look(paint));
                    assert!(shown.len() <= lines, "{columns}x{lines}");
                    assert!(shown.iter().all(|line| strip(line).width() <= columns), "{columns}x{lines}: {shown:?}");
                }
            }
        }
    }

    #[test]
    fn the_selected_row_is_always_in_sight() {
        let mut model = model();
        model.key(Key::End);
        let shown = text(&mut model, 80, 4);
        assert!(shown.contains(">off"), "{shown}");
        model.key(Key::Home);
        assert!(text(&mut model, 80, 4).contains(">web.1"));
    }

    #[test]
    fn what_others_have_written_cannot_steer_the_terminal() {
        let mut model = model();
        model.lines = [log("\u{1b}[2J\u{1b}]0;title\u{7}hello\rworld")].into();
        let status = model.status.as_mut().unwrap();
        status.app = "sh\u{1b}[31mop".into();
        status.warnings = vec!["a\u{9b}2J".into()];
        status.processes[0].instances[0].reason = Some("\u{1b}[2J".into());
        model.told = Some("\u{1b}c".into());
        let shown = frame(&mut model, Size { columns: 120, lines: 20 }, &look(Paint::Plain));
        assert!(shown.iter().all(|line| line.chars().all(|char| !char.is_control())), "{shown:?}");
        assert!(shown.iter().any(|line| line.contains("hello")), "{shown:?}");
    }

    #[test]
    fn a_frame_for_a_file_has_all_rows_and_nothing_of_a_terminal() {
        let shown = whole(&model(), &look(Paint::Plain));
        assert_eq!(shown.lines().count(), 6, "{shown}");
        assert!(shown.contains("worker.1") && !shown.contains('\u{1b}') && !shown.contains('>'), "{shown}");
    }
}
