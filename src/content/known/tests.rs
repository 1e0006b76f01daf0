#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::ffi::OsStr;

use super::{KnownFiles, KnownOwner, Listed};
use crate::model::{Package, PackageSource, Sha256};

const LIST: &str = r#"
    [[file]]
    name = "distutils-precedence.pth"
    sha256 = ["2638ce9e2500e572a5e0de7faed6661eb569d1b696fcba07b0dd223da5f5d224"]
    package = "Foo.bar_baz"
    versions = ["60 .. 84.2.1", "85.0rc1"]
    debian = ["python3-foo"]
"#;

fn listed(text: &str) -> Listed {
    KnownFiles::parse(text).unwrap().iter().next().unwrap().2.clone()
}

fn package(source: PackageSource, name: &str, version: Option<&str>) -> Package {
    Package { name: name.to_owned(), version: version.map(str::to_owned), source }
}

#[test]
fn the_list_that_is_built_in() {
    let known = KnownFiles::built_in();
    assert!(known.iter().count() > 15);
}

#[test]
fn name_and_digest() {
    let known = KnownFiles::parse(LIST).unwrap();
    let digest: Sha256 = "2638ce9e2500e572a5e0de7faed6661eb569d1b696fcba07b0dd223da5f5d224".parse().unwrap();
    assert!(known.look_up(OsStr::new("distutils-precedence.pth"), digest).is_some());
    assert!(known.look_up(OsStr::new("x.pth"), digest).is_none());
    assert!(known.look_up(OsStr::new("distutils-precedence.pth"), Sha256::of(b"import evil")).is_none());
}

#[test]
fn only_the_package_that_is_named() {
    let listed = listed(LIST);
    for (name, version) in [("foo-bar-baz", "60.0"), ("FOO_bar.baz", "84.2.1"), ("foo__bar--baz", "85.0rc1")] {
        assert!(listed.is_owned_by(&package(PackageSource::Record, name, Some(version))), "{name} {version}");
    }
    for (source, name, version) in [
        (PackageSource::Record, "foobarbaz", Some("60.0")),
        (PackageSource::Record, "evil", Some("60.0")),
        (PackageSource::Record, "foo-bar-baz-", Some("60.0")),
        (PackageSource::Record, "f\u{43e}o-bar-baz", Some("60.0")),
        (PackageSource::Record, "", Some("60.0")),
        (PackageSource::Record, "foo-bar-baz", Some("86.0")),
        (PackageSource::Record, "foo-bar-baz", None),
        (PackageSource::Record, "python3-foo", Some("60.0")),
        (PackageSource::Dpkg, "foo-bar-baz", Some("60.0")),
        (PackageSource::Dpkg, "Python3-foo", Some("60.0")),
        (PackageSource::Rpm, "python3-foo", Some("60.0")),
    ] {
        assert!(!listed.is_owned_by(&package(source, name, version)), "{source:?} {name} {version:?}");
    }
    assert!(listed.is_owned_by(&package(PackageSource::Dpkg, "python3-foo", Some("1-2"))));
    assert!(!listed.is_written_under("uv"));
}

#[test]
fn files_of_installers_are_owned_by_no_package() {
    let text = format!("[[file]]\nname = \"a.pth\"\nsha256 = [\"{}\"]\nwriters = [\"uv\"]\n", Sha256::of(b""));
    let listed = listed(&text);
    assert_eq!(listed.owner, KnownOwner::Writers(vec!["uv".to_owned()]));
    assert!(listed.is_written_under("uv") && !listed.is_written_under("pip"));
    assert!(!listed.is_owned_by(&package(PackageSource::Record, "uv", Some("1"))));
}

#[test]
fn entries_that_say_too_little_or_too_much() {
    let digest = Sha256::of(b"");
    for (rest, word) in [
        ("name = \"a.pth\"\nsha256 = []\npackage = \"a\"\nversions = [\"1\"]".to_owned(), "digest"),
        ("name = \"a.pth\"\nsha256 = [\"12\"]\npackage = \"a\"\nversions = [\"1\"]".to_owned(), "hexadecimal"),
        (format!("name = \"a.pth\"\nsha256 = [\"{digest}\"]"), "nobody"),
        (format!("name = \"a.pth\"\nsha256 = [\"{digest}\"]\npackage = \"a\""), "versions"),
        (format!("name = \"a.pth\"\nsha256 = [\"{digest}\"]\nversions = [\"1\"]\ndebian = [\"a\"]"), "package"),
        (
            format!(
                "name = \"a.pth\"\nsha256 = [\"{digest}\"]\npackage = \"a\"\nversions = [\"1\"]\nwriters = [\"uv\"]"
            ),
            "writers",
        ),
        (format!("name = \"a.pth\"\nsha256 = [\"{digest}\"]\npackage = \"-\"\nversions = [\"1\"]"), "project"),
        (format!("name = \"a.pth\"\nsha256 = [\"{digest}\"]\npackage = \"a\"\nversions = [\"2 .. 1\"]"), "range"),
        (format!("name = \"d/a.pth\"\nsha256 = [\"{digest}\"]\npackage = \"a\"\nversions = [\"1\"]"), "directory"),
        (
            format!("name = \"a.pth\"\nsha256 = [\"{digest}\", \"{digest}\"]\npackage = \"a\"\nversions = [\"1\"]"),
            "already",
        ),
        (
            format!("name = \"a.pth\"\nsha256 = [\"{digest}\"]\npackage = \"a\"\nversions = [\"1\"]\nowner = \"x\""),
            "owner",
        ),
    ] {
        let error = KnownFiles::parse(&format!("[[file]]\n{rest}\n")).unwrap_err().to_string();
        assert!(error.contains(word), "{rest}: {error}");
    }
}
