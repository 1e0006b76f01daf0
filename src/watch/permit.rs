//! That somebody may write a file, and how far the judgement of what was written is.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use super::tracked::Place;
use crate::fanotify::Pidfd;
use crate::fanotify::process::alive;
use crate::model::{ContentSet, Subject};

/// That a writer may write a file, and what would make its content somebody else's.
#[derive(Clone, Debug)]
pub struct Permit {
    /// The rule that permits it.
    pub rule: Arc<str>,
    /// What may be in the file in the end.
    pub content: ContentSet,
    /// The permitted processes.
    pub writers: Vec<Writer>,
    /// How far its judgement is.
    pub stage: Stage,
    /// When it was last judged.
    pub judged: Option<Instant>,
    /// The names for which it was given.
    pub places: Vec<Place>,
    /// Another process has changed the file meanwhile, or content that nobody permitted was in it before.
    pub tainted: bool,
}

impl Permit {
    /// Whether this process is one of the permitted ones.
    #[must_use]
    pub fn is_writer(&self, pid: u32) -> bool {
        self.writers.iter().any(|writer| writer.pid == pid)
    }

    /// Whether somebody whom the permit was given to is still at work.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        let processes = self.writers.iter().filter_map(|writer| writer.process.as_deref());
        alive(processes.map(AsFd::as_fd)).contains(&true)
    }
}

/// A permitted process.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Its id.
    pub pid: u32,
    /// What tells when it has ended; none if it had by then.
    pub process: Option<Arc<Pidfd>>,
    /// Who it was.
    pub subject: Option<Arc<Subject>>,
}

/// How far the judgement of a permitted writer's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is being written, or has just been closed.
    Written,
    /// It goes beyond what the rule lets in, unless the end of the installation shows otherwise: whose it is, and where
    /// its path lines lead.
    Unfinished,
    /// It goes beyond that whatever the end of the installation shows, which is waited for to say whose it is.
    Beyond,
}
