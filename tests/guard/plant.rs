//! What an attack in the table of [`crate::ways`] has at hand, and what has to come of it.

use std::any::Any;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::site::{Place, Venv};
use crate::sys;

/// One way to get code into a startup file.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// What is tried, and the fact about the kernel that makes it worth trying.
    pub(crate) why: &'static str,
    /// The startup file that holds the payload afterwards.
    pub(crate) file: &'static [u8],
    pub(crate) expect: Expect,
    /// What a record may call it.
    pub(crate) actions: &'static [&'static str],
    pub(crate) plant: fn(&Spot) -> io::Result<()>,
}

/// What an enforcing guard makes of it. That no interpreter start runs the payload is demanded of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// EPERM, and when the call returns nothing has changed.
    Refused,
    /// There is no event to deny it with: unreadable from the first moment, then moved to quarantine.
    Undone,
    /// As above, and the approved file that was replaced comes back, byte for byte.
    Restored,
    /// The file stays where it is, unreadable, or comes back.
    Unreadable,
    /// Any of these.
    Harmless,
}

/// One site directory under attack.
pub(crate) struct Spot {
    pub(crate) site: PathBuf,
    /// The file to plant; [`VICTIM`] for attacks on an approved file.
    pub(crate) target: PathBuf,
    pub(crate) payload: Vec<u8>,
    /// The bytes of the approved file.
    pub(crate) approved: Vec<u8>,
    /// Where to cut the approved file to turn it into the payload.
    pub(crate) cut: usize,
    /// A directory of this spot's own on the same file system.
    pub(crate) outside: PathBuf,
    /// One on another file system.
    pub(crate) elsewhere: TempDir,
    pub(crate) python: PathBuf,
    /// What the attacker goes on holding: descriptors, mappings, a thread that feeds a FIFO.
    held: Mutex<Vec<Box<dyn Any + Send>>>,
}

/// The approved file that attacks aim at.
pub(crate) const VICTIM: &[u8] = b"victim.pth";

impl Spot {
    pub(crate) fn new(place: &Place, venv: &Venv, file: &[u8]) -> Spot {
        let outside = place.outside.join(venv.root.file_name().unwrap());
        fs::create_dir(&outside).unwrap();
        // An entry point for `.start` files; like any other module it is not gated.
        let line = String::from_utf8(place.payload()).unwrap();
        fs::write(venv.site.join("planted_module.py"), format!("def main():\n    {line}")).unwrap();
        Spot {
            site: venv.site.clone(),
            target: venv.site.join(OsStr::from_bytes(file)),
            payload: if file.ends_with(b".start") { b"planted_module:main\n".to_vec() } else { place.payload() },
            approved: place.victim(),
            cut: place.cut(),
            outside,
            elsewhere: place.elsewhere(),
            python: venv.python.clone(),
            held: Mutex::default(),
        }
    }

    /// A file that holds the payload, outside of the site directory and not called a startup file.
    pub(crate) fn source(&self) -> PathBuf {
        let source = self.outside.join("payload.txt");
        fs::write(&source, &self.payload).unwrap();
        source
    }

    /// Keep something open until the test is over.
    pub(crate) fn hold(&self, thing: impl Any + Send) {
        self.held.lock().unwrap().push(Box::new(thing));
    }

    /// Write the payload through a descriptor, over whatever is there, and go on holding it.
    pub(crate) fn overwrite_and_hold(&self, fd: OwnedFd) -> io::Result<()> {
        let file = File::from(fd);
        let written = file.set_len(0).and_then(|()| std::os::unix::fs::FileExt::write_all_at(&file, &self.payload, 0));
        self.hold(file);
        written
    }

    /// Write the payload through a descriptor and close it.
    pub(crate) fn write(&self, fd: OwnedFd) -> io::Result<()> {
        File::from(fd).write_all(&self.payload)
    }

    /// Feed the payload to everybody who opens the FIFO, as long as the test runs.
    pub(crate) fn feed(&self, fifo: PathBuf) {
        struct Feeder(Arc<AtomicBool>);
        impl Drop for Feeder {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        self.hold(Feeder(Arc::clone(&stop)));
        let payload = self.payload.clone();
        thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                // Without O_NONBLOCK this thread could not be stopped while nobody reads.
                if let Ok(fd) = sys::open(&fifo, libc::O_WRONLY | libc::O_NONBLOCK, 0) {
                    // The reader may have gone between open and write.
                    let _ = File::from(fd).write_all(&payload);
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
    }
}

/// What must be the same again after an approved file was restored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    bytes: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
}

impl Identity {
    pub(crate) fn of(path: &std::path::Path) -> io::Result<Identity> {
        let bytes = fs::read(path)?;
        let meta = fs::symlink_metadata(path)?;
        Ok(Identity {
            bytes,
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}
