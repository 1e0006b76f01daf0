//! Every way to plant a startup file that is known to us, as a table. Each row is tried three times: without a guard,
//! where the payload has to run (else the row tests nothing), with an auditing guard and with an enforcing one.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use libc::{O_APPEND, O_CREAT, O_EXCL, O_PATH, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY};

use crate::plant::Expect::{Harmless, Refused, Restored, Undone, Unreadable};
use crate::plant::{Spot, VICTIM, Way};
use crate::site::{run, sh};
use crate::sys;

const NEW: &[u8] = b"evil.pth";
const WRITE: &[&str] = &["creation", "modification"];
const RENAME: &[&str] = &["rename"];
const LINK: &[&str] = &["link", "creation"];
const ANY: &[&str] = &["creation", "modification", "rename", "link", "read"];

macro_rules! ways {
    ($($name:ident: $file:expr, $expect:ident, $actions:expr, $why:literal, $plant:expr;)*) => {
        pub(crate) const WAYS: &[Way] = &[$(Way {
            name: stringify!($name), why: $why, file: $file, expect: $expect, actions: $actions, plant: $plant,
        }),*];

        // What is made of the rows is a matter of the binary that they are in.
        each_way! { $($name)* }
    };
}

ways! {
    // --- opened for writing under its final name: OPEN_PERM, the file exists already and would be left behind empty
    sh_redirect: NEW, Refused, WRITE, "the plain case: open(O_WRONLY|O_CREAT|O_TRUNC)",
        |s| sh("cat \"$1\" > \"$2\"", &[s.source().as_ref(), s.target.as_ref()]);
    cp: NEW, Refused, WRITE, "O_CREAT|O_EXCL: a leftover would turn the next try into EEXIST",
        |s| sh("cp \"$1\" \"$2\"", &[s.source().as_ref(), s.target.as_ref()]);
    dd: NEW, Refused, WRITE, "open, then dup2: the descriptor's number does not matter",
        |s| sh("dd if=\"$1\" of=\"$2\"", &[s.source().as_ref(), s.target.as_ref()]);
    tee_append: NEW, Refused, WRITE, "O_APPEND without O_TRUNC",
        |s| sh("tee -a \"$2\" < \"$1\" > /dev/null", &[s.source().as_ref(), s.target.as_ref()]);
    python_open: NEW, Refused, WRITE, "the interpreter itself, as UPSTYLE did",
        |s| python(s, "open(sys.argv[2], 'wb').write(open(sys.argv[1], 'rb').read())");
    python_open_as_nobody: NEW, Refused, WRITE, "an ordinary user in a directory that everybody may write to",
        |s| as_nobody(s, |s| s.write(sys::open(&s.target, O_WRONLY | O_CREAT, 0o644)?));
    creat: NEW, Refused, WRITE, "creat(2) is another system call than open(2)",
        |s| s.write(sys::creat(&s.target)?);
    open_excl: NEW, Refused, WRITE, "twice: the denied create must not leave a file that makes the second try EEXIST",
        |s| {
            drop(sys::open(&s.target, O_WRONLY | O_CREAT | O_EXCL, 0o644).and_then(|fd| s.write(fd)));
            match sys::open(&s.target, O_WRONLY | O_CREAT | O_EXCL, 0o644) {
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) && s.target.exists()
                    && !fs::read(&s.target).unwrap_or_default().is_empty() => Ok(()),
                Err(error) => Err(error),
                Ok(fd) => s.write(fd),
            }
        };
    open_rdwr: NEW, Refused, WRITE, "O_RDWR writes as well as O_WRONLY",
        |s| s.write(sys::open(&s.target, O_RDWR | O_CREAT, 0o644)?);
    openat2: NEW, Refused, WRITE, "flags behind a pointer: /proc/TID/syscall cannot tell that it writes",
        |s| s.write(sys::openat2(&s.target, O_WRONLY | O_CREAT, 0o644)?);
    io_uring: NEW, Refused, WRITE, "opened by a kernel worker thread: no flags to be seen at all",
        |s| s.write(uring(s, O_WRONLY | O_CREAT)?);
    through_bind_mount: NEW, Refused, WRITE, "the path says nothing of the site directory: inodes are guarded, not paths",
        |s| bound(s, |inside| s.write(sys::open(&inside.join("evil.pth"), O_WRONLY | O_CREAT, 0o644)?));
    through_overlay: NEW, Harmless, ANY, "the site directory as the upper layer of an overlay, as container engines do it",
        |s| overlaid(s, |merged| s.write(sys::open(&merged.join("evil.pth"), O_WRONLY | O_CREAT, 0o644)?));
    dot_start: b"evil.start", Refused, WRITE, "Python 3.15 calls the functions that a .start file names",
        |s| s.write(sys::open(&s.target, O_WRONLY | O_CREAT, 0o644)?);
    name_not_utf8: b"\xffevil.pth", Refused, WRITE, "file names are bytes",
        |s| s.write(sys::open(&s.target, O_WRONLY | O_CREAT, 0o644)?);
    name_with_newline: b"evil\n.pth", Refused, WRITE, "a line break in the name must not break the record or the match",
        |s| s.write(sys::open(&s.target, O_WRONLY | O_CREAT, 0o644)?);
    name_hidden: b".hidden.pth", Refused, WRITE, "older interpreters obey hidden files too",
        |s| s.write(sys::open(&s.target, O_WRONLY | O_CREAT, 0o644)?);
    name_only_suffix: b".pth", Refused, WRITE, "the shortest name that ends in .pth",
        |s| s.write(sys::open(&s.target, O_WRONLY | O_CREAT, 0o644)?);

    // --- an approved file opened for writing, by whatever name: the inode itself is marked
    truncate_on_open: VICTIM, Refused, WRITE, "denied before O_TRUNC takes effect: the content stays",
        |s| s.write(sys::open(&s.target, O_WRONLY | O_TRUNC, 0)?);
    append: VICTIM, Refused, WRITE, "adds a line to an approved file",
        |s| s.write(sys::open(&s.target, O_WRONLY | O_APPEND, 0)?);
    other_hard_link: VICTIM, Refused, WRITE, "a link outside the site directory: opening it raises nothing for the directory",
        |s| {
            let link = s.outside.join("innocent.txt");
            fs::hard_link(&s.target, &link)?;
            s.write(sys::open(&link, O_WRONLY | O_TRUNC, 0)?)
        };
    approved_through_bind_mount: VICTIM, Refused, WRITE, "an approved file under another path in a private mount namespace",
        |s| bound(s, |inside| s.write(sys::open(&inside.join("victim.pth"), O_WRONLY | O_TRUNC, 0)?));
    reopen_o_path: VICTIM, Refused, WRITE, "O_PATH is no open; the reopening through /proc is",
        |s| {
            let path = sys::open(&s.target, O_PATH, 0)?;
            s.write(sys::open(&proc_fd(&path), O_WRONLY | O_TRUNC, 0)?)
        };
    open_by_handle: VICTIM, Refused, WRITE, "open_by_handle_at walks no path, the directory's mark may not be asked",
        |s| s.write(sys::open_by_handle(&s.target, O_WRONLY | O_TRUNC)?);
    renamed_out_written_renamed_back: VICTIM, Harmless, ANY, "a file stays guarded after it has lost its name",
        |s| {
            let away = s.outside.join("away.txt");
            fs::rename(&s.target, &away)?;
            let written = sys::open(&away, O_WRONLY | O_TRUNC, 0).and_then(|fd| s.write(fd));
            fs::rename(&away, &s.target).and(written)
        };

    // --- the name comes to a file that exists already: no permission event
    mv: NEW, Undone, RENAME, "rename(2) within the file system",
        |s| sh("mv \"$1\" \"$2\"", &[s.source().as_ref(), s.target.as_ref()]);
    mv_from_other_file_system: NEW, Refused, WRITE, "mv falls back to create and copy",
        |s| {
            let source = s.elsewhere.path().join("payload.txt");
            fs::write(&source, &s.payload)?;
            sh("mv \"$1\" \"$2\"", &[source.as_ref(), s.target.as_ref()])
        };
    rename_within_directory: NEW, Undone, RENAME, "the file was in the directory all the time, under a harmless name",
        |s| {
            let harmless = s.site.join("evil.txt");
            fs::write(&harmless, &s.payload)?;
            fs::rename(harmless, &s.target)
        };
    rename_twice: NEW, Undone, RENAME, "from one guarded name to the next, before the first is dealt with",
        |s| {
            let first = s.site.join("first.pth");
            fs::rename(s.source(), &first)?;
            // The guard may have been faster; the second name then never existed. Once more, in one step.
            fs::rename(first, &s.target).or_else(|_| fs::rename(s.source(), &s.target))
        };
    rename_over_approved: VICTIM, Restored, RENAME, "the approved file's inode is gone the moment the rename happens",
        |s| fs::rename(s.source(), &s.target);
    exchange_with_approved: VICTIM, Restored, RENAME, "RENAME_EXCHANGE: both names live, two events",
        |s| sys::exchange(&s.source(), &s.target);
    exchange_within_directory: VICTIM, Restored, RENAME, "the same, with a harmless name beside it",
        |s| {
            let harmless = s.site.join("evil.txt");
            fs::write(&harmless, &s.payload)?;
            sys::exchange(&harmless, &s.target)
        };
    hard_link: NEW, Undone, LINK, "link(2)",
        |s| sh("ln \"$1\" \"$2\"", &[s.source().as_ref(), s.target.as_ref()]);
    o_tmpfile: NEW, Undone, LINK, "a file without a name is written, then linked into place",
        |s| {
            let fd = sys::open(&s.site, O_TMPFILE | O_WRONLY, 0o644)?;
            let link = |fd| sys::link_fd(&fd, &s.target);
            s.write(fd.try_clone()?).and_then(|()| link(fd))
        };
    o_tmpfile_reopened: NEW, Refused, WRITE, "linked empty, then reopened for writing by number",
        |s| {
            let fd = sys::open(&s.site, O_TMPFILE | O_WRONLY, 0o644)?;
            sys::link_fd(&fd, &s.target)?;
            s.write(sys::open(&proc_fd(&fd), O_WRONLY, 0)?)
        };
    symlink_to_outside: NEW, Undone, &["symlink"], "opening the target raises nothing in the site directory",
        |s| sh("ln -s \"$1\" \"$2\"", &[s.source().as_ref(), s.target.as_ref()]);
    symlink_to_inside: NEW, Undone, &["symlink"], "the target is in the site directory, under a harmless name",
        |s| {
            fs::write(s.site.join("data.txt"), &s.payload)?;
            symlink("data.txt", &s.target)
        };
    symlink_over_approved: VICTIM, Restored, &["symlink", "rename"], "an approved name becomes a symbolic link",
        |s| {
            let link = s.outside.join("link");
            symlink(s.source(), &link)?;
            fs::rename(link, &s.target)
        };
    fifo: NEW, Undone, &["special"], "special files raise no permission event, and their author feeds every reader",
        |s| {
            sys::mkfifo(&s.target)?;
            s.feed(s.target.clone());
            Ok(())
        };
    fifo_renamed_in: NEW, Undone, &["special", "rename"], "made outside under a harmless name",
        |s| {
            let fifo = s.outside.join("fifo");
            sys::mkfifo(&fifo)?;
            fs::rename(fifo, &s.target)?;
            s.feed(s.target.clone());
            Ok(())
        };

    // --- the bytes change without an open
    descriptor_kept_over_rename: NEW, Undone, RENAME, "opened under a harmless name, renamed, written afterwards",
        |s| {
            let harmless = s.site.join("evil.txt");
            let fd = sys::open(&harmless, O_RDWR | O_CREAT, 0o644)?;
            fs::rename(harmless, &s.target)?;
            s.overwrite_and_hold(fd)
        };
    approved_bytes_then_descriptor: VICTIM, Unreadable, ANY, "the newcomer's bytes are approved, so it stays; then they change",
        |s| {
            let copy = s.outside.join("copy.txt");
            fs::write(&copy, &s.approved)?;
            let fd = sys::open(&copy, O_RDWR, 0)?;
            fs::rename(copy, &s.target)?;
            s.overwrite_and_hold(fd)
        };
    approved_bytes_then_mapping: VICTIM, Unreadable, ANY, "through a shared mapping whose descriptor is closed: no event at all",
        |s| {
            let copy = s.outside.join("copy.txt");
            fs::write(&copy, &s.approved)?;
            let mapping = sys::Mapping::new(&sys::open(&copy, O_RDWR, 0)?, s.approved.len(), 0)?;
            fs::rename(copy, &s.target)?;
            mapping.fill(&s.payload);
            s.hold(mapping);
            Ok(())
        };
    approved_bytes_then_mapping_closed: VICTIM, Unreadable, ANY, "the same, and the mapping is gone when the file is read",
        |s| {
            let copy = s.outside.join("copy.txt");
            fs::write(&copy, &s.approved)?;
            let mapping = sys::Mapping::new(&sys::open(&copy, O_RDWR, 0)?, s.approved.len(), 0)?;
            fs::rename(copy, &s.target)?;
            mapping.fill(&s.payload);
            Ok(())
        };
    truncate: VICTIM, Restored, ANY, "truncate(2) by path opens nothing; here the shorter file is the payload",
        |s| sys::truncate(&s.target, s.cut);
    truncate_and_append: VICTIM, Restored, ANY, "the file is emptied without an open, then written",
        |s| {
            sys::truncate(&s.target, 0)?;
            s.write(sys::open(&s.target, O_WRONLY | O_APPEND, 0)?)
        };
}

