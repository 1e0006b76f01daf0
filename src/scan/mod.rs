//! `pthguard scan`: every startup file of the host, what it can do, whose it is, whether it is approved, and what is
//! remarkable about it.
//!
//! ```text
//! places ──▶ site directories ──▶ look: class, owner, approval ──▶ judge: findings ──▶ text, JSON, SARIF
//! (policy's globs, interpreters)     (content, provenance; the daemon, of what it holds back)
//! ```
//!
//! *Owns* what counts as a finding, and how it is shown. *Must not* change anything, or decide what the guard does. It
//! works for ordinary users, on what they can read.

#![forbid(unsafe_code)]

mod approved;
mod finding;
mod held;
mod item;
mod judge;
mod look;
mod places;
mod sarif;
mod text;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use serde::Serialize;

use self::approved::Approvals;
use self::held::Daemon;
use self::item::Item;
use crate::config;
use crate::content::KnownFiles;

pub use self::finding::{Finding, Severity};

/// What is scanned, and how it is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// These directories; the host's, if there are none.
    pub directories: Vec<PathBuf>,
    /// The policy file that stands in for those under /etc.
    pub config: Option<PathBuf>,
    /// For whom.
    pub form: Form,
}

/// For whom the outcome is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// People.
    #[default]
    Text,
    /// Programs: `{"version":1,"items":[…]}`.
    Json,
    /// Programs that collect findings of many tools: SARIF 2.1.0.
    Sarif,
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to look at.
    Clean,
    /// At least one finding.
    Findings,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The policy is not valid.
    #[error(transparent)]
    Policy(#[from] config::Errors),
    /// A directory that was given is none, or cannot be looked at.
    #[error("{}: {source}: give a directory that holds startup files", path.display())]
    Directory {
        /// As it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The policy names directories by a pattern that is none.
    #[error("protect.sites: {0}")]
    Pattern(#[from] glob::PatternError),
    /// The outcome could not be written.
    #[error("cannot write what was found: {0}")]
    Output(#[from] io::Error),
}

/// Everything that was found.
struct Report {
    items: Vec<Item>,
    /// How many directories were looked at.
    directories: usize,
    /// What is missing from the picture: interpreters that were not asked, approvals that could not be read.
    remarks: Vec<String>,
}

#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    items: &'a [Item],
    remarks: &'a [String],
}

/// Looks at every site directory of the host, or those given, and writes what it finds to `out`.
///
/// # Errors
/// [`ScanError`]. What cannot be read is a finding, not an error.
pub fn scan(options: &Options, out: &mut (impl Write + IsTerminal)) -> Result<Outcome, ScanError> {
    let config = config::load(options.config.as_deref())?;
    let mut remarks = Vec::new();
    let places = places::find(&options.directories, &config, &mut remarks)?;
    let approvals = Approvals::read(&config.state_dir, &mut remarks);
    let known = KnownFiles::built_in();
    let mut daemon = Daemon::of(&config);
    let look = |place: &PathBuf| look::look_at(place, &config.protect, &approvals, &mut daemon);
    let mut sites: Vec<_> = places.iter().map(look).collect();
    remarks.extend(daemon.into_remarks());
    look::ask_distribution(&mut sites, &mut remarks);
    let items = sites.into_iter().flat_map(|site| judge::items(&site, &known)).collect();
    let report = Report { items, directories: places.len(), remarks };
    match options.form {
        Form::Text => {
            let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            text::write(&report, colour, out)?;
        }
        Form::Json => {
            let json = Json { version: 1, items: &report.items, remarks: &report.remarks };
            serde_json::to_writer_pretty(&mut *out, &json).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Form::Sarif => sarif::write(&report, out)?,
    }
    out.flush()?;
    let found = report.items.iter().any(|item| !item.finding.is_empty());
    Ok(if found { Outcome::Findings } else { Outcome::Clean })
}
