//! dpkg's database.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use md5::{Digest as _, Md5};

use super::child;
use super::distribution::{DigestKind, DistributionFile, Packaged, PackagedBytes, spellings};
use crate::model::{Package, PackageSource};

const QUERY: &str = "/usr/bin/dpkg-query";
const DATABASE: &str = "/var/lib/dpkg";
/// The largest list of digests that is read; linux-headers' has 2 MiB.
const MAX_SUMS: u64 = 32 * 1024 * 1024;

pub(super) fn is_here() -> bool {
    Path::new(QUERY).exists() && Path::new(DATABASE).join("status").exists()
}

/// The packages that own these files.
pub(super) fn owners(files: &[Packaged<'_>], until: Instant) -> io::Result<HashMap<PathBuf, DistributionFile>> {
    let mut arguments = vec![OsString::from("--search"), OsString::from("--")];
    arguments.extend(files.iter().flat_map(|file| spellings(file.path)));
    let listed = Search::parse(&child::output(QUERY, &arguments, until)?);

    let owned: Vec<_> = files.iter().filter_map(|file| Some((file, listed.owner(file.path)?))).collect();
    let mut names: Vec<&str> = owned.iter().map(|(_, (name, _))| *name).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let versions = versions(&names, until)?;
    let mut found = HashMap::new();
    for (file, (name, spelling)) in owned {
        if let Some(version) = versions.get(name) {
            let package = Package {
                name: name.split(':').next().unwrap_or(name).to_owned(),
                version: Some(version.clone()),
                source: PackageSource::Dpkg,
            };
            let bytes = compare(name, &spelling, file.bytes);
            found.insert(file.path.to_owned(), DistributionFile { package, bytes });
        }
    }
    Ok(found)
}

/// What `dpkg-query --search` says.
#[derive(Default)]
struct Search {
    /// Packages by path, with their architecture where several may be installed.
    packages: HashMap<OsString, Vec<String>>,
    /// The package that has put its own file in the place of others', by path; none for the administrator.
    diverted: HashMap<OsString, Option<String>>,
}

impl Search {
    fn parse(said: &[u8]) -> Self {
        let mut search = Search::default();
        for line in said.split(|byte| *byte == b'\n') {
            // Package names hold no `: `; the paths that are asked for are known.
            let Some(at) = line.windows(2).position(|pair| pair == b": ") else { continue };
            let (Ok(who), path) = (str::from_utf8(&line[..at]), OsString::from_vec(line[at + 2..].to_vec())) else {
                continue;
            };
            if let Some(by) = who.strip_prefix("diversion by ") {
                if let Some(package) = by.strip_suffix(" from") {
                    search.diverted.insert(path, Some(package.to_owned()));
                }
            } else if who == "local diversion from" {
                search.diverted.insert(path, None);
            } else {
                let names = who.split(", ").filter(|name| is_name(name)).map(str::to_owned);
                search.packages.entry(path).or_default().extend(names);
            }
        }
        search
    }

    /// The one package that a file belongs to, and how it spells its path.
    fn owner(&self, path: &Path) -> Option<(&str, OsString)> {
        let mut owner: Option<(&str, OsString)> = None;
        for spelling in spellings(path) {
            let diverted = self.diverted.get(&spelling);
            for name in self.packages.get(&spelling).into_iter().flatten() {
                let plain = |name: &str| name.split(':').next().map(str::to_owned);
                match (diverted, &owner) {
                    // Who is diverted has its file elsewhere.
                    (Some(by), _) if by.as_deref().and_then(plain) != plain(name) => {}
                    (_, Some((other, _))) if plain(other) != plain(name) => return None,
                    (_, Some(_)) => {}
                    (_, None) => owner = Some((name, spelling.clone())),
                }
            }
        }
        owner
    }
}

/// `python3-zope.interface`, `libpython3.11:amd64`
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | ':');
    name.len() >= 2 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(fits)
}

fn versions(names: &[&str], until: Instant) -> io::Result<HashMap<String, String>> {
    let format = "--showformat=${binary:Package}\\t${Version}\\t${db:Status-Status}\\n";
    let arguments: Vec<&str> = ["--show", format, "--"].into_iter().chain(names.iter().copied()).collect();
    let said = child::output(QUERY, &arguments, until)?;
    let lines = String::from_utf8_lossy(&said);
    let installed = lines.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        let (name, version, status) = (fields.next()?, fields.next()?, fields.next()?);
        (status == "installed").then(|| (name.to_owned(), version.to_owned()))
    });
    Ok(installed.collect())
}

/// Holds bytes against the package's list of digests.
fn compare(package: &str, path: &OsStr, bytes: &[u8]) -> PackagedBytes {
    let sums = Path::new(DATABASE).join("info").join(format!("{package}.md5sums"));
    let Ok(sums) = read(&sums) else { return PackagedBytes::Untold };
    match listed(&sums, path) {
        None => PackagedBytes::Untold,
        Some(listed) if listed == md5(bytes).as_bytes() => PackagedBytes::Same(DigestKind::Md5),
        Some(_) => PackagedBytes::Different(DigestKind::Md5),
    }
}

pub(super) fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    File::open(path)?.take(MAX_SUMS).read_to_end(&mut text)?;
    Ok(text)
}

/// The digest of a path: `MD5  usr/lib/…`, without the first slash.
fn listed<'a>(sums: &'a [u8], path: &OsStr) -> Option<&'a [u8]> {
    let path = path.as_bytes().strip_prefix(b"/")?;
    let mut lines = sums.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let (digest, rest) = line.split_at_checked(32)?;
        (rest.strip_prefix(b"  ")? == path).then_some(digest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(said: &str) -> Option<String> {
        Search::parse(said.as_bytes()).owner(Path::new("/usr/share/x.pth")).map(|(name, _)| name.to_owned())
    }

    #[test]
    fn one_package_owns_a_file() {
        assert_eq!(owner("python3-x: /usr/share/x.pth\n").as_deref(), Some("python3-x"));
        assert_eq!(owner("libx:amd64, libx:i386: /usr/share/x.pth\n").as_deref(), Some("libx:amd64"));
        assert_eq!(owner("one, two: /usr/share/x.pth\n"), None);
        assert_eq!(owner("one: /usr/share/x.pth.d/y\n"), None);
        assert_eq!(owner("../../evil: /usr/share/x.pth\n"), None);
        assert_eq!(owner(""), None);
    }

    #[test]
    fn a_diverted_file_is_the_diverters() {
        let lines = "diversion by two from: /usr/share/x.pth\ndiversion by two to: /usr/share/x.pth.orig\n";
        assert_eq!(owner(&format!("{lines}one, two: /usr/share/x.pth\n")).as_deref(), Some("two"));
        assert_eq!(owner(&format!("{lines}one: /usr/share/x.pth\n")), None);
        assert_eq!(owner("local diversion from: /usr/share/x.pth\none: /usr/share/x.pth\n"), None);
    }

    #[test]
    fn digests_are_found_by_the_whole_path() {
        let sums =
            b"0123456789abcdef0123456789abcdef  usr/share/x.pth\nshort\nfedcba9876543210fedcba9876543210  usr/y\n";
        assert_eq!(listed(sums, OsStr::new("/usr/y")), Some(&b"fedcba9876543210fedcba9876543210"[..]));
        assert_eq!(listed(sums, OsStr::new("/share/x.pth")), None);
        assert_eq!(md5(b""), "d41d8cd98f00b204e9800998ecf8427e");
    }
}
