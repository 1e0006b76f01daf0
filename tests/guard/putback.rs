//! How soon a replaced approved file is back, with what, and what a reader sees meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Config, SOON};
use crate::site::{Place, Stopper};

/// Everything about a file that an approval keeps.
#[derive(Debug, PartialEq)]
struct Whole {
    bytes: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Whole {
    fn of(file: &Path) -> io::Result<Whole> {
        let metadata = fs::metadata(file)?;
        let mut attributes = BTreeMap::new();
        for name in xattr::list(file)? {
            let value = xattr::get(file, &name)?.unwrap_or_default();
            attributes.insert(name.as_bytes().to_vec(), value);
        }
        Ok(Whole {
            bytes: fs::read(file)?,
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            attributes,
        })
    }
}

/// An owner, a mode, an access list, a capability, an attribute of its owner's and a time of its own.
fn dress(file: &Path) {
    chown(file, Some(1234), Some(2345)).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
    // setfacl -m u:4321:r: version 2, then tag, permissions and id of each entry; acl(5).
    let entry = |tag: u16, permissions: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
    };
    let nobody = u32::MAX;
    let entries = [(1, 6, nobody), (2, 4, 4321), (4, 4, nobody), (0x10, 4, nobody), (0x20, 0, nobody)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    entries.iter().for_each(|(tag, permissions, id)| acl.extend(entry(*tag, *permissions, *id)));
    xattr::set(file, "system.posix_acl_access", &acl).unwrap();
    // setcap cap_net_bind_service+ep: revision 2 with the effective bit, permitted, inheritable; capabilities(7).
    let mut capability = 0x0200_0001_u32.to_le_bytes().to_vec();
    capability.extend([0x400_u32, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    xattr::set(file, "security.capability", &capability).unwrap();
    xattr::set(file, "user.origin", b"the package").unwrap();
    let before = std::time::SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    fs::File::options().append(true).open(file).unwrap().set_modified(before).unwrap();
}

/// `mv -f evil victim.pth`, again and again, beside a reader: what it reads is the approved file or nothing.
#[test]
fn a_replaced_file_is_back_whole_and_was_never_another() {
    let rounds = std::env::var("PTHGUARD_PUTBACK").map_or(200, |rounds| rounds.parse().unwrap());
    let place = Place::new();
    let (victim, evil) = (place.venvs[0].site.join("victim.pth"), place.outside.join("evil"));
    dress(&victim);
    let before = Whole::of(&victim).unwrap();
    assert_eq!(before.attributes.len(), 3, "blocked: this file system keeps no attributes");
    let mut guard = Config::new(&place).start();
    let stop = AtomicBool::new(false);
    let (mut times, mut reads) = (Vec::new(), [0_u64; 3]);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = [0_u64; 3];
            while !stop.load(Ordering::SeqCst) {
                match fs::read(&victim) {
                    Ok(bytes) => {
                        assert!(bytes == before.bytes, "{:?} was read", String::from_utf8_lossy(&bytes));
                        reads[0] += 1;
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => reads[1] += 1,
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
                        reads[2] += 1;
                    }
                }
            }
            reads
        });
        let stopper = Stopper(&stop);
        for round in 0..rounds {
            fs::write(&evil, place.payload()).unwrap();
            let begin = Instant::now();
            fs::rename(&evil, &victim).unwrap();
            // The inode's number may be the same again.
            while !fs::symlink_metadata(&victim).is_ok_and(|now| now.mtime() == before.modified.0) {
                assert!(begin.elapsed() < SOON, "round {round}: it is not back");
                thread::sleep(Duration::from_micros(50));
            }
            times.push(begin.elapsed());
            assert_eq!(Whole::of(&victim).unwrap(), before, "round {round}");
        }
        drop(stopper);
        reads = reader.join().unwrap();
    });
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!(
        "{rounds} replacements, back after {:?} at the median, {:?} p90, {:?} p99, {:?} at most; the reader got it {} \
         times, found nothing {} times, was denied {} times",
        at(50),
        at(90),
        at(99),
        at(100),
        reads[0],
        reads[1],
        reads[2]
    );
    assert!(reads[0] > 0, "the reader never got it");
    let start = place.start(&place.venvs[0]);
    assert!(!start.canary && start.victim && start.keep && start.clean, "{start:?}");
    guard.assert_alive();
}
