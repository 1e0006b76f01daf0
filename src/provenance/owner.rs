//! The package that a file belongs to, as the packages of its environment tell it.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use super::distinfo::{self, Identity, identify, inside, normalized};
use super::record::{Digest, Row, components, rows, split_last};
use super::sites::{DirId, SiteDir, of_prefix, too_many};
use crate::model::{Package, PackageSource, Sha256};

/// The largest RECORD that is read. TensorFlow's has 3 MiB.
const MAX_RECORD: u64 = 32 * 1024 * 1024;
/// All of them together.
const MAX_RECORDS: u64 = 512 * 1024 * 1024;

/// Whose a file is.
#[derive(Debug)]
pub enum Ownership {
    /// One package lists the file, with this digest.
    Owned(Package),
    /// Several packages list it, or a package has written metadata that is not its own: nobody is believed.
    Contested(Vec<Package>),
    /// One package lists it, with another digest.
    HashDiffers(Package),
    /// One package lists it without a SHA-256, or its own metadata does not agree on its name, or it is an old
    /// installer's list (`*.egg-info`).
    Unproven(Package),
    /// No package lists it.
    Nobody,
    /// Something that might list it cannot be read.
    Unreadable(io::Error),
}

impl Ownership {
    /// The package that owns the file, where there is no doubt.
    #[must_use]
    pub fn package(&self) -> Option<&Package> {
        match self {
            Ownership::Owned(package) => Some(package),
            Ownership::Contested(_)
            | Ownership::HashDiffers(_)
            | Ownership::Unproven(_)
            | Ownership::Nobody
            | Ownership::Unreadable(_) => None,
        }
    }

    /// What there is to doubt about it.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        match self {
            Ownership::Owned(_) | Ownership::Nobody => None,
            Ownership::Contested(packages) => {
                let names: Vec<String> = packages.iter().map(ToString::to_string).collect();
                Some(format!("several packages claim it: {}", names.join(", ")))
            }
            Ownership::HashDiffers(package) => Some(format!("{package} lists it with another digest")),
            Ownership::Unproven(package) => Some(format!("{package} lists it without proof")),
            Ownership::Unreadable(error) => Some(format!("whose it is cannot be told: {error}")),
        }
    }
}

/// Which package lists this file of a site directory, open as `site`, with this digest.
///
/// `path` is a startup file's name, or the path of another file below the site directory. RECORD comes last in an
/// installation: ask when the writer is done. Reads every RECORD of the prefix, so it is not for the hot path.
#[must_use]
pub fn recorded_owner(site: impl AsFd, path: &OsStr, sha256: Sha256) -> Ownership {
    recorded_owners(site, &[(path, sha256)]).pop().unwrap_or(Ownership::Nobody)
}

/// The same for several files at once, in their order: the RECORDs are read once.
#[must_use]
pub fn recorded_owners(site: impl AsFd, files: &[(&OsStr, Sha256)]) -> Vec<Ownership> {
    match of_prefix(site).and_then(|sites| Listing::read(&sites, files).map(|listing| (sites, listing))) {
        Ok((sites, listing)) => {
            (0..files.len()).map(|file| listing.judge(&sites, file, files[file]).unwrap_or_else(unreadable)).collect()
        }
        Err(error) => files.iter().map(|_| unreadable(again(&error))).collect(),
    }
}

fn unreadable(error: io::Error) -> Ownership {
    Ownership::Unreadable(error)
}

fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// A metadata directory: the number of its site directory, and its name there.
type Place = (usize, OsString);

/// What all RECORDs together say about some files.
struct Listing {
    /// For each file, who lists it and with which digest.
    claims: Vec<Vec<(Place, Digest)>>,
    /// Who lists another's metadata, and whose.
    intrusions: HashSet<(Place, Place)>,
    /// The first RECORD that could not be read.
    fault: Option<io::Error>,
    /// Which metadata directory has which identity, once that is asked.
    places: Option<HashMap<DirId, Place>>,
}

/// A file that is asked about.
struct Wanted<'a> {
    path: &'a [u8],
    /// The directory that it lies in.
    dir: Option<DirId>,
}

