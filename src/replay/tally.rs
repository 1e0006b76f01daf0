//! What came of all operations: counted, in memory that does not grow with the number of records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::event::{Event, Malformed, Operation};
use super::judge::{Answer, Judged, Why, is_silent, program_of};
use crate::model::ContentClass;

/// Writers that are told apart; what comes after is counted together. Names of programs are an attacker's to choose.
const MAX_WRITERS: usize = 10_000;
/// Malformed records that are shown.
const MAX_SHOWN: usize = 10;
/// Directories and users that are remembered of one writer.
const MAX_OF_ONE: usize = 64;
/// Bytes of names that are remembered in all: each can be as long as a record.
const MAX_TEXT: usize = 16 * 1024 * 1024;

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) file: Arc<str>,
    pub(super) line: u64,
}

/// Verdict, rule and reason, as they are counted.
type Outcome = (Answer, Option<Arc<str>>, Why);

/// All that was counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) records: u64,
    /// Well-formed records of something else.
    pub(super) others: u64,
    pub(super) malformed: BTreeMap<&'static str, u64>,
    pub(super) shown: Vec<(At, Malformed)>,
    pub(super) outcomes: HashMap<Outcome, u64>,
    pub(super) writers: HashMap<Who, Writer>,
    /// Operations of writers for whom there was no room.
    pub(super) further: u64,
    /// Bytes of names that are remembered.
    text: usize,
    pub(super) changes: HashMap<(Outcome, Outcome), Change>,
}

/// A program, as reports call it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) exe: String,
    pub(super) script: Option<String>,
    /// It is an interpreter, and what it ran was not recorded.
    pub(super) is_silent: bool,
    pub(super) answer: Answer,
}

/// What one of them did that would not have been allowed.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) count: u64,
    pub(super) reason: Why,
    pub(super) rule: Option<Arc<str>>,
    pub(super) operations: BTreeSet<&'static str>,
    pub(super) uids: BTreeSet<u32>,
    pub(super) contents: BTreeSet<&'static str>,
    /// Site directories.
    pub(super) directories: BTreeSet<String>,
    /// How many of the operations were those of containers.
    pub(super) contained: u64,
    /// The first file.
    pub(super) path: String,
    pub(super) first: At,
}

/// Operations that another policy answers otherwise.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) count: u64,
    pub(super) path: String,
    pub(super) exe: String,
    pub(super) first: At,
}

impl Tally {
    pub(super) fn malformed(&mut self, at: At, malformed: Malformed) {
        self.records += 1;
        *self.malformed.entry(malformed.reason).or_default() += 1;
        if self.shown.len() < MAX_SHOWN {
            self.shown.push((at, malformed));
        }
    }

    pub(super) fn other(&mut self) {
        self.records += 1;
        self.others += 1;
    }

    pub(super) fn judged(&mut self, at: impl Fn() -> At, event: &Event<'_>, judged: &Judged<'_>) {
        self.records += 1;
        *self.outcomes.entry(outcome(judged)).or_default() += 1;
        if judged.verdict == Answer::Allow {
            return;
        }
        let (exe, script) = program_of(event);
        let who = Who { exe, script, is_silent: is_silent(event), answer: judged.verdict };
        let length = who.exe.len() + who.script.as_ref().map_or(0, String::len) + event.path.len();
        let is_full = self.writers.len() >= MAX_WRITERS || self.text + length > MAX_TEXT;
        match self.writers.get_mut(&who) {
            Some(writer) => writer.add(event, judged, &mut self.text),
            None if is_full => self.further += 1,
            None => {
                self.text += length;
                let mut writer = Writer {
                    count: 0,
                    reason: judged.reason,
                    rule: judged.rule.clone(),
                    operations: BTreeSet::new(),
                    uids: BTreeSet::new(),
                    contents: BTreeSet::new(),
                    directories: BTreeSet::new(),
                    contained: 0,
                    path: event.path.clone().into_owned(),
                    first: at(),
                };
                writer.add(event, judged, &mut self.text);
                self.writers.insert(who, writer);
            }
        }
    }

    /// The same operation under another policy.
    pub(super) fn compared(&mut self, at: impl Fn() -> At, event: &Event<'_>, one: &Judged<'_>, other: &Judged<'_>) {
        if one.verdict == other.verdict {
            return;
        }
        let change = self.changes.entry((outcome(one), outcome(other))).or_insert_with(|| Change {
            count: 0,
            path: event.path.clone().into_owned(),
            exe: program_of(event).0,
            first: at(),
        });
        change.count += 1;
    }

    /// Operations that would not have been allowed.
    pub(super) fn findings(&self) -> u64 {
        self.outcomes.iter().filter(|((answer, ..), _)| *answer != Answer::Allow).map(|(_, count)| count).sum()
    }

    /// The most frequent first.
    pub(super) fn writers_by_count(&self) -> Vec<(&Who, &Writer)> {
        let mut writers: Vec<_> = self.writers.iter().collect();
        writers.sort_by(|(who, writer), (other, others)| others.count.cmp(&writer.count).then_with(|| who.cmp(other)));
        writers
    }
}

impl Writer {
    fn add(&mut self, event: &Event<'_>, judged: &Judged<'_>, text: &mut usize) {
        self.count += 1;
        self.contained += u64::from(event.container.is_some());
        self.operations.insert(event.operation.as_str());
        if self.uids.len() < MAX_OF_ONE {
            self.uids.extend(event.uid);
        }
        self.contents.extend(event.content.map(ContentClass::as_str));
        if let Some(site) = judged.site.filter(|site| !self.directories.contains(*site))
            && self.directories.len() < MAX_OF_ONE
            && *text + site.len() <= MAX_TEXT
        {
            *text += site.len();
            self.directories.insert(site.to_owned());
        }
    }

    /// The accesses that a rule would have to name.
    pub(super) fn accesses(&self) -> Vec<&'static str> {
        let is_done = |operations: &[Operation]| operations.iter().any(|one| self.operations.contains(one.as_str()));
        let all = [
            ("write", &[Operation::Create, Operation::Modify][..]),
            ("rename", &[Operation::Rename]),
            ("link", &[Operation::Link]),
            ("symlink", &[Operation::Symlink]),
        ];
        all.into_iter().filter(|(_, operations)| is_done(operations)).map(|(access, _)| access).collect()
    }
}

fn outcome(judged: &Judged<'_>) -> Outcome {
    (judged.verdict, judged.rule.clone(), judged.reason)
}
