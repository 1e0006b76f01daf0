//! Site directories as installers, and those who forge their lists, leave them.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tempfile::TempDir;

use super::{Ownership, recorded_owner, recorded_owners};
use crate::model::Sha256;

const NAME: &str = "distutils-precedence.pth";
const LINE: &[u8] = b"import os; __import__('_distutils_hack')\n";

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.site("lib/python3.12")).unwrap();
        place
    }

    fn site(&self, lib: &str) -> PathBuf {
        self.dir.path().join(lib).join("site-packages")
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.site("lib/python3.12").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A package with these rows in its RECORD, beside those of its own metadata.
    fn package(&self, name: &str, version: &str, rows: &[String]) {
        let info = format!("{name}-{version}.dist-info");
        let mut record = rows.iter().fold(String::new(), |mut all, row| {
            writeln!(all, "{row}").unwrap();
            all
        });
        write!(record, "{info}/METADATA,,\n{info}/RECORD,,\n").unwrap();
        let headers = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        self.write(&format!("{info}/METADATA"), headers.as_bytes());
        self.write(&format!("{info}/RECORD"), record.as_bytes());
    }

    fn owner(&self) -> Ownership {
        let site = File::open(self.site("lib/python3.12")).unwrap();
        recorded_owner(&site, OsStr::new(NAME), Sha256::of(LINE))
    }

    fn says(&self) -> String {
        said(&self.owner())
    }
}

fn said(ownership: &Ownership) -> String {
    match ownership {
        Ownership::Owned(package) => format!("owned by {package}"),
        Ownership::Contested(packages) => {
            let packages: Vec<_> = packages.iter().map(ToString::to_string).collect();
            format!("contested: {}", packages.join(", "))
        }
        Ownership::HashDiffers(package) => format!("differs from {package}"),
        Ownership::Unproven(package) => format!("unproven: {package}"),
        Ownership::Nobody => "nobody".to_owned(),
        Ownership::Unreadable(error) => format!("unreadable: {:?}", error.kind()),
    }
}

fn row(path: &str, bytes: &[u8]) -> String {
    format!("{path},sha256={},{}", URL_SAFE_NO_PAD.encode(Sha256::of(bytes).0), bytes.len())
}

#[test]
fn the_package_that_lists_the_file_with_its_digest_owns_it() {
    let place = Place::new();
    assert_eq!(place.says(), "nobody");
    place.package("other", "1.0", &[row("other.pth", LINE), row("sub/distutils-precedence.pth", LINE)]);
    assert_eq!(place.says(), "nobody");
    place.package("setuptools", "84.0.0", &[row(NAME, LINE)]);
    assert_eq!(place.says(), "owned by setuptools 84.0.0");
    place.package("setuptools", "84.0.0", &[row(NAME, b"other bytes")]);
    assert_eq!(place.says(), "differs from setuptools 84.0.0");
    place.package("setuptools", "84.0.0", &[format!("{NAME},,")]);
    assert_eq!(place.says(), "unproven: setuptools 84.0.0");
    place.package("setuptools", "84.0.0", &[row(&format!("./{NAME}"), LINE)]);
    assert_eq!(place.says(), "owned by setuptools 84.0.0");
}

#[test]
fn versions_of_one_package_do_not_contest_each_other() {
    let place = Place::new();
    place.package("setuptools", "65.0", &[row(NAME, b"older bytes")]);
    place.package("Setuptools", "84.0.0", &[row(NAME, LINE)]);
    assert_eq!(place.says(), "owned by Setuptools 84.0.0");
}

#[test]
fn two_packages_that_list_a_file_own_nothing() {
    for claim in [row(NAME, LINE), format!("{NAME},,"), format!("\"{NAME}\",\"\","), format!("x/../{NAME},,")] {
        let place = Place::new();
        fs::create_dir(place.site("lib/python3.12").join("x")).unwrap();
        place.package("setuptools", "84.0.0", &[row(NAME, LINE)]);
        place.package("evil", "1.0", std::slice::from_ref(&claim));
        assert_eq!(place.says(), "contested: evil 1.0, setuptools 84.0.0", "{claim}");
    }
}

#[test]
fn a_row_that_leads_to_the_file_by_another_way_counts() {
    let place = Place::new();
    symlink("lib", place.dir.path().join("lib64")).unwrap();
    place.package("setuptools", "84.0.0", &[row(NAME, LINE)]);
    let absolute = place.site("lib64/python3.12").join(NAME).to_str().unwrap().to_owned();
    for path in ["../../../lib64/python3.12/site-packages/distutils-precedence.pth", &absolute] {
        place.package("evil", "1.0", &[row(path, LINE)]);
        assert_eq!(place.says(), "contested: evil 1.0, setuptools 84.0.0", "{path}");
    }
}

#[test]
fn a_package_that_brings_anothers_metadata_is_found_out() {
    let lists = |path: &str| format!("{path},,");
    for path in [
        "setuptools-84.0.0.dist-info/RECORD",
        "setuptools-84.0.0.dist-info/METADATA",
        "./setuptools-84.0.0.dist-info//RECORD",
        "evil-1.0.dist-info/../setuptools-84.0.0.dist-info/./../setuptools-84.0.0.dist-info/RECORD",
        "../../../lib64/python3.12/site-packages/setuptools-84.0.0.dist-info/RECORD",
    ] {
        let place = Place::new();
        symlink("lib", place.dir.path().join("lib64")).unwrap();
        place.package("setuptools", "84.0.0", &[row(NAME, LINE)]);
        place.package("evil", "1.0", &[lists(path)]);
        assert_eq!(place.says(), "contested: evil 1.0, setuptools 84.0.0", "{path}");
    }
    // A copy inside of a package is no metadata of this directory.
    let place = Place::new();
    place.package("zipp", "3.0", &[]);
    place.package("setuptools", "84.0.0", &[row(NAME, LINE), lists("setuptools/_vendor/zipp-3.0.dist-info/RECORD")]);
    place.write("setuptools/_vendor/zipp-3.0.dist-info/RECORD", b"");
    assert_eq!(place.says(), "owned by setuptools 84.0.0");
}

