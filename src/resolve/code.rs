//! Whose code is in a process: who could have written what it has mapped executable.
//!
//! Which executable a process has is a note of the kernel's that the process can have rewritten (`prctl(2)`,
//! `PR_SET_MM_MAP`), in its own user namespace or by a child that shares its memory and makes one. The code that did it
//! must be somewhere. This does not find code that was put together from pieces of trusted libraries.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::program::writers_of;
use crate::model::Writers;

/// Far more than an installer has; what is longer counts as anybody's.
const MAX_MAPS: u64 = 1024 * 1024;
/// Code that the kernel maps, under names that no process can give (names for anonymous memory begin with `[anon:`).
const KERNELS: [&str; 2] = ["[vdso]", "[vsyscall]"];

/// Who, beside root, could have written the code that a thread's process can run.
pub(super) fn writers_of_code(tid: u32) -> io::Result<Writers> {
    let mut maps = String::new();
    fs::File::open(format!("/proc/{tid}/maps"))?.take(MAX_MAPS).read_to_string(&mut maps)?;
    if maps.len() as u64 == MAX_MAPS {
        return Ok(Writers::Others);
    }
    let mut all = Writers::Root;
    for (range, name) in maps.lines().filter_map(executable) {
        if KERNELS.contains(&name) {
            continue;
        }
        // The link leads to the file itself, whatever name it has by now; anonymous memory has none.
        let link = format!("/proc/{tid}/map_files/{range}");
        let (Ok(file), Ok(path)) = (fs::metadata(&link), fs::read_link(&link)) else { return Ok(Writers::Others) };
        all = all.and(writers_of(Path::new("/"), &path, &file));
    }
    Ok(all)
}

/// The address range and the name of a line of `/proc/PID/maps` (proc_pid_maps(5)) that can be executed.
fn executable(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (range, mode) = (words.next()?, words.next()?);
    mode.contains('x').then(|| (range, words.nth(3).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let code = "7f00-7f10 r-xp 00001000 fe:00 42                         /usr/lib/x y.so (deleted)";
        assert_eq!(executable(code), Some(("7f00-7f10", "/usr/lib/x")));
        assert_eq!(executable("7f00-7f10 rwxp 00000000 00:00 0 "), Some(("7f00-7f10", "")));
        assert_eq!(
            executable("ff60-ff61 --xp 00000000 00:00 0                  [vsyscall]"),
            Some(("ff60-ff61", "[vsyscall]"))
        );
        assert_eq!(executable("7f00-7f10 rw-p 00000000 00:00 0 [heap]"), None);
        assert_eq!(executable(""), None);
    }

    #[test]
    fn a_program_of_the_distribution_has_only_roots_code() {
        let mut sleep = std::process::Command::new("/usr/bin/sleep").env_clear().arg("60").spawn().unwrap();
        let found = writers_of_code(sleep.id());
        sleep.kill().unwrap();
        sleep.wait().unwrap();
        assert_eq!(found.unwrap(), Writers::Root);
    }
}
