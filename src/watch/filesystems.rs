//! Which mounts can be looked at without waiting for anybody but a disk.
//!
//! A FUSE file system answers when its owner likes, one on the network when the server does: a thread that touches one
//! can be stopped for ever, and with it everybody who waits for that thread. So the type of a mount is found in the
//! table of mounts *before* anything in it is opened; asking the file system itself (statfs(2)) asks the server.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

/// File systems without a block device that wait for nobody: memory, and what lies on disks by other ways.
const LOCAL: [&str; 10] =
    ["tmpfs", "ramfs", "rootfs", "overlay", "aufs", "zfs", "bcachefs", "ubifs", "jffs2", "devtmpfs"];
/// File systems with a block device whose locks are held by other hosts, or whose reads are answered by a process.
const SHARED: [&str; 3] = ["fuseblk", "gfs2", "ocfs2"];

/// A line of the table of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Type of its file system, without the part after a dot (`fuse.sshfs`).
    pub kind: String,
    /// Where it is mounted, as the reader of the table sees it.
    pub point: Vec<u8>,
    /// Major and minor number of its file system.
    pub device: (u32, u32),
}

/// The mounts of a namespace, by number.
#[derive(Debug)]
pub struct Mounts {
    table: HashMap<u64, Mount>,
    on_devices: HashSet<String>,
}

impl Mounts {
    /// Reads the caller's table.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn read() -> io::Result<Self> {
        Self::read_from(Path::new("/proc/thread-self/mountinfo"))
    }

    /// Reads a table of mounts, `/proc/PID/mountinfo` of some process.
    ///
    /// # Errors
    /// There is none: that process is gone.
    pub fn read_from(table: &Path) -> io::Result<Self> {
        let types = fs::read_to_string("/proc/filesystems")?;
        Ok(Mounts { table: parse(&fs::read(table)?), on_devices: on_devices(&types) })
    }

    /// The type of a mount's file system if it cannot be waited for, else `None`.
    #[must_use]
    pub fn remote(&self, mount: u64) -> Option<&str> {
        let Some(known) = self.table.get(&mount) else { return Some("unknown") };
        let kind = known.kind.as_str();
        let is_local = LOCAL.contains(&kind) || self.on_devices.contains(kind) && !SHARED.contains(&kind);
        (!is_local).then_some(kind)
    }

    /// Whether there is a mount of that number.
    #[must_use]
    pub fn contains(&self, mount: u64) -> bool {
        self.table.contains_key(&mount)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Mount)> {
        self.table.iter().map(|(number, mount)| (*number, mount))
    }
}

/// Types of file systems that need a block device, from `/proc/filesystems`.
fn on_devices(types: &str) -> HashSet<String> {
    types.lines().filter_map(|line| line.strip_prefix('\t')).map(str::to_owned).collect()
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELDS] - TYPE SOURCE OPTIONS`, proc_pid_mountinfo(5).
fn parse(table: &[u8]) -> HashMap<u64, Mount> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let (major, minor) = std::str::from_utf8(fields.nth(1)?).ok()?.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        let point = unescape(fields.nth(1)?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        let kind = kind.split(|byte| *byte == b'.').next()?;
        Some((number, Mount { kind: String::from_utf8_lossy(kind).into_owned(), point, device }))
    };
    table.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// Space, tab, line break and backslash are written as `\ooo`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        match octal.filter(|_| *first == b'\\') {
            Some(digits) => {
                bytes.push(digits.iter().fold(0_u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &[u8] = b"28 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        36 28 98:0 /mnt1 /mnt\\0402 rw master:1 shared:7 - ext3 /dev/root rw\n\
        40 28 0:50 / /home/u/x rw,nosuid - fuse.sshfs u@host:/ rw\n\
        41 28 0:51 / /net rw - nfs4 server:/ rw\n\
        42 28 0:52 / /run rw - tmpfs none rw\n";

    #[test]
    fn the_type_is_behind_the_fields_that_come_and_go() {
        let mounts =
            Mounts { table: parse(TABLE), on_devices: on_devices("nodev\ttmpfs\n\text4\n\text3\n\tfuseblk\n") };
        let remote = |mount| mounts.remote(mount);
        assert_eq!([remote(28), remote(36), remote(42)], [None; 3]);
        assert_eq!([remote(40), remote(41), remote(99)], [Some("fuse"), Some("nfs4"), Some("unknown")]);
        assert_eq!(mounts.table[&36].point, b"/mnt 2");
    }

    #[test]
    fn the_own_table_holds_the_root() {
        let mounts = Mounts::read().unwrap();
        let root = crate::fanotify::Known::of(fs::File::open("/").unwrap()).unwrap();
        assert!(mounts.contains(root.mount));
    }

    proptest! {
        #[test]
        fn total_on_any_table(table in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&table);
        }
    }
}
