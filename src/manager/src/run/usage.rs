//! CPU and memory of the instances' trees, sampled only while somebody looks.

use std::collections::{BTreeMap, HashMap};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Over less time than this, milliseconds, a share of the processor says nothing: the kernel counts in hundredths of a
/// second, and ages in whole ones.
const SHORTEST: u64 = 1_000;

/// What one tree uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Taken {
    /// 100 is one core, since the last look; at the first, since it was started.
    pub cpu_percent: f32,
    /// Resident memory, bytes; pages that processes share count for each.
    pub memory_bytes: u64,
}

/// Remembers the last look, and nothing more: the process list itself is dropped again.
#[derive(Debug, Default)]
pub struct UsageSampler {
    /// By main process: CPU milliseconds, and when (boot time, ns).
    last: HashMap<i32, (u64, u64)>,
}

impl UsageSampler {
    /// Looks at the trees below these main processes.
    pub fn sample(&mut self, mains: &[i32]) -> BTreeMap<i32, Taken> {
        let mut system = System::new();
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        let now = svd_sys::clock::now().boot_ns;
        let mut sums: BTreeMap<i32, (u64, u64, u64)> = mains.iter().map(|main| (*main, (0, 0, 0))).collect();
        for process in system.processes().values() {
            let Some(main) = main_of(&system, process.pid(), |pid| sums.contains_key(&pid)) else { continue };
            if let Some((cpu, memory, age)) = sums.get_mut(&main) {
                *cpu = cpu.saturating_add(process.accumulated_cpu_time());
                *memory = memory.saturating_add(process.memory());
                if process.pid().as_u32().cast_signed() == main {
                    *age = process.run_time().saturating_mul(1000);
                }
            }
        }
        let mut taken = BTreeMap::new();
        let mut looked = HashMap::new();
        for (main, (cpu, memory_bytes, age)) in sums {
            let (spent, elapsed) = match self.last.get(&main) {
                Some((before, at)) => (cpu.saturating_sub(*before), now.saturating_sub(*at) / 1_000_000),
                None => (cpu, age),
            };
            let cpu_percent = spent as f32 * 100.0 / elapsed.max(SHORTEST) as f32;
            looked.insert(main, (cpu, now));
            taken.insert(main, Taken { cpu_percent, memory_bytes });
        }
        self.last = looked;
        taken
    }
}

/// Resident memory of the trees below these main processes, bytes; pages that processes share count for each.
pub fn memory(mains: &[i32]) -> BTreeMap<i32, u64> {
    let mut system = System::new();
    let kind = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    let mut sums: BTreeMap<i32, u64> = mains.iter().map(|main| (*main, 0)).collect();
    for process in system.processes().values() {
        let Some(main) = main_of(&system, process.pid(), |pid| sums.contains_key(&pid)) else { continue };
        if let Some(sum) = sums.get_mut(&main) {
            *sum = sum.saturating_add(process.memory());
        }
    }
    sums
}

/// The main process that this one descends from, itself included.
fn main_of(system: &System, pid: Pid, is_main: impl Fn(i32) -> bool) -> Option<i32> {
    let mut at = pid;
    // A tree deeper than this is not followed; also the end of a loop in a list that changed while it was read.
    for _ in 0..64 {
        let number = at.as_u32().cast_signed();
        if is_main(number) {
            return Some(number);
        }
        at = system.process(at)?.parent()?;
    }
    None
}
