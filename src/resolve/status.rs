//! The lines of `/proc/PID/status` that identify a process (`proc_pid_status(5)`). Read raw: the name line holds whatever
//! bytes the process chose.

use std::io;

use super::beginning;
use crate::model::Uids;

/// What identifies a process.
pub(super) struct Status {
    pub(super) tgid: u32,
    pub(super) ppid: u32,
    /// The process that traces this one, 0 for none.
    pub(super) tracer: u32,
    pub(super) uids: Uids,
}

impl Status {
    pub(super) fn read(tid: u32) -> io::Result<Self> {
        beginning::read(tid, "status", "Tgid, PPid, TracerPid and Uid lines", Self::parse)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut tgid, mut ppid, mut tracer, mut uids) = (None, None, None, None);
        for line in bytes.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (key, value) = line.split_at(colon);
            let numbers = || {
                let value = std::str::from_utf8(value.get(1..)?).ok()?;
                Some(value.split_ascii_whitespace().map_while(|word| word.parse::<u32>().ok()))
            };
            match key {
                b"Tgid" => tgid = numbers()?.next(),
                b"PPid" => ppid = numbers()?.next(),
                b"TracerPid" => tracer = numbers()?.next(),
                b"Uid" => {
                    let mut numbers = numbers()?;
                    uids = Some(Uids {
                        real: numbers.next()?,
                        effective: numbers.next()?,
                        saved: numbers.next()?,
                        fs: numbers.next()?,
                    });
                    break; // the last of them
                }
                _ => {}
            }
        }
        Some(Status { tgid: tgid?, ppid: ppid?, tracer: tracer?, uids: uids? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_line_of_any_bytes_hides_nothing() {
        let status = b"Name:\t\xff\\nUid: 9\nTgid:\t7\nPPid:\t1\nTracerPid:\t9\nUid:\t1\t2\t3\t4\n";
        let status = Status::parse(status).unwrap();
        assert_eq!((status.tgid, status.ppid, status.tracer), (7, 1, 9));
        assert_eq!(status.uids, Uids { real: 1, effective: 2, saved: 3, fs: 4 });
        assert!(Status::parse(b"Tgid:\t7\n").is_none());
    }
}
