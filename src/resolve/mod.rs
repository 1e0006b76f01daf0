//! From a kernel event to the facts that a policy decides on: who asks, for what, under which name.
//!
//! *Owns* the reading of /proc and of the event descriptor. *Must not* decide anything. *Hands to* the gate plain
//! [`crate::model`] values. Everything here may wait (a command line can lie in memory that a slow FUSE server backs),
//! so it runs on worker threads, under the deadline.

#![forbid(unsafe_code)]

mod asked;
mod beginning;
mod call;
mod cgroup;
mod code;
mod environment;
mod identity;
mod intent;
mod known;
mod listing;
mod place;
mod program;
mod recorded;
mod script;
mod stat;
mod status;
mod subject;

pub use asked::{Asked, asked, asked_path};
pub use environment::{program_environment, site_prefix};
pub use identity::runs_python;
pub use intent::{Intent, intent};
pub use listing::begins_to_list;
pub use place::OpenedAs;
pub use program::{open_path, program_at};
pub use recorded::recorded;
pub use subject::{Resolver, Unresolved, WithParent};
