//! The resources that a process has used, from /proc.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A process at one moment.
pub(crate) struct Snapshot {
    pub(crate) taken: Instant,
    /// Of all threads there ever were, but counted in ticks of the kernel (10 ms).
    ticked_cpu: Duration,
    /// Of the threads there are now, to the nanosecond.
    threads: HashMap<u32, Thread>,
    rss_kib: u64,
}

#[derive(Clone, Copy, Default)]
struct Thread {
    cpu: Duration,
    context_switches: u64,
}

/// The resources that a process used between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    /// Voluntary or not, of the threads that were there at the end.
    pub(crate) context_switches: u64,
    /// Memory at the end.
    pub(crate) rss_kib: u64,
}

/// The error of the ticks: one at each end, and some for threads on other cores.
const TICKS_TOLERANCE: Duration = Duration::from_millis(40);

impl Snapshot {
    pub(crate) fn take(pid: u32) -> Result<Self> {
        let mut threads = HashMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).context("the server is gone")? {
            let path = entry?.path();
            let id = path.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or_default();
            // A thread may end between being listed and being read.
            if let (Ok(schedstat), Ok(status)) =
                (fs::read_to_string(path.join("schedstat")), fs::read_to_string(path.join("status")))
            {
                threads.insert(id, Thread::parse(&schedstat, &status));
            }
        }
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}"))
                .with_context(|| format!("cannot read {file} of the server in /proc"))
        };
        Ok(Self {
            taken: Instant::now(),
            ticked_cpu: ticked_cpu(&read("stat")?, rustix::param::clock_ticks_per_second()),
            threads,
            rss_kib: field(&read("status")?, "VmRSS"),
        })
    }

    pub(crate) fn rss_kib(&self) -> u64 {
        self.rss_kib
    }

    pub(crate) fn until(&self, later: &Self) -> Usage {
        let (mut cpu, mut context_switches) = (Duration::ZERO, 0);
        for (id, thread) in &later.threads {
            let before = self.threads.get(id).copied().unwrap_or_default();
            cpu += thread.cpu.saturating_sub(before.cpu);
            context_switches += thread.context_switches.saturating_sub(before.context_switches);
        }
        // Threads that ended in between took their exact times with them; the ticks of the process have them.
        let ticked = later.ticked_cpu.saturating_sub(self.ticked_cpu);
        if ticked > cpu + TICKS_TOLERANCE {
            cpu = ticked;
        }
        Usage {
            elapsed: later.taken.duration_since(self.taken),
            cpu,
            context_switches,
            rss_kib: later.rss_kib,
        }
    }
}

impl Thread {
    fn parse(schedstat: &str, status: &str) -> Self {
        let cpu_ns = schedstat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or_default();
        Self {
            cpu: Duration::from_nanos(cpu_ns),
            context_switches: field(status, "voluntary_ctxt_switches")
                + field(status, "nonvoluntary_ctxt_switches"),
        }
    }
}

/// User and system time in `/proc/PID/stat`. The program's name, in parentheses, may hold anything.
fn ticked_cpu(stat: &str, ticks_per_second: u64) -> Duration {
    // After the name come the state and ten more; see proc_pid_stat(5).
    let times = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / ticks_per_second.max(1))
}

/// The number in a line such as `VmRSS:   5120 kB`; 0 if it is missing.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| *found == name)
        .and_then(|(_, value)| value.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "VmRSS:\t  5120 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(field(status, "VmRSS"), 5120);
        assert_eq!(field(status, "VmSwap"), 0);
        let thread = Thread::parse("1500000 20 3\n", status);
        assert_eq!((thread.cpu, thread.context_switches), (Duration::from_micros(1500), 9));
    }

    #[test]
    fn ticks_are_user_and_system_time() {
        let stat = "17 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(ticked_cpu(stat, 100), Duration::from_secs(3));
    }

    fn snapshot(ticked_ms: u64, threads: &[(u32, u64)]) -> Snapshot {
        let thread = |&(id, cpu_ms): &(u32, u64)| {
            (id, Thread { cpu: Duration::from_millis(cpu_ms), context_switches: cpu_ms })
        };
        Snapshot {
            taken: Instant::now(),
            ticked_cpu: Duration::from_millis(ticked_ms),
            threads: threads.iter().map(thread).collect(),
            rss_kib: 0,
        }
    }

    #[test]
    fn exact_times_count_unless_threads_have_ended() {
        let before = snapshot(1000, &[(1, 600), (2, 400)]);
        let exact = before.until(&snapshot(1500, &[(1, 900), (2, 603), (3, 5)]));
        assert_eq!((exact.cpu, exact.context_switches), (Duration::from_millis(508), 508));
        let ended = before.until(&snapshot(1500, &[(1, 900)]));
        assert_eq!(ended.cpu, Duration::from_millis(500));
    }

    #[test]
    fn we_can_be_read_ourselves() {
        let before = Snapshot::take(std::process::id()).unwrap();
        assert!(before.rss_kib() > 0 && !before.threads.is_empty());
        let usage = before.until(&Snapshot::take(std::process::id()).unwrap());
        assert!(usage.cpu < Duration::from_secs(10));
    }
}
