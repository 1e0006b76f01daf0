//! `pthguard replay`: what the policy would have said to operations that somebody else has recorded.
//!
//! ```text
//! file ─▶ input (one record at a time, constant memory) ─▶ formats (which one is it, what does it say) ─▶ event
//!      ─▶ judge (the policy, as a running guard asks it) ─▶ tally (counts, writers) ─▶ report, suggest
//! ```
//!
//! *Owns* the reading of recorded telemetry, which can be gigabytes and which nobody vouches for: whoever plants a file
//! chooses names, arguments and much else that is in a record. *Must not* look anything up on this host: the records can
//! be of another one. *Hands to* people what would have been answered, and which writers they should look at.

#![forbid(unsafe_code)]

mod event;
mod formats;
mod input;
mod judge;
mod progress;
mod report;
mod run;
mod suggest;
mod tally;

pub use event::{Event, Malformed, Operation};
pub use formats::{Format, Parsed, Parser};
pub use input::{Chunk, Input, MAX_CHUNK};
pub use run::{Form, Options, Outcome, ReplayError, replay};
