//! Fields of a crontab as the crons of this world take them: more than is right, and not always what is written there.
//!
//! Debian's reader skips whatever follows a valid item up to the next blank, takes ranges that run backwards and selects
//! nothing by them, and reads numbers with 32 bits. Cronie refuses all of this and knows `A~B`, a number that it picks
//! when it reads the file. What comes out here is a field that every reader takes, and what has to be said about it.

use std::ops::Range;

use crate::schedule::{DAY, Field, HOUR, MINUTE, MONTH, Piece, WEEKDAY, shown};

use super::super::report::Told;

/// The five, in their order.
const FIELDS: [&Field; 5] = [&MINUTE, &HOUR, &DAY, &MONTH, &WEEKDAY];

/// A schedule as cron reads it.
pub(crate) struct Lenient {
    /// The five fields in strict words; `None` where nothing is ever selected.
    pub schedule: Option<String>,
    /// The minutes over which `A~B` spreads it.
    pub spread: Option<u32>,
    /// What is odd, and where in the line.
    pub odd: Vec<(Range<usize>, Told)>,
}

/// Reads five fields; `None` where cron takes them for no schedule either.
pub(crate) fn read(words: &[Piece<'_>], seed: u64) -> Option<Lenient> {
    let mut odd = Vec::new();
    let mut read = Vec::new();
    for (field, word) in FIELDS.iter().zip(words) {
        read.push(Reader { field, word: *word, at: 0, seed }.read(&mut odd)?);
    }
    let [minute, hour, day, month, weekday] = <[Items; 5]>::try_from(read).ok()?;
    // The spread of a minute is one of the job. Beside other picks, and where the hour is picked too, a pick is a pick.
    let spread = minute.spread.filter(|_| minute.items.len() == 1);
    let starred = |items: &Items| items.starred;
    let (days, weekdays) = match (day.text(), weekday.text()) {
        // Either is enough, so the one that selects nothing may as well not be there.
        (None, Some(weekdays)) if !starred(&day) && !starred(&weekday) => ("*".to_owned(), weekdays),
        (Some(days), None) if !starred(&day) && !starred(&weekday) => (days, "*".to_owned()),
        (Some(days), Some(weekdays)) => (days, weekdays),
        (None, _) | (_, None) => return Some(Lenient { schedule: None, spread, odd }),
    };
    let schedule = match (minute.text(), hour.text(), month.text()) {
        (Some(minute), Some(hour), Some(month)) => Some(format!("{minute} {hour} {days} {month} {weekdays}")),
        _ => None,
    };
    Some(Lenient { schedule, spread, odd })
}

/// A field, item by item.
struct Items {
    /// In strict words, without those that select nothing.
    items: Vec<String>,
    /// It begins with `*`, which decides how days and weekdays go together.
    starred: bool,
    /// It is `A~B` and nothing else: B - A.
    spread: Option<u32>,
    /// What `*` stands for.
    whole: String,
}

impl Items {
    fn text(&self) -> Option<String> {
        let first = self.items.first()?;
        // An item in front selected nothing: the star after it must not become the beginning.
        let hidden = !self.starred && first.starts_with('*');
        let first = if hidden { first.replacen('*', &self.whole, 1) } else { first.clone() };
        let rest = self.items.iter().skip(1).cloned();
        Some([first].into_iter().chain(rest).collect::<Vec<_>>().join(","))
    }
}

/// A range that may be one number.
fn side(first: u32, last: u32) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// Where in the field the reader is.
struct Reader<'r> {
    field: &'r Field,
    word: Piece<'r>,
    at: usize,
    seed: u64,
}

impl<'r> Reader<'r> {
    fn read(mut self, odd: &mut Vec<(Range<usize>, Told)>) -> Option<Items> {
        let (low, high) = self.field.range;
        let mut read = Items {
            items: Vec::new(),
            starred: self.word.text.starts_with('*'),
            spread: None,
            whole: format!("{low}-{high}"),
        };
        loop {
            self.item(&mut read, odd)?;
            if !self.takes(',') {
                break;
            }
        }
        let junk = self.rest();
        if !junk.is_empty() {
            let kept = read.text().unwrap_or_default();
            let help = format!(
                "translated as Debian's cron reads it: the {} is {kept}; cronie refuses the line",
                self.field.name
            );
            odd.push((self.span(self.at), Told::new(format!("cron skips {}", shown(junk)), help)));
        }
        Some(read)
    }

