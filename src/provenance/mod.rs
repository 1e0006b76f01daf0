//! Whose a startup file is, and where its path lines lead.
//!
//! * Owns: what packages say about files (`*.dist-info/RECORD`, dpkg, rpm), and the examination of directories that a
//!   startup file adds to the module search path.
//! * Must not: run on the hot path where it says so; believe a package about another package's files.
//! * Hands to: the judgement of listed files, which asks whether the package that is listed owns the file, and to people.
//!
//! # What a wheel can forge
//!
//! A wheel is unpacked by pip or uv before any of its code runs. It can bring any file below the environment's prefix
//! (`NAME.data/purelib`, `NAME.data/data`): another package's `RECORD` and `METADATA`, in this site directory or in the
//! one of another Python of the same prefix. It cannot keep out of its own RECORD what it brings: pip and uv add what the
//! wheel's list leaves out. So:
//!
//! * a file that two packages list is nobody's;
//! * a package whose RECORD lists another's RECORD or METADATA has written that, and nothing that is said in any site
//!   directory of the prefix is believed any more;
//! * what cannot be read could say something: then there is no answer.
//!
//! What it brings can also lie in the place of another package's *module*, which that package's startup file runs. The
//! startup file is then owned, and is as it was: [`foreign_modules`] tells.
//!
//! Code that runs as the owner of the directory can write what it likes into RECORD. It can change the modules of the
//! package, too, and needs no startup file for that: ownership is information, and no proof of harmlessness.

#![forbid(unsafe_code)]

mod child;
mod distinfo;
mod distribution;
mod dpkg;
mod journey;
mod link;
mod modules;
mod namespace;
mod owner;
mod record;
mod rpm;
mod sites;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use child::output as output_of_tool;
pub use distinfo::normalized;
pub use distribution::{
    DISTRIBUTION_LIMIT, DigestKind, DistributionFile, Packaged, PackagedBytes, distribution_owner, distribution_owners,
};
pub use link::{LinkWay, follow_link};
pub use modules::{ForeignModule, foreign_modules};
pub use namespace::extension_of_namespace;
pub use owner::{Ownership, recorded_owner, recorded_owners};
pub use target::{Target, TargetFinding, TargetKind, examine, is_customize};
