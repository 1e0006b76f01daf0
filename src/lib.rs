//! pthguard keeps attackers out of Python's start-up path.
//!
//! Every Python interpreter runs code from *startup files* when it starts: lines of `*.pth` files that begin with
//! `import`, and from 3.15 on the entry points in `*.start` files (PEP 829), which lie directly in a *site directory*
//! (site-packages, dist-packages), and the modules `sitecustomize` and `usercustomize`. One planted file is code in every Python process of the host (MITRE ATT&CK
//! T1546.018). pthguard is a daemon that stops the planting process, and the reading interpreter, inside the kernel
//! until it has decided.
//!
//! # The flow
//!
//! ```text
//! kernel ── open of a direct child of a site directory, or of a startup file anywhere
//!   │ fanotify permission event: the opener waits
//!   ▼
//! gate     triage: is it one of ours, tracked, approved? ────────────────────▶ answer
//!   │ worker: write or read (resolve), who (resolve), may it (policy),
//!   │ which bytes (approvals) ───────────────────────────────────────────────▶ answer ──▶ audit
//!   │
//! watch    fanotify notifications: a rename, link or symlink gave a file a startup name
//!   │      tracked before anybody is answered about it
//!   ▼
//! gate     arrivals: judged by the same policy; denied ones to quarantine,
//!   │      replaced and spoilt ones put back ────────────────────────────────────────────▶ audit
//!   │ closed by a permitted writer: what can it do (content), whose is it, where does it
//!   │ lead (provenance)
//!   ├─ within its rule's content ──▶ approved ───────────────────────────────────────────▶ audit
//!   ├─ depends on the rest of the installation ──▶ awaiting: judged again when that ends
//!   └─ beyond it ──▶ held: in place, unreadable, listed ─────────────────────────────────▶ audit
//!
//! ledger   who waits, in memory that outlives the process; with the groups ──▶ the next guard
//!
//! control  an administrator has looked: approve, revoke, restore ──▶ gate ───────────────▶ audit
//! ```
//!
//! # Three questions
//!
//! * **May this process write a startup file here?** Asked in-line, when it opens one: the policy's rules, first match
//!   wins, nothing matches is deny.
//! * **May this writer bring this?** Asked when it closes the file, and again when its process has ended: what a package
//!   owns is known only then. Until it is decided a reader waits, within its budget, and is denied after that.
//! * **Are these bytes approved under this name in this directory?** Asked in-line, when anybody reads one. It is the
//!   point that every way of planting must pass, those included that raise no event when they happen: rename, hard
//!   link, `O_TMPFILE`, an old descriptor, a mapping, a change while the daemon was not running.
//!
//! A file is judged by its inode (file handle), never by the name that it shows at the time: it may have been renamed
//! since it was opened.
//!
//! # Threads
//!
//! | thread | waits for | may wait for others |
//! | --- | --- | --- |
//! | triage ×2 | permission events | no: it answers the daemon's own opens |
//! | layered | permission events on overlayfs | triage, which answers what it opens in the layers |
//! | worker ×12 | requests from triage | /proc of the opener, the file's disk |
//! | watch ×3 | notifications | no |
//! | arrivals ×3 | notices from the watch | disks |
//! | leases | the time that an interpreter needs to read a file | no |
//! | deadline | the oldest request's due time | no |
//! | awaiting | the end of an installation | disks |
//! | places | half a second to pass: do the guarded directories lie where they did? | disks |
//! | discovery | directories that are made or moved anywhere, names on the way to a site directory | disks |
//! | search | something to search: at the start, and a large directory that was moved | disks, interpreters that it asks |
//! | mounts | a change of the mounts | disks |
//! | programs | a minute to pass: which files are the policy's programs now? | disks |
//! | listers | threads that have listed a site directory | their /proc |
//! | audit | records | disks, sockets |
//! | control | commands, one at a time | disks, packages' databases, and whoever asks for two seconds |
//! | metrics | time to pass, where the policy names a file for monitoring | disks |
//! | takeover | the directories of an earlier guard to be known again | no; ends the process if they are not |
//! | main | signals; loads the policy anew | disks, while it starts or loads |
//!
//! Directories that only root can write and those of ordinary users have a lane each ([`watch::Lane`]): fanotify groups,
//! queues and the threads that are there twice. What users do in theirs holds up no decision about the system's.
//!
//! # Rules of the hot path
//!
//! 1. Every permission event is answered exactly once: by its judge, else by the deadline, else by `Drop`. A forgotten
//!    event is a frozen process.
//! 2. Between read and answer nobody opens a guarded file by its path, looks a user name up, writes a log, or holds a
//!    lock that a thread which does such things may hold.
//! 3. Opens by the daemon's own threads are answered by the thread that reads them, before anything else.
//! 4. A panic aborts: with the process the kernel ends the groups and lets everybody go.
//! 5. Every failure has a name, an action and a counter ([`model::Failure`]).
//! 6. A decision has one policy from its beginning to its end ([`gate::Ruling`]).
//!
//! # Modules, in the order of the flow
//!
//! Imports go one way; `tests/layers.rs` holds the table.

pub mod model;

pub mod backlog;

pub mod fanotify;

pub mod policy;

pub mod config;

pub mod content;

pub mod provenance;

pub mod resolve;

pub mod approvals;

pub mod quarantine;

pub mod audit;

pub mod watch;

pub mod discovery;

pub mod status;

pub mod control;

pub mod gate;

pub mod daemon;

pub mod explain;

pub mod replay;

pub mod scan;

pub mod doctor;

pub mod commands;

pub mod cli;
