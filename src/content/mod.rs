//! What a startup file can do, read off its name and bytes: pure functions, linear in the size of the file.
//!
//! A file is what the most harmful of its lines is, to the interpreter that takes that line worst (`rules.rs`). Saying too
//! much costs somebody a look; saying too little lets code run.

#![forbid(unsafe_code)]

mod excerpt;
mod imports;
mod known;
mod namespace;
mod overlay;
mod pth;
mod rules;
mod source;
mod standard;
mod start;
mod version;

pub use excerpt::Line;
pub use known::{KnownFiles, KnownOwner, ListError, Listed};
pub use overlay::overlaid;
pub use pth::MAX_TOLD;
pub use version::VersionSet;

use crate::model::ContentClass;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// What it can do, by name and bytes alone. It must be held against the directory, whatever it is: at least `Imports`
    /// when a target of [`Findings::paths`] holds a `sitecustomize` or `usercustomize` (a `known` file can have paths,
    /// too), or an extension module has the name of one of [`Findings::namespaces`].
    pub class: ContentClass,
    /// The first line that is of this class; none if nothing is executed or refused.
    pub line: Option<Line>,
    /// What the path lines of a `.pth` say, as some version trims it, each once, at most [`MAX_TOLD`]. An interpreter
    /// joins it to the site directory and resolves `.` and `..` in the text, before it looks whether the result exists.
    pub paths: Vec<Vec<u8>>,
    /// The dotted names that setuptools' namespace lines prepare, sorted, at most [`MAX_TOLD`]. From setuptools 31 on they ask the import system for
    /// the module, which does not run Python code, but *loads an extension module* of that name: for `google.cloud`,
    /// `google/cloud.*.so` and `google/cloud/__init__.*.so` in the site directory (tried, 3.6 to 3.15).
    pub namespaces: Vec<String>,
}

impl Findings {
    fn of(class: ContentClass, line: Option<Line>) -> Findings {
        Findings { class, line, paths: Vec::new(), namespaces: Vec::new() }
    }
}

/// What a file with this name and these bytes can do when an interpreter starts.
///
/// `*.pth` and `*.start` are taken as startup files, `*.py` as a module that is imported at start-up (`sitecustomize`),
/// everything else as a module that is not text.
#[must_use]
pub fn classify(name: &[u8], bytes: &[u8]) -> Findings {
    if name.ends_with(b".pth") {
        pth::classify(bytes)
    } else if name.ends_with(b".start") {
        start::classify(bytes)
    } else if name.ends_with(b".py") {
        source::classify(bytes)
    } else if bytes.is_empty() {
        Findings::of(ContentClass::Empty, None)
    } else {
        Findings::of(ContentClass::Code, None)
    }
}

/// Whether some version of CPython would execute a line of a startup file with this name and these bytes.
#[must_use]
pub fn executes(name: &[u8], bytes: &[u8]) -> bool {
    if name.ends_with(b".pth") { pth::executes(bytes) } else { classify(name, bytes).class.executes() }
}

#[cfg(test)]
mod tests;
