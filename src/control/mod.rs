//! What an administrator changes, and how a command comes to the daemon: the control socket.
//!
//! ```text
//! command ─▶ Access::to(state) ── the lock is free ─▶ Offline ─▶ approvals, quarantine on disk
//!                 │ the daemon holds it
//!                 ▼
//!              Remote ─▶ STATE/control ─▶ Server ─▶ the daemon's own Desk (gate)
//! ```
//!
//! `events` is answered once; then the auditor has the connection, and writes the log to it.
//!
//! *Owns* the protocol, the socket and the answer to "who may speak to it": uid 0 of the initial user namespace, by
//! SO_PEERCRED, on every connection. *Must not* decide what is harmless: a person does, and is shown what for.
//! *Hands to* whoever keeps the approvals one change at a time, each with its audit record.
//!
//! A change names the directory by its file handle and the bytes by their digest, as they were shown: what has been
//! exchanged since is refused, not approved.

#![forbid(unsafe_code)]

mod access;
mod client;
mod desk;
mod events;
pub mod ledger;
mod look;
mod offline;
mod peer;
mod protocol;
pub mod putback;
pub mod record;
mod server;
mod socket;
#[cfg(test)]
mod tests;

pub use access::{Access, check_state};
pub use desk::{Approved, Desk, HeldFile, Name, Refusal, Restored, Revoked, Seen, Shown, Why};
pub use events::{Lost, watch};
pub use look::{Looked, Place, place};
pub use peer::Peer;
pub use putback::Preview;
pub use server::Server;
