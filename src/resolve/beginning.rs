//! The beginning of a file in /proc, read with one system call: the kernel writes all of such a file anew for each.

use std::fs::File;
use std::io::{self, Read};

/// More than what is looked for takes up: the lines of `status` up to the user ids, with a name that is escaped; all of
/// `stat`, with its 52 numbers, and of `syscall`, with its nine.
const MOST: usize = 2048;

/// What `parse` makes of the beginning of `/proc/PID/NAME`.
///
/// # Errors
/// What open(2) and read(2) say, ESRCH for a process that ends; that `wanted` is not there.
pub(super) fn read<T>(
    pid: u32,
    name: &str,
    wanted: &'static str,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> io::Result<T> {
    let mut bytes = [0; MOST];
    let len = File::open(format!("/proc/{pid}/{name}"))?.read(&mut bytes)?;
    parse(&bytes[..len]).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no {wanted}")))
}
