//! A root file system of the test's own: the machine's, seen through an overlay whose upper layer is in memory. The
//! built-in policy names the machine's real directories; here these are other inodes, and the guard marks them only.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys;

/// Run `work` on a thread with the private root; what it installs and mounts is gone when it returns.
#[allow(dead_code, reason = "some bring files along")]
pub(crate) fn in_private_root<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    in_private_root_with(|_| Ok(()), work)
}

/// The same, with what `bring` puts below the new root while the machine's can still be reached.
pub(crate) fn in_private_root_with<T: Send>(
    bring: impl FnOnce(&Path) -> std::io::Result<()> + Send,
    work: impl FnOnce() -> T + Send,
) -> T {
    let host = fs::metadata("/").unwrap().dev();
    let stage = tempfile::Builder::new().prefix("pthguard-root-").tempdir().unwrap();
    let made = sys::with_private_mounts(|| {
        pivot(stage.path(), bring)?;
        assert_private(host);
        Ok(work())
    });
    made.unwrap_or_else(|error| panic!("blocked: no private root (overlay on /, tmpfs, pivot_root): {error}"))
}

fn pivot(stage: &Path, bring: impl FnOnce(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    sys::mount(Some(Path::new("tmpfs")), stage, Some("tmpfs"), 0, "size=8g,mode=755")?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| stage.join(name));
    for dir in [&upper, &work, &root] {
        fs::create_dir(dir)?;
    }
    let layers = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    sys::mount(Some(Path::new("overlay")), &root, Some("overlay"), 0, &layers)?;
    for dir in ["proc", "sys", "dev"] {
        let from = Path::new("/").join(dir);
        sys::mount(Some(&from), &root.join(dir), None, libc::MS_BIND | libc::MS_REC, "")?;
    }
    // A second file system, and no daemon of the machine's to be reached by its socket.
    sys::mount(Some(Path::new("tmpfs")), &root.join("run"), Some("tmpfs"), 0, "mode=755")?;
    // The build directory may be a file system of its own, which the overlay does not show.
    let guard = Path::new(env!("CARGO_BIN_EXE_pthguard"));
    let inside = root.join(guard.strip_prefix("/").expect("an absolute path"));
    fs::create_dir_all(inside.parent().expect("a file in a directory"))?;
    fs::copy(guard, &inside)?;
    bring(&root)?;
    let old = root.join("oldroot");
    fs::create_dir(&old)?;
    sys::pivot_root(&root, &old)?;
    settle_layers();
    Ok(())
}

/// The first change of a lower file or directory makes another inode of it. Real file systems have no such moment, so it
/// is brought on before any guard looks.
fn settle_layers() {
    let mut work: Vec<PathBuf> = ["/usr/lib", "/usr/local/lib", "/opt", "/root", "/home"].map(PathBuf::from).into();
    while let Some(dir) = work.pop() {
        let is_site = matches!(dir.file_name().and_then(|name| name.to_str()), Some("site-packages" | "dist-packages"));
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !is_site && path.components().count() < 9 {
                work.push(path);
            } else if is_site && kind.is_file() && path.extension().is_some_and(|e| e == "pth" || e == "start") {
                let mode = entry.metadata().unwrap().permissions();
                fs::set_permissions(&path, mode).unwrap();
            }
        }
        if is_site {
            fs::set_permissions(&dir, fs::metadata(&dir).unwrap().permissions()).unwrap();
        }
    }
}

/// Nothing that follows may happen on the machine's own root.
fn assert_private(host: u64) {
    assert_ne!(fs::metadata("/").unwrap().dev(), host, "still on the machine's root");
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let of_root: Vec<&str> = mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/")).collect();
    assert!(matches!(of_root.as_slice(), [one] if one.contains(" - overlay overlay ")), "{of_root:?}");
    assert_eq!(fs::read_dir("/oldroot").unwrap().count(), 0, "the machine's root can be reached");
}

/// Fail if a guard has marked anything but this root's own files.
pub(crate) fn assert_marks_are_private(guard: u32) {
    let allowed: Vec<u64> = ["/", "/run"].iter().map(|path| kernel_number(fs::metadata(path).unwrap().dev())).collect();
    let mut marks = 0;
    for entry in fs::read_dir(format!("/proc/{guard}/fdinfo")).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        for line in
            text.lines().filter(|line| line.starts_with("fanotify ino:") || line.starts_with("fanotify mnt_id:"))
        {
            let device = line.split(' ').find_map(|word| word.strip_prefix("sdev:"));
            let device =
                u64::from_str_radix(device.unwrap_or_else(|| panic!("not an inode's mark: {line}")), 16).unwrap();
            assert!(allowed.contains(&device), "a mark outside of the private root: {line}");
            marks += 1;
        }
        assert!(!text.contains("fanotify sdev:"), "a mark on a whole file system: {text}");
    }
    assert!(marks > 0, "the guard has no marks");
}

/// A device number as fdinfo shows it.
fn kernel_number(dev: u64) -> u64 {
    u64::from(libc::major(dev)) << 20 | u64::from(libc::minor(dev))
}
