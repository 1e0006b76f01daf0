//! What is wrong with a policy, and where.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One fault. The message says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file, as it was named, or `built-in`.
    pub file: Arc<str>,
    /// Line, from 1; none for what is wrong with the file itself.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { file, line, message } = self;
        // A file name may hold anything; the message is one line all the same.
        let file = file.escape_debug();
        match line {
            Some(line) => write!(f, "{file}:{line}: {message}"),
            None => write!(f, "{file}: {message}"),
        }
    }
}

/// All faults that were found, never none; shown one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Collects the faults of one file and turns positions into lines.
pub(super) struct Faults {
    file: Arc<str>,
    line_starts: Vec<usize>,
    found: Vec<Error>,
}

impl Faults {
    pub(super) fn new(file: Arc<str>, text: &str) -> Self {
        let line_starts = text.match_indices('\n').map(|(index, _)| index + 1).collect();
        Faults { file, line_starts, found: Vec::new() }
    }

    pub(super) fn file(&self) -> &Arc<str> {
        &self.file
    }

    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts.partition_point(|start| *start <= span.start) + 1
    }

    pub(super) fn add(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let line = Some(self.line(span));
        self.found.push(Error { file: Arc::clone(&self.file), line, message: message.into() });
    }

    /// What was found, from the top of the file to its end.
    pub(super) fn into_found(mut self) -> Vec<Error> {
        self.found.sort_by_key(|error| error.line);
        self.found
    }
}
