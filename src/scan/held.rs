//! What the guard holds back. Nobody can open it, this program included; the daemon has read it and tells.

use std::io;
use std::path::Path;

use super::finding::Finding;
use super::item::{Item, Line};
use crate::audit::escape;
use crate::config::Config;
use crate::control::{Access, Refusal, Seen, Why};

/// Most files that the daemon is asked about: each costs it a look at every package, and other commands wait meanwhile.
const MAX_ASKED: usize = 500;

/// The way to a daemon that may run.
pub(super) struct Daemon<'a> {
    config: &'a Config,
    way: Way,
    asked: usize,
    remarks: Vec<String>,
}

enum Way {
    /// Nobody has needed it yet.
    Untried,
    Open(Access),
    /// No daemon, no root, or it has ceased to answer.
    None,
}

/// What the daemon says of a file that cannot be opened.
pub(super) enum Told {
    /// This.
    Seen(Box<Seen>),
    /// It says no, and why.
    Refused(Refusal),
    /// Nobody was asked.
    Nothing,
}

impl<'a> Daemon<'a> {
    /// Whoever keeps the state that the policy names; nobody is spoken to before there is a file to ask about.
    pub(super) fn of(config: &'a Config) -> Self {
        // It listens to root alone, and records whoever else speaks to it.
        let way = if nix::unistd::geteuid().is_root() { Way::Untried } else { Way::None };
        Daemon { config, way, asked: 0, remarks: Vec::new() }
    }

    /// Whether an error is the gate's answer.
    pub(super) fn is_denial(error: &io::Error) -> bool {
        error.raw_os_error() == Some(libc::EPERM)
    }

    /// Asks about the file of this path, whose directory is resolved.
    pub(super) fn ask(&mut self, path: &Path) -> Told {
        if matches!(self.way, Way::Untried) {
            self.way = Access::to_daemon(self.config).map_or(Way::None, Way::Open);
        }
        let Way::Open(access) = &self.way else { return Told::Nothing };
        if self.asked == MAX_ASKED {
            self.remarks
                .push(format!("more than {MAX_ASKED} files are held back: `pthguard approvals --held` lists all"));
            self.way = Way::None;
            return Told::Nothing;
        }
        self.asked += 1;
        match access.desk().read(path) {
            Ok(seen) => Told::Seen(Box::new(seen)),
            Err(refusal) => {
                if matches!(refusal.why, Why::System | Why::Malformed) {
                    // One that hangs would keep us waiting for each file.
                    self.remarks.push(refusal.message.clone());
                    self.way = Way::None;
                    return Told::Nothing;
                }
                Told::Refused(refusal)
            }
        }
    }

    /// What is missing from the picture.
    pub(super) fn into_remarks(self) -> Vec<String> {
        self.remarks
    }
}

/// Tells of a file as the daemon sees it.
pub(super) fn describe(item: &mut Item, seen: &Seen) {
    item.content = Some(seen.class.as_str());
    item.sha256 = Some(seen.sha256.to_string());
    item.size = Some(seen.size);
    item.approval = Some(match &seen.approved {
        _ if seen.is_approved => "approved",
        Some((sha256, _)) if *sha256 != seen.sha256 => "other-bytes",
        Some(_) | None => "none",
    });
    if let (None, Some(package)) = (&item.owner, &seen.package) {
        item.owner = Some(escape(package.to_string().as_bytes()).into_owned());
        item.owner_source = Some(package.source.as_str());
    }
    // The worst line alone could be a decoy, and the daemon does not say which it is. They are escaped.
    item.lines = seen.lines.iter().map(|(number, text)| Line { number: *number, text: text.clone() }).collect();
    item.more_lines = seen.more_lines;
    item.add(Finding::Held, &why(seen));
    if let Some(remark) = &seen.remark {
        item.add(Finding::Held, remark);
    }
}

fn why(seen: &Seen) -> String {
    if seen.is_approved {
        // Its bytes changed a moment ago, somebody writes it, or there was no time to decide.
        return "it could not be read though its bytes are approved: it changes just now, or the guard had no time; scan again"
            .to_owned();
    }
    if seen.approved.as_ref().is_some_and(|(sha256, _)| *sha256 == seen.sha256) {
        return "nobody can read it: its bytes are approved only together with the .start file that lay beside it"
            .to_owned();
    }
    let Some(held) = &seen.held else {
        return "nobody can read it: its bytes are not approved".to_owned();
    };
    let who = match held.author.as_str() {
        "" => "nobody saw who brought it".to_owned(),
        author => format!("brought by {author}"),
    };
    let changed = if held.sha256.is_some_and(|sha256| sha256 != seen.sha256) { ", and changed since" } else { "" };
    format!(
        "nobody can read it ({}, since {}{changed}), {who}: `pthguard approve` it if it is wanted",
        held.reason, held.since
    )
}
