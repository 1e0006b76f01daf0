//! What a blocked opener wants: the flags of the system call that it sleeps in.
//!
//! A permission event does not tell them, `/proc/TID/syscall` does (proc_pid_syscall(5)): the opener cannot change its
//! registers while it sleeps in the kernel. Where the flags are not in a register (openat2 passes a pointer, io_uring
//! a ring), the answer is unknown, and the gate takes unknown for writing.

use std::fs;
use std::time::{Duration, Instant};

/// What the opener wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Only to read.
    Read,
    /// To write, to create or to truncate.
    Write {
        /// `O_TRUNC`: nothing of the old content remains.
        truncate: bool,
    },
    /// The system call does not say.
    Unknown,
}

/// How long to let a task run between two looks, if it has not gone to sleep yet.
const PAUSE: Duration = Duration::from_micros(50);

/// What thread `tid` wants with the file that it waits for.
///
/// The event is queued before its opener goes to sleep; on a busy machine it may be a while until the opener gets the
/// processor for that. It is given until `until`.
#[must_use]
pub fn intent(tid: u32, until: Instant) -> Intent {
    let path = format!("/proc/{tid}/syscall");
    loop {
        match fs::read_to_string(&path) {
            Ok(line) if line.starts_with("running") && Instant::now() < until => std::thread::sleep(PAUSE),
            Ok(line) => return parse(&line),
            Err(_) => return Intent::Unknown,
        }
    }
}

/// Parses a line of `/proc/TID/syscall`: number in decimal, then six arguments in hexadecimal.
///
/// A 32-bit task on a 64-bit kernel shows 32-bit call numbers, which mean other calls here; none of these takes a
/// guarded file to this point with flags where this looks for them, except to answer unknown.
fn parse(line: &str) -> Intent {
    let mut fields = line.split_ascii_whitespace();
    let number = fields.next().and_then(|field| field.parse::<i64>().ok());
    let args: Vec<u64> = fields.map_while(|field| u64::from_str_radix(field.strip_prefix("0x")?, 16).ok()).collect();
    let flags = match number {
        Some(libc::SYS_openat) => args.get(2),
        Some(libc::SYS_open_by_handle_at) => args.get(2),
        #[cfg(target_arch = "x86_64")]
        Some(libc::SYS_open) => args.get(1),
        #[cfg(target_arch = "x86_64")]
        Some(libc::SYS_creat) => return Intent::Write { truncate: true },
        _ => None,
    };
    let Some(flags) = flags else { return Intent::Unknown };
    let has = |flag: libc::c_int| flags & u64::from(flag.cast_unsigned()) != 0;
    // Access mode 3 asks for both permissions and gives neither; it is no way to read.
    if has(libc::O_ACCMODE) || has(libc::O_TRUNC) {
        Intent::Write { truncate: has(libc::O_TRUNC) }
    } else {
        Intent::Read
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_calls_that_open_files() {
        for (line, intent) in [
            ("257 0xffffff9c 0x7ffc 0x80000 0x0 0x0 0x0 0x7ffd 0x7f12", Intent::Read),
            ("257 0xffffff9c 0x7ffc 0x80241 0x1b6 0x0 0x0 0x7ffd 0x7f12", Intent::Write { truncate: true }),
            ("257 0xffffff9c 0x7ffc 0x1 0x0 0x0 0x0 0x7ffd 0x7f12", Intent::Write { truncate: false }),
            ("257 0xffffff9c 0x7ffc 0x200 0x0 0x0 0x0 0x7ffd 0x7f12", Intent::Write { truncate: true }),
            ("257 0xffffff9c 0x7ffc 0x3 0x0 0x0 0x0 0x7ffd 0x7f12", Intent::Write { truncate: false }),
            ("2 0x7ffc 0x0 0x1b6 0x0 0x0 0x0 0x7ffd 0x7f12", Intent::Read),
            ("2 0x7ffc 0x2 0x1b6 0x0 0x0 0x0 0x7ffd 0x7f12", Intent::Write { truncate: false }),
            ("85 0x7ffc 0x1b6 0x0 0x0 0x0 0x0 0x7ffd 0x7f12", Intent::Write { truncate: true }),
            ("437 0xffffff9c 0x7ffc 0x7ffd 0x18 0x0 0x0 0x7ffd 0x7f12", Intent::Unknown),
            ("426 0x3 0x1 0x0 0x0 0x0 0x0 0x7ffd 0x7f12", Intent::Unknown),
            ("59 0x7ffc 0x7ffc 0x7ffc 0x0 0x0 0x0 0x7ffd 0x7f12", Intent::Unknown),
            ("-1 0x7ffd 0x7f12", Intent::Unknown),
            ("running\n", Intent::Unknown),
            ("257 0xffffff9c", Intent::Unknown),
            ("", Intent::Unknown),
        ] {
            assert_eq!(parse(line), intent, "{line}");
        }
    }

    proptest! {
        #[test]
        fn total_on_any_line(line in ".{0,80}") {
            let _ = parse(&line);
        }
    }
}
