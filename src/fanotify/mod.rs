//! The kernel boundary: fanotify groups and marks, events and answers, file handles, leases, processes by descriptor.
//!
//! *Owns* every `unsafe` block of the crate and every layout that the kernel defines (fanotify(7), open_by_handle_at(2),
//! fcntl(2), pidfd_open(2), openat2(2), open_tree(2)). *Must not* know what a site directory or a policy is. *Hands to*
//! its callers owned descriptors and plain values.

pub mod by_file;
pub mod event;
pub mod file;
pub mod group;
pub mod handle;
pub mod ledger;
pub mod lending;
pub mod memory;
pub mod mounts;
pub mod process;
pub mod wire;

pub use by_file::{ByFile, Identity, Kept};
pub use event::{PermissionEvent, Reply};
pub use file::{WriteProbe, probe_writers};
pub use group::{Changes, NotificationGroup, Opens, PermissionGroup};
pub use handle::{FileId, Handle};
pub use ledger::{Ledger, Left};
pub use lending::{borrow_mount, lend_mount};
pub use mounts::{Known, Lookup, MountNews, copy_mount, open_within};
pub use process::Pidfd;
