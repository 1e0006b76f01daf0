//! Directories that path lines lead to, safe and unsafe ones.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const USER: u32 = 1000;

/// An environment of user 1000's in a directory of root's.
struct Place {
    _dir: TempDir,
    root: PathBuf,
    site: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir_in("/root").unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let place = Place { _dir: dir, site: root.join("env/lib/python3.11/site-packages"), root };
        for dir in ["env", "env/lib", "env/lib/python3.11", "env/lib/python3.11/site-packages"] {
            place.dir(dir, USER, 0o755);
        }
        place
    }

    fn dir(&self, path: &str, owner: u32, mode: u32) -> PathBuf {
        let path = self.root.join(path);
        fs::create_dir_all(&path).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn examine(&self, line: &str) -> Target {
        examine(&self.site, USER, line.as_bytes())
    }

    fn examine_path(&self, path: &Path) -> Target {
        self.examine(path.to_str().unwrap())
    }
}

#[test]
fn a_directory_that_only_root_and_the_owner_can_change_is_harmless() {
    let place = Place::new();
    for (line, owner) in [("libs", USER), ("./libs/", 0), ("../site-packages/libs", USER)] {
        place.dir("env/lib/python3.11/site-packages/libs", owner, 0o755);
        let target = place.examine(line);
        assert!(target.harmless, "{target:?}");
        assert_eq!(target.path, place.site.join("libs"));
        assert_eq!(target.findings, [TargetFinding::Relative]);
    }
    let source = place.dir("src", USER, 0o775);
    let target = place.examine_path(&source);
    assert!(target.harmless && target.findings == [TargetFinding::Outside], "{target:?}");
    // For the system's Python the user is a stranger.
    let target = examine(Path::new("/usr/lib/python3/dist-packages"), 0, source.as_os_str().as_bytes());
    assert!(!target.harmless && target.findings.contains(&TargetFinding::Writable(source)), "{target:?}");
}

#[test]
fn what_strangers_can_write_is_not() {
    let place = Place::new();
    for (owner, mode) in [(USER, 0o777), (USER, 0o1777), (1001, 0o755)] {
        let path = place.dir("lib", owner, mode);
        let target = place.examine_path(&path);
        assert!(!target.harmless && target.findings.contains(&TargetFinding::Writable(path)), "{target:?}");
    }
    let above = place.dir("above", USER, 0o777);
    let path = place.dir("above/lib", USER, 0o755);
    assert_eq!(place.examine_path(&path).findings, [TargetFinding::Outside, TargetFinding::Writable(above.clone())]);
    place.dir("above", USER, 0o1777);
    assert!(place.examine_path(&path).harmless, "the entries of a sticky directory are their owners'");
    place.dir("above/lib", 1001, 0o755);
    assert!(!place.examine_path(&path).harmless);
}

#[test]
fn a_directory_with_a_module_that_every_interpreter_imports_is_not() {
    let place = Place::new();
    for name in [
        "sitecustomize.py",
        "usercustomize.pyc",
        "sitecustomize.cpython-311-x86_64-linux-gnu.so",
        "sitecustomize.abi3.so",
        "usercustomize/__init__.py",
        "sitecustomize/x",
        "__pycache__/sitecustomize.cpython-311.pyc",
    ] {
        let path = place.dir("lib", USER, 0o755);
        let file = path.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        let target = place.examine_path(&path);
        let found = target.findings.iter().any(|finding| matches!(finding, TargetFinding::Customize(_)));
        assert!(!target.harmless && found, "{name}: {target:?}");
        fs::remove_dir_all(&path).unwrap();
    }
    let path = place.dir("lib", USER, 0o755);
    fs::write(path.join("sitecustomizer.py"), "").unwrap();
    fs::write(path.join("my_sitecustomize.py"), "").unwrap();
    assert!(place.examine_path(&path).harmless);
    for number in 0..100 {
        fs::write(path.join(format!("sitecustomize.{number}")), "").unwrap();
    }
    assert_eq!(place.examine_path(&path).findings.len(), MAX_FINDINGS);
}

#[test]
fn links_are_followed_as_the_kernel_does_and_judged_by_who_made_them() {
    let place = Place::new();
    let real = place.dir("real/lib", USER, 0o755);
    place.dir("real", USER, 0o755);
    let (link, more) = (place.root.join("link"), place.root.join("more"));
    symlink("real/../more", &link).unwrap();
    symlink(&real, &more).unwrap();
    let found = place.examine_path(&link);
    let links = [TargetFinding::Link(link.clone()), TargetFinding::Link(more.clone())];
    assert!(found.harmless && found.findings[1..] == links, "{found:?}");
    std::os::unix::fs::lchown(&more, Some(1001), Some(1001)).unwrap();
    let found = place.examine_path(&link);
    assert!(!found.harmless && found.findings.contains(&TargetFinding::ForeignLink(more)), "{found:?}");
    let all = place.dir("all", 0, 0o1777);
    symlink(&real, all.join("x")).unwrap();
    std::os::unix::fs::lchown(all.join("x"), Some(1001), Some(1001)).unwrap();
    assert!(!place.examine_path(&all.join("x")).harmless, "a stranger's link in a directory like /tmp");
    let round = place.root.join("round");
    symlink("round", &round).unwrap();
    assert_eq!(place.examine_path(&round).kind, TargetKind::Other);
}

#[test]
fn what_is_no_directory_is_not() {
    let place = Place::new();
    let kind = |path: &str| {
        let target = place.examine_path(&place.root.join(path));
        assert!(!target.harmless, "{target:?}");
        target.kind
    };
    assert_eq!(kind("nowhere"), TargetKind::Missing);
    let all = place.dir("all", 0, 0o1777);
    let missing = place.examine_path(&all.join("x"));
    assert!(missing.findings.contains(&TargetFinding::Writable(all)), "anybody can make it: {missing:?}");
    assert_eq!(kind("nowhere/at/all"), TargetKind::Missing);
    fs::write(place.root.join("lib.zip"), "PK").unwrap();
    assert_eq!(kind("lib.zip"), TargetKind::Archive);
    assert_eq!(kind("lib.zip/inside"), TargetKind::Missing);
    nix::unistd::mkfifo(&place.root.join("fifo"), Mode::S_IRWXU).unwrap();
    assert_eq!(kind("fifo"), TargetKind::Other);
    for line in ["/proc/self/cwd", "/dev/fd", "/proc/1/root", "/sys/../proc/self/root"] {
        let target = place.examine(line);
        assert!(!target.harmless && target.kind != TargetKind::Directory, "{target:?}");
    }
    let odd = examine(&place.site, USER, b"/usr/lib\xff".as_slice());
    assert!(!odd.harmless);
    let odd = examine(&place.site, USER, &[b'/', 0xff]);
    assert!(!odd.harmless && matches!(odd.findings[..], [_, TargetFinding::Unknown(_)]), "{odd:?}");
}

proptest! {
    #[test]
    fn total_on_any_line(line in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = examine(Path::new("/nowhere/lib/python3/site-packages"), 0, &line);
    }
}