    fn item(&mut self, read: &mut Items, odd: &mut Vec<(Range<usize>, Told)>) -> Option<()> {
        let start = self.at;
        let low = self.field.range.0;
        let base = if self.takes('*') {
            "*".to_owned()
        } else if self.rest().starts_with('~') {
            self.pick(start, low, read, odd)?;
            return Some(());
        } else {
            let first = self.number(odd)?;
            if self.rest().starts_with('~') {
                self.pick(start, first, read, odd)?;
                return Some(());
            }
            if !self.takes('-') {
                // A step after a single number is an error in all of them.
                if self.rest().starts_with('/') {
                    return None;
                }
                read.items.push(first.to_string());
                return Some(());
            }
            let last = self.number(odd)?;
            if first > last {
                self.step(odd)?;
                let range = self.word.text.get(start..self.at).unwrap_or_default();
                let told = Told::new(
                    format!("{} runs backwards: cron takes it, and selects nothing by it", shown(range)),
                    format!("if it was meant to go round, write {},{}", side(first, self.top()), side(low, last)),
                );
                odd.push((self.span(start), told));
                return Some(());
            }
            format!("{first}-{last}")
        };
        match self.step(odd)? {
            Some(step) => read.items.push(format!("{base}/{step}")),
            None => read.items.push(base),
        }
        Some(())
    }

    /// `A~B`, `~B`, `A~` or `~`: cronie picks one of them when it reads the file.
    fn pick(&mut self, start: usize, low: u32, read: &mut Items, odd: &mut Vec<(Range<usize>, Told)>) -> Option<()> {
        self.takes('~');
        let named = self.rest().starts_with(|c: char| c.is_ascii_alphanumeric());
        let high = if named { self.number(odd)? } else { self.top() };
        if low > high || self.rest().starts_with('/') {
            return None;
        }
        let text = self.word.text.get(start..self.at).unwrap_or_default();
        let alone = text == self.word.text && self.field.name == MINUTE.name;
        let (number, how) = if alone {
            read.spread = Some(high - low);
            (low, format!("jitter = \"{}m\" spreads it over the same minutes, by the names of app and job", high - low))
        } else {
            let number = low + u32::try_from(self.seed % u64::from(high - low + 1)).ok()?;
            (number, format!("{number} was picked here, by the text of the line; change it as you like"))
        };
        read.items.push(number.to_string());
        let message = format!("{} is one number that cronie picks when it reads the file", shown(text));
        odd.push((self.span(start), Told::new(message, format!("{how}; Debian's cron does not know it"))));
        Some(())
    }

    /// The highest number that `*` stands for, once.
    fn top(&self) -> u32 {
        if self.field.name == WEEKDAY.name { 6 } else { self.field.range.1 }
    }

    /// `/N`, where there is one.
    fn step(&mut self, odd: &mut Vec<(Range<usize>, Told)>) -> Option<Option<u32>> {
        if !self.takes('/') {
            return Some(None);
        }
        let (start, word) = self.word_here()?;
        let step = self.digits(start, word, odd)?;
        u32::try_from(step).ok().filter(|step| *step > 0).map(Some)
    }

    /// A number or a name within the field.
    fn number(&mut self, odd: &mut Vec<(Range<usize>, Told)>) -> Option<u32> {
        let (start, word) = self.word_here()?;
        let (low, high) = self.field.range;
        if let Some(at) = self.field.names.iter().position(|name| name.eq_ignore_ascii_case(word)) {
            return u32::try_from(at).ok().map(|at| low + at);
        }
        let number = self.digits(start, word, odd)?;
        u32::try_from(number).ok().filter(|number| (low..=high).contains(number))
    }

    /// Letters and digits from here on, which are passed.
    fn word_here(&mut self) -> Option<(usize, &'r str)> {
        let start = self.at;
        let rest = self.word.text.get(start..)?;
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).filter(|word| !word.is_empty()).map(|word| (start, word))
    }

    /// As `atoi` reads them.
    fn digits(&self, start: usize, word: &str, odd: &mut Vec<(Range<usize>, Told)>) -> Option<i32> {
        if !word.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // More than 64 bits is the largest number of 64 bits, and then the lower half of it counts.
        let wide = word.parse::<i64>().unwrap_or(i64::MAX);
        let number = wide as i32;
        if i64::from(number) != wide {
            let told = Told::new(format!("cron reads {} as {number}", shown(word)), "write the number that is meant");
            odd.push((self.word.at + start..self.word.at + start + word.len(), told));
        }
        Some(number)
    }

    fn rest(&self) -> &str {
        self.word.text.get(self.at..).unwrap_or_default()
    }

    fn takes(&mut self, c: char) -> bool {
        let there = self.rest().starts_with(c);
        if there {
            self.at += c.len_utf8();
        }
        there
    }

    /// From a place in the field to where the reader is; to the end of the field where it is there.
    fn span(&self, start: usize) -> Range<usize> {
        let end = if start == self.at { self.word.text.len() } else { self.at };
        self.word.at + start..self.word.at + end
    }
}
