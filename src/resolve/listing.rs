//! How far a blocked thread has read a directory.

use std::fs;
use std::time::Instant;

use super::call::Call;

/// Whether thread `tid`, which waits for the entries of a directory, has read none yet. `None` if that cannot be told.
#[must_use]
pub fn begins_to_list(tid: u32, until: Instant) -> Option<bool> {
    let call = Call::of(tid, until)?;
    let fd = match call.number {
        libc::SYS_getdents64 => call.arg(0)?,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_getdents => call.arg(0)?,
        _ => return None,
    };
    // The register is wider than a descriptor.
    let fd = u32::try_from(fd & 0xffff_ffff).ok()?;
    let about = fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}")).ok()?;
    position(&about).map(|position| position == 0)
}

/// `pos:` of `/proc/PID/fdinfo/FD` (proc_pid_fdinfo(5)).
fn position(about: &str) -> Option<u64> {
    about.lines().find_map(|line| line.strip_prefix("pos:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_of_a_descriptor() {
        assert_eq!(position("pos:\t0\nflags:\t0200000\nmnt_id:\t29\nino:\t2\n"), Some(0));
        assert_eq!(position("flags:\t02\npos:\t9223372036854775807\n"), Some(i64::MAX.cast_unsigned()));
        assert_eq!(position("flags:\t02\n"), None);
        assert_eq!(position("pos:\tx\n"), None);
    }

    #[test]
    fn who_lists_nothing_does_not_begin_to() {
        assert_eq!(begins_to_list(std::process::id(), Instant::now()), None);
        assert_eq!(begins_to_list(0, Instant::now()), None);
    }
}
