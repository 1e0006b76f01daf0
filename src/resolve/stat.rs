//! The numbers of `/proc/PID/stat` that are asked for of every writer (`proc_pid_stat(5)`).

use std::io;

use super::beginning;

/// Whose child a process is, of how many threads, and since when it runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) ppid: u32,
    pub(super) threads: u32,
    /// Clock ticks since boot.
    pub(super) start_time: u64,
}

impl Stat {
    pub(super) fn read(pid: u32) -> io::Result<Self> {
        beginning::read(pid, "stat", "numbers behind the name", Self::parse)
    }

    /// The name is in brackets, and holds whatever bytes the process chose: brackets and blanks, too.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(bytes.get(end + 1..)?).ok()?.split_ascii_whitespace();
        let ppid = fields.nth(1)?.parse().ok()?; // behind the state
        let threads = fields.nth(15)?.parse().ok()?; // the 20th of all
        let start_time = fields.nth(1)?.parse().ok()?; // the 22nd
        Some(Stat { ppid, threads, start_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_the_end_of_a_name() {
        let stat = b"77 (a) R 9 b) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 98 97\n";
        assert_eq!(Stat::parse(stat), Some(Stat { ppid: 1, threads: 1, start_time: 4242 }));
        for cut in [b"77 (a) S 1".as_slice(), b"77 (a", b"", b"77 (a) S one"] {
            assert_eq!(Stat::parse(cut), None);
        }
    }

    #[test]
    fn ourselves() {
        let stat = Stat::read(std::process::id()).unwrap();
        let told = procfs::process::Process::myself().and_then(|process| process.stat()).unwrap();
        assert_eq!((stat.ppid, stat.start_time), (told.ppid.cast_unsigned(), told.starttime));
        assert!(stat.threads >= 2, "tests have threads of their own");
    }
}