fn proc_fd(fd: &impl AsRawFd) -> std::path::PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

fn python(s: &Spot, code: &str) -> io::Result<()> {
    let mut python = std::process::Command::new(&s.python);
    // -S: this is the attacker's script, not a start under test.
    python.args(["-S", "-c"]).arg(format!("import sys; {code}")).arg(s.source()).arg(&s.target);
    run(&mut python).result()
}

fn as_nobody(s: &Spot, work: fn(&Spot) -> io::Result<()>) -> io::Result<()> {
    fs::set_permissions(&s.site, fs::Permissions::from_mode(0o777))?;
    let ordinary = || sys::become_user(65534).and_then(|()| work(s));
    std::thread::scope(|scope| scope.spawn(ordinary).join().expect("the ordinary user's thread"))
}

fn uring(s: &Spot, flags: i32) -> io::Result<std::os::fd::OwnedFd> {
    match sys::uring_open(&s.target, flags, 0o644) {
        Ok(result) => result,
        Err(error) => {
            panic!("blocked: this kernel has no io_uring for us ({error}); switch kernel.io_uring_disabled off")
        }
    }
}

fn bound(s: &Spot, work: impl FnOnce(&Path) -> io::Result<()> + Send) -> io::Result<()> {
    let inside = s.outside.join("bind");
    fs::create_dir(&inside)?;
    sys::with_private_mounts(|| {
        sys::mount(Some(&s.site), &inside, None, libc::MS_BIND, "")?;
        work(&inside)
    })
}

fn overlaid(s: &Spot, work: impl FnOnce(&Path) -> io::Result<()> + Send) -> io::Result<()> {
    let (lower, merged) = (s.outside.join("lower"), s.outside.join("merged"));
    // Next to the upper directory: an overlay's work directory has to be on the same file system.
    let scratch = s.outside.join("work");
    for directory in [&lower, &merged, &scratch] {
        fs::create_dir(directory)?;
    }
    let layer = |name: &str, path: &Path| format!("{name}={}", path.display());
    let options = [layer("lowerdir", &lower), layer("upperdir", &s.site), layer("workdir", &scratch)].join(",");
    sys::with_private_mounts(|| {
        sys::mount(Some(Path::new(OsStr::new("overlay"))), &merged, Some("overlay"), 0, &options)?;
        work(&merged)
    })
}
