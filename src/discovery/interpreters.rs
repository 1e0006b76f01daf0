//! The host's interpreters, and the site directories that they say they use.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::model::Writers;
use crate::provenance::output_of_tool;
use crate::resolve::program_at;

/// Where interpreters lie.
const PLACES: [&str; 6] = [
    "/usr/bin",
    "/usr/local/bin",
    "/opt/*/bin",
    "/root/.pyenv/versions/*/bin",
    "/home/*/.pyenv/versions/*/bin",
    "/root/.local/share/uv/python/*/bin",
];
/// They are started by a few threads at once, each within this.
const LIMIT: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 4;
/// More interpreters than a host has.
const MAX: usize = 64;

/// Prints what the module `site` would look at. Isolated and without `site`, the interpreter executes no startup file,
/// reads no variable and looks into no directory but its own library.
const QUESTION: &str = "import os,site,sys\n\
    found=site.getsitepackages()+[site.getusersitepackages()]\n\
    sys.stdout.buffer.write(b'\\0'.join(os.fsencode(path) for path in found))";

/// The site directories of every interpreter that root or the caller has installed.
pub fn site_directories(remarks: &mut Vec<String>) -> Vec<PathBuf> {
    let interpreters = interpreters(remarks);
    let mut found = Vec::new();
    for group in interpreters.chunks(AT_ONCE) {
        let answers: Vec<_> = thread::scope(|scope| {
            let asked: Vec<_> = group.iter().map(|exe| scope.spawn(move || ask(exe))).collect();
            asked.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))).collect()
        });
        for (exe, answer) in group.iter().zip(answers) {
            match answer {
                Ok(directories) => found.extend(directories),
                Err(error) => remarks.push(format!("{}: its site directories are not known: {error}", exe.display())),
            }
        }
    }
    found
}

fn ask(exe: &Path) -> io::Result<Vec<PathBuf>> {
    let arguments = ["-I", "-S", "-c", QUESTION];
    let exe = exe.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    let said = output_of_tool(exe, &arguments, Instant::now() + LIMIT)?;
    if said.is_empty() {
        return Err(io::Error::other("it said nothing"));
    }
    let paths = said.split(|byte| *byte == 0).filter(|path| path.starts_with(b"/"));
    Ok(paths.map(|path| PathBuf::from(OsString::from_vec(path.to_vec()))).collect())
}

fn interpreters(remarks: &mut Vec<String>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let me = nix::unistd::geteuid().as_raw();
    for place in PLACES {
        let Ok(directories) = glob::glob(place) else { continue };
        let entries = directories.flatten().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        for entry in entries.filter(|entry| is_interpreter(&entry.file_name())) {
            let Ok(path) = fs::canonicalize(entry.path()) else { continue };
            let Ok(file) = fs::metadata(&path) else { continue };
            if !file.is_file() || !seen.insert((file.dev(), file.ino())) || !is_elf(&path) {
                continue; // pyenv's shims are scripts
            }
            let ours = [Some(path.clone()), library(&path)].into_iter().flatten().all(|path| {
                match program_at(&path).writers {
                    Writers::Root => true,
                    Writers::User(user) => user == me,
                    Writers::Others => false,
                }
            });
            if !ours {
                remarks.push(format!("{}: not asked: others than root and you could have written it", path.display()));
            } else if found.len() < MAX {
                found.push(path);
            }
        }
    }
    found
}

/// A module that the interpreter imports before anything that it is asked to do: what it lies in has to be as safe as the
/// interpreter itself.
fn library(exe: &Path) -> Option<PathBuf> {
    let module = exe.parent()?.parent()?.join("lib").join(exe.file_name()?).join("os.py");
    module.exists().then_some(module)
}

/// `python3`, `python3.11`, `python3.13t`, `pypy3.9`; not `python3-config`.
fn is_interpreter(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let rest = name.strip_prefix(b"python3").or_else(|| name.strip_prefix(b"pypy3"));
    rest.is_some_and(|rest| {
        let rest = rest.strip_suffix(b"t").unwrap_or(rest);
        rest.is_empty() || rest.strip_prefix(b".").is_some_and(|minor| minor.iter().all(u8::is_ascii_digit))
    })
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_programs_are_interpreters() {
        for (name, is) in [
            ("python3", true),
            ("python3.11", true),
            ("python3.13t", true),
            ("pypy3.9", true),
            ("python3-config", false),
            ("python3.11-config", false),
            ("python2.7", false),
            ("python3x", false),
        ] {
            assert_eq!(is_interpreter(OsStr::new(name)), is, "{name}");
        }
    }
}
