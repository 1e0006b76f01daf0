//! What comes and goes in the site directories.
//!
//! *Owns* the watch group, the table of tracked files, the marks, quarantine and the putting back of replaced files.
//! *Must not* decide whether a newcomer may stay. *Hands to* the gate notices of what happened, and carries out what
//! it decides.
//!
//! A file is tracked by its handle from the moment that it gets a startup name, before anybody can be answered about
//! it: the kernel queues a notification while it still holds the directory's lock, and [`Watch::drain`] reads
//! everything that is queued before a permission event is judged.

mod drain;
mod filesystems;
mod following;
mod lanes;
mod links;
mod neighbours;
mod permit;
mod programs;
mod quarantine;
mod restore;
mod sites;
mod tracked;
mod unrest;
mod walk;

pub use drain::{Arrival, Author, Groups, How, Notice, Watch};
pub use filesystems::{Mount, Mounts};
pub use following::is_still_link;
pub use lanes::{Lane, PerLane, is_layered};
pub use links::Way;
pub use permit::{Permit, Stage, Writer};
pub use programs::ProgramId;
pub use quarantine::{CAPACITY as QUARANTINE_CAPACITY, Quarantine, Quarantined};
pub use restore::{restore, restore_quarantined};
pub use sites::{Guarded, Role, SiteDir, SiteId, Sites, reach};
pub use tracked::{Place, TrackedFile, Tracker};
pub use unrest::Felt;
pub use walk::{NotReached, Reached, Unguardable, Walk, Walks, reach_local};
