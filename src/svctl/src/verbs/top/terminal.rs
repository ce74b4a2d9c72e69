//! The terminal while the screen is shown: taken, drawn on, given back as it was, whatever happens meanwhile.

use std::io::{self, Write};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::sync::mpsc;

use super::model::Key;
use crate::failure::Failure;
use crate::view::top::Size;

/// The other screen, without a cursor.
const TAKE: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const GIVE_BACK: &str = "\x1b[?25h\x1b[?1049l";

/// Something that happened at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Key(Key),
    Resized,
    /// A signal asks us to end, or nobody is at the terminal any more.
    Told,
}

/// A terminal that is ours. Dropping it gives it back.
pub(crate) struct Terminal {
    events: mpsc::UnboundedReceiver<Happened>,
    /// What was drawn last: the same again is not sent.
    drawn: Vec<String>,
    taken: bool,
}

impl Terminal {
    pub fn take(out: &mut dyn Write) -> Result<Terminal, Failure> {
        let (happened, events) = mpsc::unbounded_channel();
        signals(&happened)?;
        let mut terminal = Terminal { events, drawn: Vec::new(), taken: false };
        terminal.enter(out)?;
        // The panic's message belongs on the screen that was there before.
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back(&mut io::stdout());
            tell(panic);
        }));
        // Reads for as long as svctl lives; nothing else reads standard input.
        std::thread::Builder::new().name("keys".into()).spawn(move || keys(&happened))?;
        Ok(terminal)
    }

    fn enter(&mut self, out: &mut dyn Write) -> io::Result<()> {
        terminal::enable_raw_mode()?;
        self.taken = true;
        self.drawn.clear();
        out.write_all(TAKE.as_bytes())?;
        out.flush()
    }

    /// How large it is now.
    pub fn size(&self) -> Size {
        let (columns, lines) = terminal::size().unwrap_or((80, 24));
        Size { columns: columns.into(), lines: lines.into() }
    }

    /// Shows a frame; sends the lines that differ from what is there.
    pub fn draw(&mut self, out: &mut dyn Write, frame: &[String]) -> io::Result<()> {
        let mut bytes = String::new();
        if self.drawn.len() != frame.len() {
            bytes.push_str("\x1b[2J");
            self.drawn.clear();
        }
        for (number, line) in frame.iter().enumerate() {
            if self.drawn.get(number) != Some(line) {
                bytes.push_str(&format!("\x1b[{};1H{line}\x1b[0m\x1b[K", number + 1));
            }
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.drawn = frame.to_vec();
        out.write_all(bytes.as_bytes())?;
        out.flush()
    }

    /// Waits for a key, a new size or the end.
    pub async fn next(&mut self) -> Happened {
        let happened = self.events.recv().await.unwrap_or(Happened::Told);
        if happened == Happened::Resized {
            self.drawn.clear();
        }
        happened
    }

    /// Gives the terminal back and stops, as any program does at Ctrl-Z; takes it again when the shell goes on with us.
    pub fn suspend(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.restore(out);
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP)?;
        self.enter(out)
    }

    /// Gives it back for good.
    pub fn leave(mut self, out: &mut dyn Write) -> Result<(), Failure> {
        self.restore(out);
        Ok(())
    }

    fn restore(&mut self, out: &mut dyn Write) {
        if std::mem::replace(&mut self.taken, false) {
            give_back(out);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore(&mut io::stdout());
    }
}

/// As it was. A terminal that is gone needs nothing.
fn give_back(out: &mut dyn Write) {
    let _gone = terminal::disable_raw_mode();
    let _gone = out.write_all(GIVE_BACK.as_bytes()).and_then(|()| out.flush());
}

/// In raw mode Ctrl-C is a key; these come from elsewhere.
fn signals(happened: &mpsc::UnboundedSender<Happened>) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let happened = happened.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _signal in &mut signals {
            // Nobody listens: it has ended already.
            let _ended = happened.send(Happened::Told);
        }
    })?;
    Ok(())
}

fn keys(happened: &mpsc::UnboundedSender<Happened>) {
    loop {
        let news = match event::read() {
            Ok(Event::Key(KeyEvent { kind: KeyEventKind::Press | KeyEventKind::Repeat, code, modifiers, .. })) => {
                match key(code, modifiers) {
                    Some(key) => Happened::Key(key),
                    None => continue,
                }
            }
            Ok(Event::Resize(..)) => Happened::Resized,
            Ok(_) => continue,
            Err(_) => Happened::Told,
        };
        if happened.send(news).is_err() || news == Happened::Told {
            return;
        }
    }
}

fn key(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    let control = modifiers.contains(KeyModifiers::CONTROL);
    Some(match code {
        KeyCode::Char('c') if control => Key::Interrupt,
        KeyCode::Char('z') if control => Key::Suspend,
        KeyCode::Char(_) if control || modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(char) => Key::Char(char),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}