#[test]
fn a_helper_that_overwrites_the_forgers_list_is_found_out() {
    let place = Place::new();
    place.package("setuptools", "84.0.0", &[row(NAME, LINE)]); // brought by evil, which lists none of it any more
    place.package("evil", "1.0", &[]);
    place.package("helper", "1.0", &["evil-1.0.dist-info/RECORD,,".to_owned()]);
    assert_eq!(place.says(), "contested: helper 1.0, setuptools 84.0.0");
}

#[test]
fn a_package_for_another_python_of_the_prefix_is_heard() {
    let place = Place::new();
    place.package("setuptools", "84.0.0", &[row(NAME, LINE)]);
    let info = place.site("lib64/python3.11").join("evil-1.0.dist-info");
    fs::create_dir_all(&info).unwrap();
    fs::write(info.join("METADATA"), "Name: evil\n").unwrap();
    for path in [NAME, "setuptools-84.0.0.dist-info/RECORD"] {
        let path = format!("../../../lib/python3.12/site-packages/{path},,\n");
        fs::write(info.join("RECORD"), path).unwrap();
        assert_eq!(place.says(), "contested: evil 1.0, setuptools 84.0.0");
    }
}

#[test]
fn metadata_that_does_not_agree_with_its_name_proves_nothing() {
    let place = Place::new();
    place.package("setuptools", "84.0.0", &[row(NAME, LINE)]);
    let metadata = "setuptools-84.0.0.dist-info/METADATA";
    for text in ["Name: evil\n", "", "Name: setuptools\nName: evil\n"] {
        place.write(metadata, text.as_bytes());
        assert_eq!(place.says(), "unproven: setuptools 84.0.0", "{text}");
    }
    fs::remove_file(place.site("lib/python3.12").join(metadata)).unwrap();
    assert_eq!(place.says(), "unproven: setuptools 84.0.0");
}

#[test]
fn what_cannot_be_read_is_never_taken_for_silence() {
    let place = Place::new();
    let site = place.site("lib/python3.12");
    place.package("setuptools", "84.0.0", &[row(NAME, LINE)]);
    fs::create_dir(site.join("evil-1.0.dist-info")).unwrap();
    assert_eq!(place.says(), "owned by setuptools 84.0.0", "a distribution's package has no RECORD");
    let record = site.join("evil-1.0.dist-info/RECORD");
    symlink("/dev/null", &record).unwrap();
    assert!(place.says().starts_with("unreadable"), "a link");
    fs::remove_file(&record).unwrap();
    nix::unistd::mkfifo(&record, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(place.says().starts_with("unreadable"), "a FIFO, which nobody writes");
    fs::remove_file(&record).unwrap();
    File::create(&record).unwrap().set_len(33 * 1024 * 1024).unwrap();
    assert!(place.says().starts_with("unreadable"), "too large");
    fs::remove_dir_all(site.join("evil-1.0.dist-info")).unwrap();
    symlink("setuptools-84.0.0.dist-info", site.join("evil-1.0.dist-info")).unwrap();
    assert!(place.says().starts_with("unreadable"), "a directory that is a link");
}

#[test]
fn leftovers_of_pip_and_lists_without_digests_own_nothing() {
    let place = Place::new();
    place.package("~etuptools", "84.0.0", &[row(NAME, LINE)]);
    assert_eq!(place.says(), "nobody");
    place.write("old_thing-1.0-py3.12.egg-info/installed-files.txt", b"../old.py\n../distutils-precedence.pth\n");
    assert_eq!(place.says(), "unproven: old_thing 1.0");
}

#[test]
fn several_files_and_files_in_packages() {
    let place = Place::new();
    let init = "_distutils_hack/__init__.py";
    place.write(init, b"");
    place.package("setuptools", "84.0.0", &[row(NAME, LINE), row(init, b"genuine")]);
    place.package("other", "1", &[row("other/__init__.py", b"")]);
    let site = File::open(place.site("lib/python3.12")).unwrap();
    let asked = [
        (OsStr::new(init), Sha256::of(b"")),
        (OsStr::new("x.pth"), Sha256::of(b"")),
        (OsStr::new(NAME), Sha256::of(LINE)),
    ];
    let answers: Vec<_> = recorded_owners(&site, &asked).iter().map(said).collect();
    assert_eq!(answers, ["differs from setuptools 84.0.0", "nobody", "owned by setuptools 84.0.0"]);
}

/// `cargo test --lib provenance::tests::hundreds -- --nocapture` prints how long it takes.
#[test]
#[allow(clippy::print_stdout, reason = "the figure is what the command above asks for")]
fn hundreds_of_packages_are_read_in_no_time() {
    let place = Place::new();
    for number in 0..500 {
        let rows: Vec<_> = (0..300).map(|file| row(&format!("package{number}/module{file}.py"), b"")).collect();
        place.package(&format!("package{number}"), "1.0", &rows);
    }
    place.package("setuptools", "84.0.0", &[row(NAME, LINE)]);
    let begin = std::time::Instant::now();
    assert_eq!(place.says(), "owned by setuptools 84.0.0");
    let took = begin.elapsed();
    println!("501 packages, 150,000 rows: {took:?}");
    assert!(took.as_secs() < 2, "{took:?}");
    assert!(Path::new(&place.site("lib/python3.12")).is_dir());
}
