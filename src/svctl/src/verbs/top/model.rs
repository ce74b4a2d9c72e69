//! What the live screen knows and what keys do to it. Pure: no terminal, no svd.

use std::collections::VecDeque;

use svd_api::{CommandKind, Instance, LogLine, Process, Status};

use crate::verbs::change::verb;

/// What somebody does at the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
}

/// By what the rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// As the config has them.
    Config,
    Cpu,
    Memory,
    Restarts,
}

impl Sort {
    /// As the bottom line names it.
    pub fn word(self) -> &'static str {
        match self {
            Sort::Config => "config",
            Sort::Cpu => "cpu",
            Sort::Memory => "memory",
            Sort::Restarts => "restarts",
        }
    }
}

/// Something to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// start, stop, restart.
    Command(CommandKind, String),
    /// So many instances of a process.
    Scale(String, u32),
}

impl Order {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Order::Command(kind, target) => format!("{} {target}", verb(*kind)),
            Order::Scale(process, count) => format!("scale {process} to {count}"),
        }
    }
}

/// What the keys mean now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Browse,
    /// A filter is being typed.
    Filter,
    /// Whether this is really to be done.
    Asking(Order),
    Help,
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Nothing,
    Quit,
    Suspend,
    Carry(Order),
}

/// Whether svd answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It was not asked yet.
    Unknown,
    Answers,
    /// Why it does not.
    Lost(String),
}

/// All that is shown.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub status: Option<Status>,
    pub lines: VecDeque<LogLine>,
    pub link: Link,
    pub sort: Sort,
    pub filter: String,
    pub mode: Mode,
    /// What became of the last order, or is becoming.
    pub told: Option<String>,
    /// The row that keys are about, by the names of process and instance.
    pub selected: Option<(String, String)>,
    /// So many rows fit; told by whoever draws.
    pub page: usize,
}

/// A row of the table: an instance, or a process without any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub process: &'a Process,
    pub instance: Option<&'a Instance>,
}

impl Row<'_> {
    fn key(&self) -> (String, String) {
        let id = self.instance.map(|instance| format!("{} {:?}", instance.id, instance.role));
        (self.process.name.clone(), id.unwrap_or_default())
    }

    /// What a command about it is given.
    fn target(&self) -> String {
        self.instance.map_or_else(|| self.process.name.clone(), |instance| instance.id.clone())
    }
}

impl Model {
    pub fn new() -> Model {
        Model {
            status: None,
            lines: VecDeque::new(),
            link: Link::Unknown,
            sort: Sort::Config,
            filter: String::new(),
            mode: Mode::Browse,
            told: None,
            selected: None,
            page: 10,
        }
    }

