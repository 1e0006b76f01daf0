//! Extended attributes: access lists, labels and whatever else belongs to a file beside its bytes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::text;

/// Most bytes of names and values that are kept of one file. Some file systems take megabytes from anybody; access lists
/// and labels need some hundred.
const MAX_BYTES: usize = 64 * 1024;

/// The extended attributes of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xattrs {
    #[serde(rename = "values", serialize_with = "write_values", deserialize_with = "read_values")]
    kept: BTreeMap<OsString, Vec<u8>>,
    /// How many were too large to be kept; they were the owner's own (`user.*`) as long as there were any of those.
    #[serde(default, skip_serializing_if = "is_zero")]
    left_out: usize,
}

impl Xattrs {
    /// Those of an open file; an `O_PATH` descriptor will do, of a symbolic link, too.
    ///
    /// # Errors
    /// What listxattr(2) and getxattr(2) say, except that a file system without any has none.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let path = link(file.as_fd());
        let names = match xattr::list_deref(&path) {
            Err(error) if is_unsupported(&error) => return Ok(Self::default()),
            names => names?,
        };
        let mut names: Vec<_> = names.collect();
        // Anybody who owns the file can make any number of user.*: they must not crowd out the access list.
        names.sort_by_key(|name| (name.as_bytes().starts_with(b"user."), name.clone()));
        let mut found = Self::default();
        let mut room = MAX_BYTES;
        for name in names {
            let Some(value) = xattr::get_deref(&path, &name)? else { continue }; // removed meanwhile
            match room.checked_sub(name.len() + value.len()) {
                Some(left) => {
                    room = left;
                    found.kept.insert(name, value);
                }
                None => found.left_out += 1,
            }
        }
        Ok(found)
    }

    /// Gives them to a file, an `O_PATH` descriptor included.
    ///
    /// # Errors
    /// One could not be set; the message names it. Labels (`security.*`) that the system does not let anybody set are
    /// its own to make, and are passed over. An access list that is missing would let others in that it kept out.
    pub fn give_to(&self, file: impl AsFd) -> io::Result<()> {
        let path = link(file.as_fd());
        for (name, value) in &self.kept {
            match xattr::set_deref(&path, name, value) {
                Err(error) if is_the_systems(name) && is_refused(&error) => {}
                Err(error) => {
                    let problem = format!("extended attribute {}: {error}", name.to_string_lossy());
                    return Err(io::Error::new(error.kind(), problem));
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.left_out == 0
    }

    /// How many were too large to be kept.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &[u8])> {
        self.kept.iter().map(|(name, value)| (name.as_os_str(), value.as_slice()))
    }

    /// Bytes that they take up.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
    }
}

/// The way to a file of which only an `O_PATH` descriptor is there: fgetxattr(2) does not take those.
fn link(fd: std::os::fd::BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn is_the_systems(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"security.")
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

fn is_refused(error: &io::Error) -> bool {
    is_unsupported(error)
        || error.kind() == io::ErrorKind::PermissionDenied
        || error.raw_os_error() == Some(libc::EINVAL)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    #[serde(with = "text")]
    name: OsString,
    hex: String,
}

fn write_values<S: Serializer>(kept: &BTreeMap<OsString, Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(kept.iter().map(|(name, value)| Value { name: name.clone(), hex: hex::encode(value) }))
}

fn read_values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<OsString, Vec<u8>>, D::Error> {
    let values = Vec::<Value>::deserialize(deserializer)?;
    let decoded =
        values.into_iter().map(|Value { name, hex }| Ok((name, hex::decode(hex).map_err(de::Error::custom)?)));
    decoded.collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
