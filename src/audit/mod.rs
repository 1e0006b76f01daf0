//! What happened, told to people and to their collectors.
//!
//! ```text
//! gate, watch, daemon ─▶ Audit::record (try_send, never blocks) ─▶ pth-audit: limit ─▶ JSON lines, syslog or journal, stderr
//! control ─▶ Audit::follow (a connected stream) ───────────────────▶      └─▶ whoever follows
//! ```
//!
//! *Owns* the form of a record and everything that leaves the daemon as one. *Must not* delay a decision: a record is
//! plain data until it has reached the auditor's thread, which is the only one that may block, and a full queue drops
//! records with a count. *Hands to* files and sockets one line per record, whatever bytes a name holds.

#![forbid(unsafe_code)]

mod auditor;
mod counters;
mod datagrams;
mod ecs;
mod escape;
mod follow;
mod format;
mod health;
mod image;
mod journal;
mod limit;
mod lines;
mod logfile;
mod ocsf;
mod offenders;
mod record;
#[cfg(test)]
mod sample;
mod syslog;
mod text;
mod worker;

pub use auditor::{Audit, Auditor, Flush, JsonTarget, QUEUE_CAPACITY, SystemLog, Targets};
pub use counters::Counters;
pub use ecs::json_line;
pub use escape::{escape, escape_path, unescape};
pub use follow::{Ending, Form, MAX_FOLLOWERS, Wish};
pub use image::Image;
pub use record::{Action, Outcome, Record};
pub use text::text_line;
