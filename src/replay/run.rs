//! The command: every record of every file, through the policy, into the tally.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::event::Event;
use super::formats::{Format, Parsed, Parser};
use super::input::Input;
use super::judge::{Judge, Judged};
use super::progress::Progress;
use super::tally::{At, Tally};
use super::{report, suggest};
use crate::audit::{escape, escape_path};
use crate::config;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The policy, if not that under /etc/pthguard.
    pub config: Option<PathBuf>,
    /// Another policy to compare it with.
    pub diff: Option<PathBuf>,
    /// A program for which a rule is wanted.
    pub suggest: Option<String>,
    /// Who wrote the records.
    pub format: Format,
    /// How the answer is given.
    pub form: Form,
    /// The files; `-` is standard input.
    pub files: Vec<PathBuf>,
}

/// How the answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// One line of JSON for each record.
    Each,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything would have been allowed.
    Allowed,
    /// Something would not, or the policies differ.
    Findings,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A policy is not valid.
    #[error(transparent)]
    Policy(#[from] config::Errors),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", escape_path(path))]
    Input {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer cannot be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
    /// Nothing that this program did would have been denied.
    #[error("nothing by {} would not have been allowed: give an executable or a script as the report names it", escape(.0.as_bytes()))]
    NoSuchWriter(String),
    /// No rule can be made of it.
    #[error("no rule for {} can be suggested: {why}", escape(exe.as_bytes()))]
    CannotSuggest {
        /// The executable.
        exe: String,
        /// Why not.
        why: &'static str,
    },
}

/// Judges recorded operations.
///
/// # Errors
/// [`ReplayError`]. What is wrong with a record is counted and shown, and never an error.
pub fn replay(options: &Options, out: &mut impl Write) -> Result<Outcome, ReplayError> {
    let judge = Judge::new(config::load(options.config.as_deref())?);
    let other = options.diff.as_deref().map(|other| config::load(Some(other))).transpose()?.map(Judge::new);
    let mut replay = Replay { judge, other, tally: Tally::default(), each: options.form == Form::Each };
    let mut progress = Progress::new(options.files.iter().map(|file| size(file)).sum());
    let mut before = 0;
    for path in &options.files {
        let input = |source| ReplayError::Input { path: path.clone(), source };
        let source: Box<dyn Read> = match path.as_os_str() == "-" {
            true => Box::new(io::stdin().lock()),
            false => Box::new(File::open(path).map_err(input)?),
        };
        let name: Arc<str> = path.to_string_lossy().into();
        let (mut records, mut parser) = (Input::new(source), Parser::new(options.format));
        let mut read = 0;
        while let Some(chunk) = records.next_chunk().map_err(input)? {
            if let Some(parsed) = parser.next(chunk) {
                replay.record(&name, &parsed, out)?;
            }
            read += 1;
            if read % 1024 == 0 {
                progress.show(before + records.bytes_read(), replay.tally.records);
            }
        }
        while let Some(parsed) = parser.finish() {
            replay.record(&name, &parsed, out)?;
        }
        before += records.bytes_read();
    }
    progress.end();
    let tally = &replay.tally;
    match (options.form, &options.suggest) {
        (Form::Each, _) => {}
        (_, Some(chosen)) => out.write_all(suggest::suggest(tally, chosen)?.as_bytes())?,
        (Form::Json, None) => report::json(tally, out)?,
        (Form::Text, None) => report::text(tally, options.diff.as_deref().map(Path::to_string_lossy).as_deref(), out)?,
    }
    out.flush()?;
    let is_fine = tally.findings() == 0 && tally.changes.is_empty();
    Ok(if is_fine { Outcome::Allowed } else { Outcome::Findings })
}

/// `None` for what has no size.
fn size(path: &Path) -> Option<u64> {
    let metadata = path.metadata().ok()?;
    metadata.is_file().then_some(metadata.len())
}

struct Replay {
    judge: Judge,
    other: Option<Judge>,
    tally: Tally,
    each: bool,
}

/// One line of [`Form::Each`].
#[derive(Serialize)]
struct Each<'a> {
    file: &'a str,
    line: u64,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Replay {
    fn record(&mut self, file: &Arc<str>, parsed: &Parsed<'_>, out: &mut impl Write) -> io::Result<()> {
        let at = || At { file: Arc::clone(file), line: parsed.line };
        let (verdict, judged, reason) = match &parsed.result {
            Err(malformed) => {
                self.tally.malformed(at(), *malformed);
                ("malformed", None, Some(malformed.reason))
            }
            Ok(None) => {
                self.tally.other();
                ("none", None, None)
            }
            Ok(Some(event)) => {
                let judged = self.judged(&at, event);
                (judged.verdict.as_str(), Some(judged), None)
            }
        };
        if !self.each {
            return Ok(());
        }
        let (rule, why) =
            judged.as_ref().map_or((None, None), |judged| (judged.rule.as_deref(), Some(judged.reason.as_str())));
        let each = Each { file, line: parsed.line, verdict, rule, reason: reason.or(why) };
        let line = serde_json::to_string(&each)?;
        out.write_all(report::visible(&line).as_bytes())?;
        out.write_all(b"\n")
    }

    fn judged<'e>(&mut self, at: &impl Fn() -> At, event: &'e Event<'_>) -> Judged<'e> {
        let judged = self.judge.judge(event);
        self.tally.judged(at, event, &judged);
        if let Some(other) = &self.other {
            self.tally.compared(at, event, &judged, &other.judge(event));
        }
        judged
    }
}
