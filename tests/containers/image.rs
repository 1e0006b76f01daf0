//! What the containers of the tests are made from: a shell under several names, and a site directory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::{Place, run};

/// The site directory in the image.
pub(crate) const SITE: &str = "usr/lib/python3/dist-packages";

/// The shell's names. The default rules allow the host's dpkg, and the host's python when it says that it runs pip.
const NAMES: [&str; 4] = ["bin/sh", "usr/bin/dpkg", "usr/bin/pip", "usr/bin/python3.11"];

/// A directory with a shell, the libraries that it needs, and an empty site directory.
pub(crate) fn root(place: &Place, name: &str) -> PathBuf {
    let root = place.outside.join(name);
    let shell = fs::canonicalize("/bin/sh").unwrap();
    for name in NAMES {
        copy(&shell, &root, Path::new(name));
    }
    for library in libraries(&shell) {
        copy(&library, &root, library.strip_prefix("/").unwrap());
    }
    fs::create_dir_all(root.join(SITE)).unwrap();
    // What `sh -m SCRIPT` runs; for a python it would be a module.
    fs::write(root.join("pip"), format!("echo import os > /{SITE}/evil.pth\n")).unwrap();
    root
}

/// The root as an archive.
pub(crate) fn archive(root: &Path) -> PathBuf {
    let archive = root.with_extension("tar");
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(root).arg(".")).result().unwrap();
    archive
}

/// Copy a program with what it needs to run in `root`.
pub(crate) fn copy_program(program: &Path, root: &Path) {
    for file in libraries(program).iter().map(PathBuf::as_path).chain([program]) {
        copy(file, root, file.strip_prefix("/").unwrap());
    }
}

fn copy(from: &Path, root: &Path, to: &Path) {
    let to = root.join(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

/// The shared libraries of a program, the loader among them, under the names that the loader will look for.
fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let done = run(Command::new("ldd").arg(program));
    done.result().unwrap_or_else(|error| panic!("ldd {program:?}: {error}"));
    done.stdout.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// The header of one entry of a tar archive (ustar), for what is sent piece by piece.
pub(crate) fn header(name: &str, size: usize) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, if name.ends_with('/') { "0000755" } else { "0000644" });
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(156, if name.ends_with('/') { "5" } else { "0" });
    put(257, "ustar\u{0}00");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A file as an entry of a tar archive.
pub(crate) fn entry(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut entry = header(name, bytes.len());
    entry.extend_from_slice(bytes);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}