    /// The rows that pass the filter, in order.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let Some(status) = &self.status else { return Vec::new() };
        let mut rows: Vec<Row<'_>> = Vec::new();
        for process in &status.processes {
            rows.extend(process.instances.iter().map(|instance| Row { process, instance: Some(instance) }));
            if process.instances.is_empty() {
                rows.push(Row { process, instance: None });
            }
        }
        rows.retain(|row| row.target().contains(self.filter.as_str()));
        let cpu = |row: &Row<'_>| row.instance.and_then(|instance| instance.cpu_percent).unwrap_or(-1.0);
        match self.sort {
            Sort::Config => {}
            Sort::Cpu => rows.sort_by(|a, b| cpu(b).total_cmp(&cpu(a))),
            Sort::Memory => rows.sort_by_key(|row| {
                std::cmp::Reverse(row.instance.and_then(|instance| instance.memory_bytes).unwrap_or(0))
            }),
            Sort::Restarts => {
                rows.sort_by_key(|row| std::cmp::Reverse(row.instance.map_or(0, |instance| instance.restarts)));
            }
        }
        rows
    }

    /// The place of the selected row; the first one where it is gone.
    pub fn cursor(&self) -> usize {
        let key = self.selected.as_ref();
        self.rows().iter().position(|row| Some(&row.key()) == key).unwrap_or(0)
    }

    /// The process of the selected row, whose lines are shown.
    pub fn process(&self) -> Option<String> {
        self.rows().get(self.cursor()).map(|row| row.process.name.clone())
    }

    fn go(&mut self, to: usize) {
        let rows = self.rows();
        let at = to.min(rows.len().saturating_sub(1));
        self.selected = rows.get(at).map(Row::key);
    }

    /// Takes a key in.
    pub fn key(&mut self, key: Key) -> Act {
        match key {
            Key::Interrupt => return Act::Quit,
            Key::Suspend => return Act::Suspend,
            _ => {}
        }
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Browse => self.browse(key),
            Mode::Help => Act::Nothing,
            Mode::Filter => {
                self.type_filter(key);
                Act::Nothing
            }
            Mode::Asking(order) => match key {
                Key::Char('y' | 'Y') => {
                    self.told = Some(format!("{}…", order.words()));
                    Act::Carry(order)
                }
                Key::Char('n' | 'N' | 'q') | Key::Escape | Key::Enter => {
                    self.told = Some(format!("{}: no", order.words()));
                    Act::Nothing
                }
                // Anything else may have been meant for the list: the question stays.
                _ => {
                    self.mode = Mode::Asking(order);
                    Act::Nothing
                }
            },
        }
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Enter => return,
            Key::Escape => {
                self.filter.clear();
                return;
            }
            Key::Backspace => drop(self.filter.pop()),
            Key::Char(char) if !char.is_control() && self.filter.chars().count() < 100 => self.filter.push(char),
            _ => {}
        }
        self.mode = Mode::Filter;
    }

    fn browse(&mut self, key: Key) -> Act {
        let at = self.cursor();
        match key {
            Key::Char('q') => return Act::Quit,
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Escape => {
                self.filter.clear();
                self.told = None;
            }
            Key::Up | Key::Char('k') => self.go(at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.go(at + 1),
            Key::PageUp => self.go(at.saturating_sub(self.page)),
            Key::PageDown => self.go(at + self.page),
            Key::Home => self.go(0),
            Key::End => self.go(usize::MAX),
            Key::Char('c') => self.sort = Sort::Cpu,
            Key::Char('m') => self.sort = Sort::Memory,
            Key::Char('e') => self.sort = Sort::Restarts,
            Key::Char('o') => self.sort = Sort::Config,
            Key::Char('s') => self.ask(CommandKind::Stop, |row| row.target()),
            Key::Char('S') => self.ask(CommandKind::Stop, |row| row.process.name.clone()),
            Key::Char('r') => self.ask(CommandKind::Restart, |row| row.target()),
            Key::Char('R') => self.ask(CommandKind::Restart, |row| row.process.name.clone()),
            Key::Char('a') => self.ask(CommandKind::Start, |row| row.target()),
            Key::Char('A') => self.ask(CommandKind::Start, |row| row.process.name.clone()),
            Key::Char('+') => self.ask_scale(|want| want.checked_add(1)),
            Key::Char('-') => self.ask_scale(|want| want.checked_sub(1)),
            Key::Char(_) | Key::Enter | Key::Backspace | Key::Interrupt | Key::Suspend => {}
        }
        Act::Nothing
    }

    fn ask(&mut self, kind: CommandKind, target: impl Fn(&Row<'_>) -> String) {
        let order = self.rows().get(self.cursor()).map(|row| Order::Command(kind, target(row)));
        self.mode = order.map_or(Mode::Browse, Mode::Asking);
    }

    fn ask_scale(&mut self, count: impl Fn(u32) -> Option<u32>) {
        let rows = self.rows();
        let order = rows
            .get(self.cursor())
            .and_then(|row| Some(Order::Scale(row.process.name.clone(), count(row.process.want)?)));
        self.mode = order.map_or(Mode::Browse, Mode::Asking);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tree of two web instances, one worker and a process that is scaled to nothing.
    pub(crate) fn status() -> Status {
        let instance = |id: &str, cpu: f32, memory: u64, restarts: u32| {
            serde_json::json!({ "id": id, "pid": 100, "state": "ready", "release": null, "since": "2026-11-25T12:00:00Z",
                "restarts": restarts, "exit": null, "reason": null, "cpu_percent": cpu, "memory_bytes": memory })
        };
        let process = |name: &str, want: u32, instances: Vec<serde_json::Value>| serde_json::json!({ "name": name, "want": want, "ready": want, "listeners": [], "instances": instances });
        serde_json::from_value(serde_json::json!({
            "app": "shop", "environment": null, "release": null, "jobs": [], "deploy": null,
            "svd": { "version": "1.2.3", "keeper_pid": 1, "manager_pid": 2, "manager_starts": 1, "state": "running",
                     "config": "/shop/Procfile.toml", "root": "/var/lib/svd/shop" },
            "processes": [
                process("web", 2, vec![instance("web.1", 1.5, 3 << 20, 0), instance("web.2", 90.0, 2 << 20, 1)]),
                process("worker", 1, vec![instance("worker.1", 10.0, 50 << 20, 7)]),
                process("off", 0, vec![]),
            ],
        }))
        .unwrap()
    }

    pub(crate) fn model() -> Model {
        Model { status: Some(status()), link: Link::Answers, ..Model::new() }
    }

    fn names(model: &Model) -> Vec<String> {
        model.rows().iter().map(Row::target).collect()
    }

    #[test]
    fn rows_are_sorted_and_filtered_and_the_selection_stays_with_its_instance() {
        let mut model = model();
        assert_eq!(names(&model), ["web.1", "web.2", "worker.1", "off"]);
        model.key(Key::Down);
        model.key(Key::Char('c'));
        assert_eq!(names(&model), ["web.2", "worker.1", "web.1", "off"]);
        assert_eq!(model.cursor(), 0, "web.2 is still selected");
        model.key(Key::Char('m'));
        assert_eq!(names(&model), ["worker.1", "web.1", "web.2", "off"]);
        model.key(Key::Char('e'));
        assert_eq!(names(&model)[0], "worker.1");
        model.key(Key::Char('o'));
        // when something is typed after a slash
        for key in [Key::Char('/'), Key::Char('w'), Key::Char('o'), Key::Char('q'), Key::Backspace] {
            assert_eq!(model.key(key), Act::Nothing);
        }
        assert_eq!(names(&model), ["worker.1"]);
        model.key(Key::Enter);
        assert_eq!((model.cursor(), &model.mode), (0, &Mode::Browse));
        model.key(Key::Escape);
        assert_eq!(names(&model).len(), 4);
        // and one whose instance is gone selects the first
        model.status.as_mut().unwrap().processes[0].instances.remove(1);
        assert_eq!(model.cursor(), 0);
    }

    #[test]
    fn nothing_is_carried_out_without_a_yes() {
        let mut model = model();
        for (key, words) in [
            ('s', "stop web.1"),
            ('S', "stop web"),
            ('r', "restart web.1"),
            ('R', "restart web"),
            ('a', "start web.1"),
            ('+', "scale web to 3"),
            ('-', "scale web to 1"),
        ] {
            for no in [Key::Char('n'), Key::Escape, Key::Enter] {
                assert_eq!(model.key(Key::Char(key)), Act::Nothing);
                let Mode::Asking(order) = model.mode.clone() else { panic!("{key} asks nothing") };
                assert_eq!(order.words(), words);
                assert_eq!(model.key(Key::Down), Act::Nothing);
                assert_eq!(model.mode, Mode::Asking(order), "another key leaves the question");
                assert_eq!(model.key(no), Act::Nothing);
                assert_eq!(model.mode, Mode::Browse);
            }
            model.key(Key::Char(key));
            let Act::Carry(order) = model.key(Key::Char('y')) else { panic!("{key}, yes") };
            assert_eq!(order.words(), words);
        }
    }

    #[test]
    fn a_process_of_none_can_be_scaled_up_and_not_below_none() {
        let mut model = model();
        model.key(Key::End);
        model.key(Key::Char('-'));
        assert_eq!(model.mode, Mode::Browse);
        model.key(Key::Char('+'));
        assert_eq!(model.mode, Mode::Asking(Order::Scale("off".into(), 1)));
    }

    #[test]
    fn keys_of_an_empty_list_ask_nothing_and_quitting_always_works() {
        let mut model = Model::new();
        for key in [Key::Char('s'), Key::Char('+'), Key::Down, Key::End, Key::PageUp] {
            assert_eq!(model.key(key), Act::Nothing);
            assert_eq!(model.mode, Mode::Browse);
        }
        assert_eq!(model.key(Key::Char('q')), Act::Quit);
        model.key(Key::Char('/'));
        assert_eq!(model.key(Key::Interrupt), Act::Quit);
        assert_eq!(model.key(Key::Suspend), Act::Suspend);
    }
}
