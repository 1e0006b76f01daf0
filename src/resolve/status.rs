//! The lines of `/proc/PID/status` that identify a process (`proc_pid_status(5)`). Read raw: the name line holds whatever
//! bytes the process chose.

use std::io::Read;

use procfs::process::Process;

use crate::model::Uids;

/// Far more than the kernel writes.
const MAX_STATUS: u64 = 64 * 1024;

/// What identifies a process.
pub(super) struct Status {
    pub(super) tgid: u32,
    pub(super) ppid: u32,
    /// The process that traces this one, 0 for none.
    pub(super) tracer: u32,
    pub(super) uids: Uids,
}

impl Status {
    pub(super) fn read(process: &Process) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut bytes = Vec::new();
        process.open_relative("status")?.take(MAX_STATUS).read_to_end(&mut bytes)?;
        Self::parse(&bytes).ok_or_else(|| "no Tgid, PPid, TracerPid and Uid lines".into())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut tgid, mut ppid, mut tracer, mut uids) = (None, None, None, None);
        for line in bytes.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let Some((key, value)) = line.split_once(':') else { continue };
            let mut numbers = value.split_ascii_whitespace().map_while(|word| word.parse::<u32>().ok());
            match key {
                "Tgid" => tgid = numbers.next(),
                "PPid" => ppid = numbers.next(),
                "TracerPid" => tracer = numbers.next(),
                "Uid" => {
                    uids = Some(Uids {
                        real: numbers.next()?,
                        effective: numbers.next()?,
                        saved: numbers.next()?,
                        fs: numbers.next()?,
                    });
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
