//! What a blocked opener wants: the flags of the system call that it sleeps in.
//!
//! A permission event does not tell them. Where the flags are not in a register (openat2 passes a pointer, io_uring
//! a ring), the answer is unknown, and the gate takes unknown for writing.

use std::time::Instant;

use super::call::Call;

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

/// What thread `tid` wants with the file that it waits for; it is given until `until` to go to sleep.
#[must_use]
pub fn intent(tid: u32, until: Instant) -> Intent {
    Call::of(tid, until).map_or(Intent::Unknown, |call| intent_of(&call))
}

/// None of the calls that a 32-bit task's numbers are taken for takes a guarded file to this point with flags where this
/// looks for them, except to answer unknown.
fn intent_of(call: &Call) -> Intent {
    let flags = match call.number {
        libc::SYS_openat | libc::SYS_open_by_handle_at => call.arg(2),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => call.arg(1),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => return Intent::Write { truncate: true },
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

    fn parse(line: &str) -> Intent {
        Call::parse(line).map_or(Intent::Unknown, |call| intent_of(&call))
    }

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
