//! What a process has used, read from `/proc`.

use std::{fs, io};

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Clock ticks in user mode, all threads.
    pub user_ticks: u64,
    /// Clock ticks in the kernel, all threads.
    pub system_ticks: u64,
    /// Context switches of all threads that still run.
    pub switches: u64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// When the process started, in ticks since boot: a process identifier alone may be used again.
    pub started_ticks: u64,
}

/// Reads the usage of a process.
///
/// # Errors
/// The process is gone, or is somebody else's.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let folder = format!("/proc/{pid}");
    let stat = fs::read_to_string(format!("{folder}/stat"))?;
    let mut usage = parse_stat(&stat).ok_or_else(|| unreadable("stat"))?;
    usage.resident_bytes = match fs::read_to_string(format!("{folder}/smaps_rollup")).ok().as_deref().map(parse_rollup)
    {
        Some(Some(bytes)) => bytes,
        // Exact figures are for the owner; the rounded ones are for everybody.
        _ => {
            let statm = fs::read_to_string(format!("{folder}/statm"))?;
            parse_statm(&statm, rustix::param::page_size() as u64).ok_or_else(|| unreadable("statm"))?
        }
    };
    for task in fs::read_dir(format!("{folder}/task"))? {
        // A thread that ends meanwhile takes its count with it.
        let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        usage.switches += parse_switches(&status);
    }
    Ok(usage)
}

/// Seconds of a number of clock ticks.
#[must_use]
pub fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/PID/{file} has an unknown form"))
}

/// proc_pid_stat(5): fields 14, 15 and 22. The second, the name in parentheses, may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Usage> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user_ticks = fields.next()?.parse().ok()?;
    let system_ticks = fields.next()?.parse().ok()?;
    let started_ticks = fields.nth(6)?.parse().ok()?;
    Some(Usage { user_ticks, system_ticks, started_ticks, ..Usage::default() })
}

/// proc_pid_smaps(5): the line `Rss: … kB`.
fn parse_rollup(rollup: &str) -> Option<u64> {
    let kib: u64 =
        rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// proc_pid_statm(5): the second field, in pages.
fn parse_statm(statm: &str, page_bytes: u64) -> Option<u64> {
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_bytes)
}

/// proc_pid_status(5): voluntary and involuntary.
fn parse_switches(status: &str) -> u64 {
    let counts = status.lines().filter(|line| line.contains("ctxt_switches:"));
    counts.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 1103 0 0 0 187 46 0 0 20 0 3 0 880123 310992896 2101 \
                        18446744073709551615 1 1 0 0 0 0 0 4096 17642 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";

    #[test]
    fn stat_with_parentheses_in_the_name() {
        let usage = parse_stat(STAT).unwrap();
        assert_eq!((usage.user_ticks, usage.system_ticks, usage.started_ticks), (187, 46, 880_123));
    }

    #[test]
    fn what_is_cut_short_is_not_guessed() {
        assert_eq!(parse_stat("4242 (name) S 1 2 3"), None);
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_rollup("Pss: 12 kB\n"), None);
        assert_eq!(parse_rollup("Rss: many kB\n"), None);
        assert_eq!(parse_statm("7", 4096), None);
    }

    #[test]
    fn memory_in_kibibytes_and_in_pages() {
        let rollup = "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:               10972 kB\nPss:    9000 kB\n";
        assert_eq!(parse_rollup(rollup), Some(10_972 * 1024));
        assert_eq!(parse_statm("75926 2743 1503 1 0 9321 0\n", 4096), Some(2743 * 4096));
    }

    #[test]
    fn both_kinds_of_switches_count() {
        assert_eq!(parse_switches("Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n"), 695);
    }

    #[test]
    fn this_process_has_used_something() {
        let this = usage(std::process::id()).unwrap();
        assert!(this.resident_bytes > 100_000 && this.started_ticks > 0, "{this:?}");
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(usage(pid).is_err());
    }
}