impl Listing {
    fn read(sites: &[SiteDir], files: &[(&OsStr, Sha256)]) -> io::Result<Self> {
        let mut wanted: HashMap<&[u8], Vec<usize>> = HashMap::new();
        let mut details = Vec::with_capacity(files.len());
        for (number, (path, _)) in files.iter().enumerate() {
            let (dir, last) = split_last(path.as_bytes());
            wanted.entry(last).or_default().push(number);
            details.push(Wanted { path: path.as_bytes(), dir: sites.first().and_then(|site| site.look_up(dir)) });
        }
        let claims = files.iter().map(|_| Vec::new()).collect();
        let mut listing = Listing { claims, intrusions: HashSet::new(), fault: None, places: None };
        let mut text = Vec::new();
        let mut room = MAX_RECORDS;
        for (number, site) in sites.iter().enumerate() {
            for name in &site.dist_infos {
                match read_record(site, name, &mut text) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // a distribution's package
                    Err(error) => {
                        listing.fault.get_or_insert(error);
                        continue;
                    }
                }
                room = room.checked_sub(text.len() as u64).ok_or_else(|| too_many("bytes in the RECORDs"))?;
                let place = (number, name.clone());
                rows(&text, |row| listing.note(sites, &place, &row, &wanted, &details));
            }
        }
        Ok(listing)
    }

    fn note(
        &mut self,
        sites: &[SiteDir],
        place: &Place,
        row: &Row<'_>,
        wanted: &HashMap<&[u8], Vec<usize>>,
        details: &[Wanted<'_>],
    ) {
        let (dir, last) = split_last(row.path);
        if let Some(numbers) = wanted.get(last) {
            for number in numbers {
                if names_it(sites, place.0, row.path, dir, &details[*number]) {
                    self.claims[*number].push((place.clone(), row.digest()));
                }
            }
        }
        // By far the most rows of this kind are a package's own.
        if matches!(last, b"RECORD" | b"METADATA")
            && dir != place.1.as_bytes()
            && let Some(victim) = self.metadata_directory(sites, place.0, dir)
            && victim != *place
        {
            self.intrusions.insert((place.clone(), victim));
        }
    }

    /// The metadata directory that `dir` in a RECORD leads to, however it is spelled.
    fn metadata_directory(&mut self, sites: &[SiteDir], site: usize, dir: &[u8]) -> Option<Place> {
        let found = sites[site].look_up(dir)?;
        let places = self.places.get_or_insert_with(|| {
            let all =
                sites.iter().enumerate().flat_map(|(site, dir)| dir.dist_infos.iter().map(move |name| (site, name)));
            all.filter_map(|(site, name)| Some((sites[site].look_up(name.as_bytes())?, (site, name.clone())))).collect()
        });
        places.get(&found).cloned()
    }

    fn judge(&self, sites: &[SiteDir], file: usize, (path, sha256): (&OsStr, Sha256)) -> io::Result<Ownership> {
        let mut owners = Owners::default();
        for (place, _) in &self.claims[file] {
            owners.add(sites, place)?;
        }
        let mut intruders = Owners::default();
        for (intruder, victim) in &self.intrusions {
            let [one, other] = [intruder, victim].map(|(site, name)| identify(&sites[*site].fd, name));
            if normalized(&one?.package.name) != normalized(&other?.package.name) {
                intruders.add(sites, intruder)?;
            }
        }
        if owners.names.is_empty() {
            return match &self.fault {
                Some(error) => Err(again(error)),
                None => Ok(sites
                    .first()
                    .and_then(|site| old_owner(site, path))
                    .map_or(Ownership::Nobody, Ownership::Unproven)),
            };
        }
        if owners.names.len() > 1 || !intruders.names.is_empty() {
            return Ok(Ownership::Contested(owners.packages_and(intruders)));
        }
        if let Some(error) = &self.fault {
            return Err(again(error));
        }
        let claims =
            || owners.identities.iter().zip(&self.claims[file]).map(|(identity, (_, digest))| (identity, digest));
        let with_digest = claims().find(|(_, digest)| **digest == Digest::Sha256(sha256));
        let with_another = claims().find(|(_, digest)| matches!(digest, Digest::Sha256(_)));
        let any = claims().next();
        Ok(match (with_digest, with_another, any) {
            (Some((owner, _)), _, _) if owner.agrees => Ownership::Owned(owner.package.clone()),
            (None, Some((owner, _)), _) if owner.agrees => Ownership::HashDiffers(owner.package.clone()),
            (_, _, Some((owner, _))) => Ownership::Unproven(owner.package.clone()),
            (_, _, None) => Ownership::Nobody,
        })
    }
}

/// Packages, each named once.
#[derive(Default)]
struct Owners {
    names: HashSet<String>,
    /// One for each place that was added, in order.
    identities: Vec<Identity>,
}

impl Owners {
    fn add(&mut self, sites: &[SiteDir], (site, directory): &Place) -> io::Result<()> {
        let identity = identify(&sites[*site].fd, directory)?;
        self.names.insert(normalized(&identity.package.name));
        self.identities.push(identity);
        Ok(())
    }

    fn packages_and(self, others: Owners) -> Vec<Package> {
        let mut packages: Vec<Package> = Vec::new();
        for identity in self.identities.into_iter().chain(others.identities) {
            if !packages.contains(&identity.package) {
                packages.push(identity.package);
            }
        }
        packages.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
        packages
    }
}

fn read_record(site: &SiteDir, directory: &OsStr, text: &mut Vec<u8>) -> io::Result<()> {
    let file = match distinfo::open(&site.fd, &inside(directory, "RECORD")) {
        // The metadata directory is a file: not a package's.
        Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => return Err(io::ErrorKind::NotFound.into()),
        opened => opened?,
    };
    text.clear();
    file.take(MAX_RECORD + 1).read_to_end(text)?;
    if text.len() as u64 > MAX_RECORD { Err(too_many("rows in a RECORD")) } else { Ok(()) }
}

/// Whether a row of a RECORD in site directory `site` is about that file of the first one.
fn names_it(sites: &[SiteDir], site: usize, path: &[u8], dir: &[u8], wanted: &Wanted<'_>) -> bool {
    let same_text = || components(path).zip(components(wanted.path)).is_some_and(|(row, asked)| row.eq(asked));
    if site == 0 && same_text() {
        return true;
    }
    // Another spelling: through `..`, from the root, through a link such as a virtual environment's lib64.
    wanted.dir.is_some() && sites[site].look_up(dir) == wanted.dir
}

/// The package whose `*.egg-info/installed-files.txt` lists a file. It has no digests.
fn old_owner(site: &SiteDir, path: &OsStr) -> Option<Package> {
    let mut line = b"../".to_vec();
    line.extend(path.as_bytes());
    site.egg_infos.iter().find_map(|directory| {
        let file = distinfo::open(&site.fd, &inside(directory, "installed-files.txt")).ok()?;
        let mut text = Vec::new();
        file.take(MAX_RECORD).read_to_end(&mut text).ok()?;
        if !text.split(|byte| *byte == b'\n').any(|listed| listed.trim_ascii_end() == line) {
            return None;
        }
        let stem = directory.to_str()?.strip_suffix(".egg-info")?;
        let mut parts = stem.split('-');
        let name = parts.next()?.to_owned();
        Some(Package { name, version: parts.next().map(str::to_owned), source: PackageSource::Record })
    })
}
