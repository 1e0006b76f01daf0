//! A change of the store and the line that it is in the journal.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::text;
use super::{Approval, Directory, Held, Metadata};
use crate::model::{Origin, Sha256};

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) directory: Directory,
    #[serde(with = "text")]
    pub(super) name: OsString,
}

/// One change. The time is RFC 3339, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Change {
    Approve {
        file: Place,
        approval: Approval,
        time: String,
    },
    Revoke {
        file: Place,
        time: String,
    },
    Hold {
        file: Place,
        held: Held,
    },
    Release {
        file: Place,
        time: String,
    },
    ApproveEverywhere {
        #[serde(with = "text")]
        name: OsString,
        sha256: Sha256,
        origin: Origin,
        time: String,
    },
    /// Without a digest: all of that name.
    RevokeEverywhere {
        #[serde(with = "text")]
        name: OsString,
        sha256: Option<Sha256>,
        time: String,
    },
}

/// Between the change and its checksum.
const SUM: &str = ",\"sum\":\"";
const SUM_DIGITS: usize = 32;
const END: &str = "\"}";

impl Change {
    /// The change as one JSON object, with the first half of the SHA-256 of all that stands before it.
    pub(super) fn to_line(&self) -> Result<String, serde_json::Error> {
        let mut line = serde_json::to_string(self)?;
        line.pop(); // the brace, which comes after the sum
        let sum = checksum(&line);
        Ok(format!("{line}{SUM}{sum}{END}\n"))
    }

    /// Reads a line, without its end.
    pub(super) fn from_line(line: &str) -> Result<Self, String> {
        let foreign = || "not a line of this journal".to_owned();
        let rest = line.strip_suffix(END).ok_or_else(foreign)?;
        let (rest, sum) = rest.split_at_checked(rest.len().saturating_sub(SUM_DIGITS)).ok_or_else(foreign)?;
        let body = rest.strip_suffix(SUM).ok_or_else(foreign)?;
        if checksum(body) != sum {
            return Err("the checksum does not fit the line".into());
        }
        serde_json::from_str(&format!("{body}}}")).map_err(|error| format!("not a line of this journal ({error})"))
    }
}

fn checksum(text: &str) -> String {
    let mut sum = Sha256::of(text.as_bytes()).to_string();
    sum.truncate(SUM_DIGITS);
    sum
}

/// The lines of the journal's first version, which knew approvals only.
pub(super) mod v1 {
    use serde_json::value::RawValue;

    use super::{Approval, Change, Deserialize, Directory, Metadata, Origin, OsString, Place, Sha256, checksum, text};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line<'a> {
        #[serde(borrow)]
        approve: &'a RawValue,
        sum: &'a str,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        #[serde(with = "text")]
        directory: OsString,
        handle: String,
        #[serde(with = "text")]
        name: OsString,
        sha256: Sha256,
        origin: Origin,
        approved: String,
        uid: u32,
        gid: u32,
        mode: u32,
        mtime: i64,
        mtime_nsec: i64,
    }

    pub(in super::super) fn from_line(line: &str) -> Result<Change, String> {
        let foreign = |error| format!("not a line of this journal ({error})");
        let line: Line = serde_json::from_str(line).map_err(foreign)?;
        if checksum(line.approve.get()) != line.sum {
            return Err("the checksum does not fit the line".into());
        }
        let Entry { directory, handle, name, sha256, origin, approved, uid, gid, mode, mtime, mtime_nsec } =
            serde_json::from_str(line.approve.get()).map_err(foreign)?;
        let metadata = Metadata { uid, gid, mode, mtime, mtime_nsec, xattrs: super::super::Xattrs::default() };
        Ok(Change::Approve {
            file: Place { directory: Directory { path: directory.into(), handle }, name },
            approval: Approval::new(sha256, origin, metadata),
            time: approved,
        })
    }
}
