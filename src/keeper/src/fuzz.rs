//! For the fuzz targets only (`--cfg fuzzing`): the parts that read what others wrote, without a kernel.

use crate::outbox;
use crate::step::{Effect, Input, step};
use crate::table::Table;
use crate::{notify, step};
use svd_sys::clock::Now;
use svd_wire::{Exit, MAX_MESSAGE, NotifyState, Rusage, SpawnId, Stamp, decode_request, encode_report};

/// A datagram, of which the first byte says how many descriptors came with it.
pub fn notify(data: &[u8]) {
    let Some((fds, datagram)) = data.split_first() else { return };
    let mut state = NotifyState::default();
    if let Some(said) = notify::parse(datagram, usize::from(fds % 5)) {
        notify::take(&mut state, &said, Stamp { boot_ns: 1, real_ns: 1 });
        let before = state.clone();
        assert!(!notify::is_news(&before, &state));
    }
}

/// A conversation: each part is a kind, a length of two bytes and as many bytes.
pub fn conversation(mut data: &[u8]) {
    let mut table = Table::new([7; 16], 1);
    let mut now = Now::default();
    let mut pids: Vec<i32> = Vec::new();
    let mut next_pid = 1000;
    let mut last = 0;
    let mut take = |table: &mut Table, input: Input, now: Now, pids: &mut Vec<i32>| {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in step(table, input, now) {
                let mut pid = || {
                    next_pid += 1;
                    pids.push(next_pid);
                    next_pid
                };
                match effect {
                    Effect::StartManager(_) => inputs.push(Input::ManagerStarted { pid: pid() }),
                    Effect::Fork(spawn, _) => inputs.push(Input::Forked { spawn, pid: pid() }),
                    Effect::TryProgram => inputs.push(Input::TrialStarted(Ok(pid()))),
                    Effect::Become => inputs.push(Input::NotBecome { why: "fuzz".into() }),
                    _ => {}
                }
            }
        }
    };
    take(&mut table, Input::Tick, now, &mut pids);
    while let [kind, low, high, rest @ ..] = data {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (part, after) = rest.split_at(length);
        data = after;
        now.mono_ns += 1_000_000;
        let number = part.first().map_or(0, |byte| usize::from(*byte));
        let of = |pids: &[i32]| pids.get(number % pids.len().max(1)).copied();
        let input = match kind % 8 {
            0..=2 => {
                let fds = usize::from(kind / 8) % 4;
                match decode_request(part, fds) {
                    Ok((_, request)) => Input::Request { request, fds },
                    Err(_) => Input::Malformed,
                }
            }
            3 => Input::HungUp,
            4 => match of(&pids) {
                Some(pid) => {
                    pids.retain(|other| *other != pid);
                    Input::Reaped { pid, exit: Exit::Code(number as u8), rusage: Rusage::default() }
                }
                None => Input::Knock,
            },
            5 => Input::Execed { spawn: SpawnId(number as u64) },
            6 => Input::Signal(i32::from(*kind / 8)),
            _ => {
                now.mono_ns += number as u64 * 1_000_000_000;
                Input::Tick
            }
        };
        take(&mut table, input, now, &mut pids);
        while let Some(message) = outbox::next(&table, now.mono_ns) {
            let bytes = encode_report(&message.report, message.fds.len()).expect("what is told can be written");
            assert!(bytes.len() <= MAX_MESSAGE);
            outbox::sent(&mut table, message.item, now);
        }
        assert!(table.last_seq >= last, "reports are numbered upwards");
        last = table.last_seq;
        let _deadline = step::next_deadline(&table);
    }
}
