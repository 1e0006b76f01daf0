//! A startup file, or a directory that has something remarkable, as it is told. The names are those of the audit record.

use serde::Serialize;

use super::finding::{Finding, Severity};
use crate::audit::escape;

/// One line of the outcome.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Item {
    /// Site directory and name, escaped.
    pub(super) path: String,
    pub(super) directory: String,
    /// Absent for a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// The class of its content, with what is known of its owner and of the directories that it adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    /// The line that makes the class what it is, shortened and escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line_number: Option<usize>,
    /// Of a file that the guard holds back: all lines that do something, as far as a screen holds them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) lines: Vec<Line>,
    /// How many more of them there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) more_lines: u64,
    /// The package, with its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    /// Who says so: `record`, `dpkg`, `rpm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner_source: Option<&'static str>,
    /// `approved`, `other-bytes` (this name is approved with others), `none`, or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) approval: Option<&'static str>,
    /// Words of what somebody should look at.
    pub(super) finding: Vec<Finding>,
    /// Words of what is good to know.
    pub(super) note: Vec<Finding>,
    /// The same in sentences, in that order.
    pub(super) detail: Vec<Detail>,
}

/// A line of a startup file, shortened and escaped.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) text: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A remark in a sentence.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Detail {
    pub(super) word: Finding,
    pub(super) text: String,
}

impl Item {
    /// Adds a remark; `text` is escaped here, so that a path in it is shown and not obeyed.
    pub(super) fn add(&mut self, word: Finding, text: &str) {
        let list = match word.severity() {
            Severity::Finding => &mut self.finding,
            Severity::Note => &mut self.note,
        };
        if !list.contains(&word) {
            list.push(word);
        }
        self.detail.push(Detail { word, text: escape(text.as_bytes()).into_owned() });
    }

    /// Takes remarks back that somebody has answered.
    pub(super) fn settle(&mut self, words: &[Finding]) {
        self.finding.retain(|word| !words.contains(word));
        self.note.retain(|word| !words.contains(word));
        self.detail.retain(|detail| !words.contains(&detail.word));
    }

    /// Findings first.
    pub(super) fn in_order(mut self) -> Self {
        self.detail.sort_by_key(|detail| (detail.word.severity() == Severity::Note, detail.word));
        self.finding.sort_unstable();
        self.note.sort_unstable();
        self
    }
}
