//! What each recorder writes, and which of them a record is from.
//!
//! A format knows one recorder's words. It takes what it needs from a record, says which operation it is, and passes over
//! what is none. Each record is recognised by itself, so one file can hold records of several recorders.

mod auditd;
mod ecs;
mod falco;
mod json;
mod sysmon;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::auditd::AuditGroups;
use self::json::{Key, Record};
use super::event::{Event, Malformed};
use super::input::Chunk;

/// Who wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Whoever it was: each record tells.
    Auto,
    /// This guard.
    Own,
    /// Elastic Defend, Auditbeat, and others that use the names of the Elastic Common Schema.
    Ecs,
    /// Sysmon, as Winlogbeat or PowerShell export it.
    Sysmon,
    /// The Linux audit daemon.
    Auditd,
    /// Falco.
    Falco,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 6] =
        [Format::Auto, Format::Own, Format::Ecs, Format::Sysmon, Format::Auditd, Format::Falco];

    /// The word used on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Own => "pthguard",
            Format::Ecs => "ecs",
            Format::Sysmon => "sysmon",
            Format::Auditd => "auditd",
            Format::Falco => "falco",
        }
    }

    /// The one that is called so on the command line.
    #[must_use]
    pub fn named(word: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.as_str() == word)
    }

    /// Who wrote a record that is JSON; `None` if nobody that is known.
    fn of(record: &Record<'_>) -> Option<Format> {
        if record.has_guard {
            Some(Format::Own)
        } else if record.has_output_fields {
            Some(Format::Falco)
        } else if sysmon::wrote(record) {
            Some(Format::Sysmon)
        } else if record.has(Key::FilePath) {
            Some(Format::Ecs)
        } else {
            None
        }
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<'a> {
    /// The line that it begins on, from 1.
    pub line: u64,
    /// The operation; `None` for a record of something else.
    pub result: Result<Option<Event<'a>>, Malformed>,
}

/// The reader of records. It remembers the audit daemon's, which are several lines each.
#[derive(Debug)]
pub struct Parser {
    format: Format,
    groups: AuditGroups,
    /// The last record, put right, if it was not in order.
    mended: String,
}

impl Parser {
    /// A reader of one format, or of whatever comes.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Parser { format, groups: AuditGroups::new(), mended: String::new() }
    }

    /// What the next chunk of a file says, or one before it that is known to be complete now. `None` if it has to be
    /// seen with others.
    #[must_use]
    pub fn next<'a>(&'a mut self, chunk: Chunk<'a>) -> Option<Parsed<'a>> {
        let line = chunk.line;
        let bytes = match chunk.bytes {
            Ok(bytes) => bytes,
            Err(malformed) => return Some(Parsed { line, result: Err(malformed) }),
        };
        let is_audit = match self.format {
            Format::Auditd => true,
            Format::Auto => auditd::is_line(bytes),
            Format::Own | Format::Ecs | Format::Sysmon | Format::Falco => false,
        };
        if is_audit {
            return self.groups.push(line, bytes);
        }
        Some(Parsed { line, result: self.json(bytes) })
    }

    /// What is left at the end of a file, one after the other until there is nothing.
    #[must_use]
    pub fn finish(&mut self) -> Option<Parsed<'static>> {
        self.groups.finish()
    }

    fn json<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Option<Event<'a>>, Malformed> {
        if bytes.first() != Some(&b'{') {
            return Err(Malformed::because("of no known format"));
        }
        // Once for all of it: that is faster than for each text in it.
        let record = str::from_utf8(bytes).map_err(|_| Malformed::because("not UTF-8")).and_then(json::read);
        let record = match record {
            Ok(record) => record,
            Err(malformed) => {
                self.mended = json::mend(bytes).ok_or(malformed)?;
                json::read(&self.mended)?
            }
        };
        let format = if self.format == Format::Auto { Format::of(&record) } else { Some(self.format) };
        match format {
            Some(Format::Own) => ecs::guard(record),
            Some(Format::Ecs) => ecs::event(record),
            Some(Format::Sysmon) => sysmon::event(record),
            Some(Format::Falco) => falco::event(record),
            Some(Format::Auto | Format::Auditd) | None => Ok(None),
        }
    }
}

/// The user id that a text says.
fn uid(text: &str) -> Option<u32> {
    // The kernel's word for nobody.
    text.parse().ok().filter(|uid| *uid != u32::MAX)
}

/// Text, if there is a point in it.
fn told<'a>(text: Cow<'a, str>, nothing: &[&str]) -> Option<Cow<'a, str>> {
    (!text.is_empty() && !nothing.contains(&&*text)).then_some(text)
}
