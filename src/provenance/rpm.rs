//! rpm's database.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::child;
use super::distribution::{DigestKind, DistributionFile, Packaged, PackagedBytes, spellings};
use super::dpkg::md5;
use crate::model::{Package, PackageSource, Sha256};

const PROGRAM: &str = "/usr/bin/rpm";
/// Where distributions keep the database, in its three forms. Asking rpm where there is none would make one.
const DATABASES: [&str; 2] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];
const FORMS: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// For each package: its name, version and kind of digest, then its files with their digests.
const FORMAT: &str = "package\\t%{NAME}\\t%{VERSION}-%{RELEASE}\\t%{FILEDIGESTALGO}\\n\
                      [file\\t%{FILENAMES}\\t%{FILEDIGESTS}\\n]";

pub(super) fn is_here() -> bool {
    let database = |dir| FORMS.iter().any(|form| Path::new(dir).join(form).exists());
    Path::new(PROGRAM).exists() && DATABASES.into_iter().any(database)
}

/// The packages that own these files.
pub(super) fn owners(files: &[Packaged<'_>], until: Instant) -> io::Result<HashMap<PathBuf, DistributionFile>> {
    let mut arguments = ["--query", "--file", "--queryformat", FORMAT, "--"].map(OsString::from).to_vec();
    arguments.extend(files.iter().map(|file| file.path.as_os_str().to_owned()));
    let said = child::output(PROGRAM, &arguments, until)?;
    let listed = parse(&said);
    let owned = files.iter().filter_map(|file| {
        let entries = spellings(file.path).into_iter().filter_map(|path| listed.get(&*path)).flatten();
        let mut packages: Vec<_> = entries.collect();
        // A package of several architectures is listed once for each.
        packages.dedup_by(|one, other| one.name == other.name);
        let [entry] = packages[..] else { return None };
        let package = Package {
            name: entry.name.to_owned(),
            version: Some(entry.version.to_owned()),
            source: PackageSource::Rpm,
        };
        Some((file.path.to_owned(), DistributionFile { package, bytes: entry.compare(file.bytes) }))
    });
    Ok(owned.collect())
}

/// A file as a package lists it.
struct Entry<'a> {
    name: &'a str,
    version: &'a str,
    kind: Option<DigestKind>,
    digest: &'a [u8],
}

impl Entry<'_> {
    fn compare(&self, bytes: &[u8]) -> PackagedBytes {
        let (Some(kind), false) = (self.kind, self.digest.is_empty()) else { return PackagedBytes::Untold };
        let found = match kind {
            DigestKind::Md5 => md5(bytes),
            DigestKind::Sha256 => Sha256::of(bytes).to_string(),
        };
        if found.as_bytes() == self.digest { PackagedBytes::Same(kind) } else { PackagedBytes::Different(kind) }
    }
}

fn parse(said: &[u8]) -> HashMap<&OsStr, Vec<Entry<'_>>> {
    let mut listed: HashMap<&OsStr, Vec<Entry<'_>>> = HashMap::new();
    let mut package = None;
    for line in said.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
        match fields[..] {
            [b"package", name, version, kind] => {
                let kind = match kind {
                    b"8" => Some(DigestKind::Sha256),
                    b"1" | b"(none)" => Some(DigestKind::Md5),
                    _ => None,
                };
                package = str::from_utf8(name).ok().zip(str::from_utf8(version).ok()).map(|of| (of, kind));
            }
            [b"file", path, digest] => {
                if let Some(((name, version), kind)) = package {
                    listed.entry(OsStr::from_bytes(path)).or_default().push(Entry { name, version, kind, digest });
                }
            }
            _ => {} // "file /x is not owned by any package"
        }
    }
    listed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

    use super::*;

    #[test]
    fn files_are_their_packages_with_the_kind_of_digest_that_it_says() {
        let digest = Sha256::of(b"x");
        let said = format!(
            "file /y is not owned by any package\npackage\tdemo\t1.0-1\t8\nfile\t/x\t{digest}\nfile\t/d\t\n\
             package\told\t2-3\t(none)\nfile\t/o\t{}\npackage\tnew\t1-1\t10\nfile\t/n\tabc\n",
            md5(b"o")
        );
        let listed = parse(said.as_bytes());
        let says = |path: &str, bytes: &[u8]| {
            let entry = &listed.get(OsStr::new(path)).unwrap()[0];
            (entry.name, entry.version, entry.compare(bytes))
        };
        assert_eq!(says("/x", b"x"), ("demo", "1.0-1", PackagedBytes::Same(DigestKind::Sha256)));
        assert_eq!(says("/x", b"y"), ("demo", "1.0-1", PackagedBytes::Different(DigestKind::Sha256)));
        assert_eq!(says("/d", b""), ("demo", "1.0-1", PackagedBytes::Untold));
        assert_eq!(says("/o", b"o"), ("old", "2-3", PackagedBytes::Same(DigestKind::Md5)));
        assert_eq!(says("/n", b"n"), ("new", "1-1", PackagedBytes::Untold));
        assert!(listed.len() == 4);
    }
}
