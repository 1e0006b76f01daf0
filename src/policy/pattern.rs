//! Patterns of whole paths, for rules that say what other tools' rules say.
//!
//! A glob is what a policy is written in. Detection rules are not: in Elastic's a star runs over slashes and case does
//! not count, Sigma's have regular expressions. `like:` and `regex:` in front of a text stand for these. Both are matched
//! in time linear in the path's length, whatever the path.

#![forbid(unsafe_code)]

use std::fmt;

use regex::{Regex, RegexBuilder};

use super::{GlobError, PathGlob};

/// Largest compiled pattern, bytes.
const MAX_COMPILED: usize = 1 << 20;
const LIKE: &str = "like:";
const REGEX: &str = "regex:";

/// What a path is held against.
#[derive(Clone)]
pub enum Pattern {
    /// A path glob.
    Glob(PathGlob),
    /// `like:` or `regex:` and a text.
    Text {
        /// As it was written.
        written: Box<str>,
        /// Compiled.
        regex: Regex,
    },
}

/// What is wrong with a pattern, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A glob that is none.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// `like:` with nothing behind it.
    #[error("has nothing after \"like:\": write a text in which * stands for any characters and ? for one")]
    Empty,
    /// A regular expression that is none, or too large.
    #[error("is not a regular expression that can be used: {0}")]
    Regex(String),
}

impl Pattern {
    /// Compiles a glob, a `like:` or a `regex:`.
    ///
    /// # Errors
    /// [`PatternError`]
    pub fn new(written: &str) -> Result<Self, PatternError> {
        let expression = match (written.strip_prefix(LIKE), written.strip_prefix(REGEX)) {
            (Some(""), _) => return Err(PatternError::Empty),
            (Some(like), _) => anchored(like),
            (None, Some(regex)) => regex.to_owned(),
            (None, None) => return Ok(Pattern::Glob(PathGlob::new(written)?)),
        };
        let regex = RegexBuilder::new(&expression).size_limit(MAX_COMPILED).build();
        let regex = regex.map_err(|error| PatternError::Regex(last_line(&error.to_string())))?;
        Ok(Pattern::Text { written: written.into(), regex })
    }

    /// Whether `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Pattern::Glob(glob) => glob.matches(path),
            Pattern::Text { regex, .. } => regex.is_match(path),
        }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Pattern::Glob(glob) => glob.as_str(),
            Pattern::Text { written, .. } => written,
        }
    }

    /// The glob, if it is one.
    #[must_use]
    pub fn glob(&self) -> Option<&PathGlob> {
        match self {
            Pattern::Glob(glob) => Some(glob),
            Pattern::Text { .. } => None,
        }
    }

    /// The same, to be exchanged for an equal one.
    pub(super) fn glob_mut(&mut self) -> Option<&mut PathGlob> {
        match self {
            Pattern::Glob(glob) => Some(glob),
            Pattern::Text { .. } => None,
        }
    }

    /// Whether every path that `other` matches is matched by this pattern too. Sound, not complete.
    #[must_use]
    pub fn covers(&self, other: &Pattern) -> bool {
        match (self, other) {
            (Pattern::Glob(wide), Pattern::Glob(narrow)) => wide.covers(narrow),
            (wide, narrow) => wide == narrow,
        }
    }
}

/// The regular expression of a `like:`: all of the path, case does not count, a star runs over everything.
fn anchored(like: &str) -> String {
    let mut expression = String::from("(?is)^");
    for character in like.chars() {
        match character {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            literal => expression.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push('$');
    expression
}

/// The parser draws the expression first and says last what is wrong with it.
fn last_line(message: &str) -> String {
    message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn holds(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(path)
    }

    #[test]
    fn a_glob_is_what_it_was() {
        assert!(holds("/usr/bin/python3*", "/usr/bin/python3.11"));
        assert!(!holds("/usr/bin/python3*", "/usr/bin/python3/x") && !holds("/usr/bin/python3*", "/usr/bin/PYTHON3"));
    }

    #[test]
    fn like_runs_over_slashes_and_case() {
        let like = "like:/usr/lib/python*/site-packages/*";
        for path in [
            "/usr/lib/python3/site-packages/x.pth",
            "/USR/lib/python3.11/a/site-packages/b/x.pth",
            "/usr/lib/python/site-packages/",
            "/usr/lib/python3/site-packages/a\nb.pth",
        ] {
            assert!(holds(like, path), "{path}");
        }
        for path in
            ["/x/usr/lib/python3/site-packages/x", "/usr/lib/pytho/site-packages/x", "/usr/lib/python3/site_packages/x"]
        {
            assert!(!holds(like, path), "{path}");
        }
        assert!(holds("like:a.b?(c)", "A.Bx(C)") && !holds("like:a.b", "axb"));
    }

    #[test]
    fn a_regular_expression_is_found_anywhere() {
        let regex = r"regex:(?i)\\lib\\site-packages\\";
        assert!(holds(regex, r"C:\Python311\Lib\site-packages\x.pth"));
        assert!(!holds(regex, "/lib/site-packages/x.pth"));
        assert!(holds(r"regex:^/opt/", "/opt/x") && !holds(r"regex:^/opt/", "/x/opt/"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(Pattern::new("like:").unwrap_err(), PatternError::Empty);
        assert!(matches!(Pattern::new("relative").unwrap_err(), PatternError::Glob(GlobError::Relative)));
        assert!(Pattern::new("regex:(").unwrap_err().to_string().contains("unclosed group"));
        assert!(Pattern::new("regex:(a{1000}){1000}").is_err(), "too large");
    }

    #[test]
    fn only_globs_cover_what_is_written_otherwise() {
        let of = |text| Pattern::new(text).unwrap();
        assert!(of("/usr/bin/*").covers(&of("/usr/bin/x")));
        assert!(of("like:*x").covers(&of("like:*x")));
        assert!(!of("like:*").covers(&of("/usr/bin/x")) && !of("/usr/bin/*").covers(&of("like:/usr/bin/x")));
    }
}
