//! The system call that a blocked thread sleeps in: `/proc/TID/syscall` (proc_pid_syscall(5)). The thread cannot change its
//! registers while it sleeps in the kernel.

use std::time::{Duration, Instant};

use super::beginning;

/// How long to let a task run between two looks, if it has not gone to sleep yet.
const PAUSE: Duration = Duration::from_micros(50);

/// A system call with its arguments.
///
/// A 32-bit task on a 64-bit kernel shows 32-bit numbers, which mean other calls here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: i64,
    pub(super) args: Vec<u64>,
}

impl Call {
    /// The call that thread `tid` waits in.
    ///
    /// An event is queued before its author goes to sleep; on a busy machine it may be a while until that gets the
    /// processor for it. It is given until `until`.
    pub(super) fn of(tid: u32, until: Instant) -> Option<Self> {
        loop {
            let line = beginning::read(tid, "syscall", "line", |line| Some(std::str::from_utf8(line).ok()?.to_owned()));
            match line {
                Ok(line) if line.starts_with("running") && Instant::now() < until => std::thread::sleep(PAUSE),
                Ok(line) => return Call::parse(&line),
                Err(_) => return None,
            }
        }
    }

    /// Parses a line: the number in decimal, then six arguments in hexadecimal.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let number = fields.next().and_then(|field| field.parse().ok())?;
        let args = fields.map_while(|field| u64::from_str_radix(field.strip_prefix("0x")?, 16).ok()).collect();
        Some(Call { number, args })
    }

    pub(super) fn arg(&self, number: usize) -> Option<u64> {
        self.args.get(number).copied()
    }
}
