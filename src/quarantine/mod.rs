//! What was taken out of site directories: kept, looked at, put back, thrown away.
//!
//! *Owns* the quarantine below the state directory and the writing of files into site directories. *Must not* decide
//! what goes there or comes back. *Hands to* the watch a place for what it takes out, and to people what lies there.
//!
//! ```text
//! quarantine/
//!   ID.json           the note: what it was, where, whose, who brought it, why it was taken
//!   ID                its bytes, as a copy
//!   .pthguard-ID      or the file itself, where it was too large to be copied
//! ```
//!
//! Links and special files are all in their note.

#![forbid(unsafe_code)]

mod note;
mod place;
mod rename;
mod store;

pub use note::{Id, Kind, Note, Times, Why};
pub use place::{Attributes, Content, copy_sparse, place};
pub use rename::rename_new;
pub use store::{DIRECTORY, Item, Store};

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What the names begin with under which files lie aside for a moment.
const ASIDE: &str = ".pthguard-";

/// A name in a site directory that is no startup file's.
#[must_use]
pub fn aside_name(id: &str) -> OsString {
    format!("{ASIDE}{id}").into()
}

/// Whether a file of this name may have been taken aside, from under somebody who opened it as a startup file.
#[must_use]
pub fn is_aside(name: &OsStr) -> bool {
    name.as_bytes().starts_with(ASIDE.as_bytes())
}

/// The number under which a file was taken aside, if that is what its name says.
#[must_use]
pub fn id_of_aside(name: &OsStr) -> Option<Id> {
    name.to_str()?.strip_prefix(ASIDE)?.parse().ok()
}
