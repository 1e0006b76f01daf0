//! `*.pth`: paths, and lines that are executed.

use std::collections::{BTreeSet, HashSet};

use super::imports::only_imports;
use super::namespace;
use super::rules::{MARK, Piece, Rules, Said};
use super::{Findings, Line};
use crate::model::ContentClass;

/// Most path lines, and most namespaces, that are told of one file. A file with more paths is `Imports`, one with more
/// namespaces `Code`, whatever lies there.
pub const MAX_TOLD: usize = 256;

/// A file as a group of versions decodes it.
///
/// The locale's encoding is taken to be UTF-8 or Latin-1. Another one could change only what counts as white space at the
/// end of a path that is not ASCII: all that a locale may use have `#`, `import` and the ends of lines where ASCII has them.
struct Reading {
    rules: Rules,
    text: String,
    latin_1: bool,
}

impl Reading {
    fn all(bytes: &[u8]) -> Vec<Reading> {
        let latin_1 =
            |rules| Reading { rules, text: bytes.iter().map(|byte| char::from(*byte)).collect(), latin_1: true };
        let Ok(text) = std::str::from_utf8(bytes) else {
            return [Rules::Streamed, Rules::Whole, Rules::Stripped].map(latin_1).into();
        };
        let utf_8 = |rules, text: &str| Reading { rules, text: text.to_owned(), latin_1: false };
        let unmarked = text.strip_prefix(MARK).unwrap_or(text);
        let mut all =
            vec![utf_8(Rules::Streamed, text), utf_8(Rules::Whole, unmarked), utf_8(Rules::Stripped, unmarked)];
        if !text.is_ascii() {
            all.push(latin_1(Rules::Streamed));
        }
        all
    }

    fn lines(&self) -> impl Iterator<Item = (usize, Piece<'_>)> {
        self.rules.lines(&self.text).enumerate().map(|(at, piece)| (at + 1, piece))
    }

    /// The names that a path can come to. What decodes a file is not always what encodes a path: 3.11 and later read the file
    /// by the locale even when the names of files are UTF-8 (`-X utf8`), 3.13 and later read UTF-8 even when they are Latin-1.
    fn paths(&self, text: &str) -> impl Iterator<Item = Vec<u8>> {
        let latin_1 = if text.is_ascii() { None } else { text.chars().map(|c| u8::try_from(c).ok()).collect() };
        std::iter::once(text.as_bytes().to_vec()).chain(latin_1)
    }

    /// A part of the text as it stands in the file.
    fn bytes(&self, text: &str) -> Vec<u8> {
        if self.latin_1 {
            text.chars().filter_map(|c| u8::try_from(c).ok()).collect()
        } else {
            text.as_bytes().to_vec()
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Seen {
    worst: Option<(ContentClass, Line)>,
    paths: Vec<Vec<u8>>,
    known: HashSet<Vec<u8>>,
    namespaces: BTreeSet<String>,
}

impl Seen {
    /// Keep the first line of the worst class.
    fn note(&mut self, class: ContentClass, number: usize, text: impl FnOnce() -> Vec<u8>) {
        let worse = |(worst, line): &(ContentClass, Line)| class > *worst || (class == *worst && number < line.number);
        if self.worst.as_ref().is_none_or(worse) {
            self.worst = Some((class, Line { number, text: text() }));
        }
    }

    /// Whether there was room for it.
    fn path(&mut self, path: Vec<u8>) -> bool {
        if self.known.contains(&path) {
            return true;
        }
        if self.known.len() == MAX_TOLD {
            return false;
        }
        // No directory's name has a null byte in it.
        if !path.contains(&0) {
            self.paths.push(path.clone());
        }
        self.known.insert(path)
    }

    /// The class of an executed line: `whole` as it stands in the file, `code` what is executed of it.
    fn executed(&mut self, whole: Piece<'_>, code: &str) -> ContentClass {
        if let Some(name) = namespace::prepared(whole.text).filter(|_| matches!(whole.end, "" | "\n" | "\r\n")) {
            if self.namespaces.len() == MAX_TOLD && !self.namespaces.contains(&name) {
                return ContentClass::Code;
            }
            self.namespaces.insert(name);
            return ContentClass::Known;
        }
        if only_imports(code) { ContentClass::Imports } else { ContentClass::Code }
    }
}

pub(super) fn classify(bytes: &[u8]) -> Findings {
    let mut seen = Seen::default();
    if let Some(line) = undecodable(bytes) {
        seen.note(ContentClass::Broken, line.number, || line.text);
    }
    for reading in &Reading::all(bytes) {
        for (number, line) in reading.lines() {
            let class = match reading.rules.read(line.text) {
                Said::Nothing => continue,
                Said::Path(path) if reading.paths(path).all(|path| seen.path(path)) => continue,
                Said::Path(_) => ContentClass::Imports,
                Said::Code(code) => seen.executed(line, code),
            };
            seen.note(class, number, || reading.bytes(line.text));
        }
    }
    let (class, line) = match seen.worst {
        Some((class, line)) => (class, Some(line)),
        None if seen.known.is_empty() => (ContentClass::Empty, None),
        None => (ContentClass::Paths, None),
    };
    Findings { class, line, paths: seen.paths, namespaces: seen.namespaces.into_iter().collect() }
}

/// Whether some version executes a line.
pub(super) fn executes(bytes: &[u8]) -> bool {
    Reading::all(bytes)
        .iter()
        .any(|reading| reading.lines().any(|(_, line)| matches!(reading.rules.read(line.text), Said::Code(_))))
}

/// The line with the first bytes that are not UTF-8. They stop an interpreter under a UTF-8 locale from starting, every
/// version from 3.6 to 3.15 (tried). Nothing else in a file does: a null byte fails its line only.
pub(super) fn undecodable(bytes: &[u8]) -> Option<Line> {
    let valid = std::str::from_utf8(bytes).err()?.valid_up_to();
    let from = bytes[..valid].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let text = bytes[from..].split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
    Some(Line { number: 1 + bytes[..valid].iter().filter(|byte| **byte == b'\n').count(), text })
}
