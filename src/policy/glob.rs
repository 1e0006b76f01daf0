//! Path globs: how a policy names programs, scripts and site directories.
//!
//! `*`, `?` and `[…]` never match a slash; `**` is a whole component and matches any number of components. Beside
//! matching, two questions are answered about globs themselves, without a file system: does one cover another
//! (a rule that can never match), and can one name an interpreter (a rule that allows too much).

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use ::glob::{MatchOptions, Pattern, PatternError};

/// How paths are compared: as the kernel writes them, with case, a hidden name like any other.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Longest glob that is accepted: a path cannot be longer either.
const MAX_LENGTH: usize = 4096;

/// What interpreters are called, without a version. A rule that names only one of them would let in every program
/// that it runs.
const INTERPRETERS: &str = "
    python pythonw pypy graalpy micropython perl ruby jruby irb node nodejs bun deno lua luajit tclsh wish expect php
    sh bash rbash dash ash zsh ksh mksh csh tcsh yash fish pwsh awk gawk mawk java mono dotnet guile julia R Rscript
    gdb env busybox toybox qemu ld ld-linux ld-musl
";

/// An absolute path glob, compiled. A clone shares what it consists of.
#[derive(Clone)]
pub struct PathGlob {
    text: Arc<str>,
    /// How much of the text comes before the first wildcard, bytes: most globs are ruled out by that alone.
    prefix: usize,
    /// From the component on that holds the first wildcard; none if there is no wildcard. The rest is not compiled: it
    /// would take 32 bytes a character.
    pattern: Option<Arc<Pattern>>,
}

/// What is wrong with a glob, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It does not start with a slash.
    #[error("must be an absolute path: start it with \"/\"")]
    Relative,
    /// Longer than any path.
    #[error("is longer than a path can be: shorten it to {MAX_LENGTH} bytes")]
    TooLong,
    /// `//`, `.`, `..` or a slash at the end.
    #[error("can never match: write it without \"//\", \".\", \"..\" and without a slash at the end")]
    NotCanonical,
    /// `{a,b}`.
    #[error("holds a brace, and braces are not expanded: write one glob for each alternative")]
    Brace,
    /// So many wildcards that matching a hostile path would take too long while its opener waits.
    #[error(
        "has too many wildcards to be matched in bounded time: use at most one \"**\", and one \"*\" in each \
         component but one"
    )]
    TooManyWildcards,
    /// The glob syntax itself.
    #[error("is not a valid glob at character {at}: {message}")]
    Syntax {
        /// Position, from 1.
        at: usize,
        /// What the parser says.
        message: &'static str,
    },
}

/// Whether a path is that of an interpreter, with whatever version behind its name: what
/// [`PathGlob::may_name_interpreter`] says of a glob that matches this path alone.
#[must_use]
pub fn is_interpreter(path: &str) -> bool {
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let is_version = |rest: &str| rest.is_empty() || rest.starts_with(|c: char| matches!(c, '-' | '.' | '0'..='9'));
    INTERPRETERS.split_whitespace().any(|interpreter| file_name.strip_prefix(interpreter).is_some_and(is_version))
}

/// One element of a glob.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Star,
    /// `**`, together with the slash after it.
    Tree,
    /// `[…]`
    Class(Pattern),
}

impl PathGlob {
    /// Compiles a glob.
    ///
    /// # Errors
    /// Whatever makes it invalid, unable to match any path, or too slow to match.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        let Some(below_root) = text.strip_prefix('/') else {
            return Err(GlobError::Relative);
        };
        if text.len() > MAX_LENGTH {
            return Err(GlobError::TooLong);
        }
        let prefix = text.split(['*', '?', '[']).next().unwrap_or_default().len();
        let from_wildcard = (prefix < text.len()).then(|| text.split_at(component(text, prefix)));
        let compile = |(before, rest): (&str, &str)| {
            let at = |error: &PatternError| before.chars().count() + error.pos + 1;
            Pattern::new(rest).map_err(|error| GlobError::Syntax { at: at(&error), message: error.msg })
        };
        let pattern = from_wildcard.map(compile).transpose()?;
        if below_root.split('/').any(|component| matches!(component, "" | "." | "..")) {
            return Err(GlobError::NotCanonical);
        }
        let tokens = tokens(text);
        if tokens.iter().any(|token| matches!(token, Token::Literal('{'))) {
            return Err(GlobError::Brace);
        }
        if !is_cheap(&tokens) {
            return Err(GlobError::TooManyWildcards);
        }
        // A clone has no room to spare, a pattern that was just compiled up to twice as much as it needs.
        let pattern = pattern.map(|pattern| Arc::new(pattern.clone()));
        Ok(PathGlob { text: text.into(), prefix, pattern })
    }

    /// Whether `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match &self.pattern {
            None => *self.text == *path,
            Some(pattern) => {
                path.starts_with(&self.text[..self.prefix])
                    && pattern.matches_with(&path[component(&self.text, self.prefix)..], OPTIONS)
            }
        }
    }

    /// The glob as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether every path that `other` matches is matched by this glob too. Sound, not complete: when in doubt the
    /// answer is no.
    #[must_use]
    pub fn covers(&self, other: &PathGlob) -> bool {
        if other.pattern.is_none() {
            return self.matches(other.as_str());
        }
        self.pattern.is_some() && covers(&tokens(self.as_str()), &tokens(other.as_str()), true)
    }

    /// Whether the glob could match an interpreter's file name, with whatever version behind it.
    #[must_use]
    pub fn may_name_interpreter(&self) -> bool {
        let tokens = tokens(self.as_str());
        if tokens.last() == Some(&Token::Tree) {
            return true;
        }
        let start = tokens
            .iter()
            .rposition(|token| matches!(token, Token::Literal('/') | Token::Tree))
            .map_or(0, |separator| separator + 1);
        let file_name = tokens.get(start..).unwrap_or_default();
        INTERPRETERS.split_whitespace().any(|interpreter| {
            overlap(file_name, &self::tokens(interpreter))
                || overlap(file_name, &self::tokens(&format!("{interpreter}[-.0-9]*")))
        })
    }

    /// Whether every component is a wildcard and nothing else: a glob that names nothing.
    #[must_use]
    pub fn names_nothing(&self) -> bool {
        !tokens(self.as_str()).iter().any(|token| match token {
            Token::Literal(character) => *character != '/',
            Token::Class(_) => true,
            Token::One | Token::Star | Token::Tree => false,
        })
    }
}

impl PartialEq for PathGlob {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for PathGlob {}

impl fmt::Debug for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Where the component begins in which `prefix` ends.
fn component(text: &str, prefix: usize) -> usize {
    text[..prefix].rfind('/').map_or(0, |slash| slash + 1)
}

/// Splits a pattern that the glob crate accepted, by the same rules.
fn tokens(text: &str) -> Vec<Token> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::with_capacity(characters.len());
    let mut rest = characters.as_slice();
    while let Some((&first, tail)) = rest.split_first() {
        let (token, after) = match (first, tail) {
            ('*', ['*', '/', after @ ..] | ['*', after @ ..]) => (Token::Tree, after),
            ('*', after) => (Token::Star, after),
            ('?', after) => (Token::One, after),
            ('[', after) => class(after),
            (literal, after) => (Token::Literal(literal), after),
        };
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// The class after its opening bracket. A bracket directly behind `[` or `[!` belongs to the class.
fn class(after: &[char]) -> (Token, &[char]) {
    let least = if after.first() == Some(&'!') { 2 } else { 1 };
    let end = after.iter().skip(least).position(|&character| character == ']').map(|index| index + least);
    let text: String = std::iter::once('[').chain(after.iter().take(end.map_or(0, |end| end + 1)).copied()).collect();
    match (end, Pattern::new(&text)) {
        (Some(end), Ok(pattern)) => (Token::Class(pattern), after.get(end + 1..).unwrap_or_default()),
        // Not reached for a pattern that compiled; a literal bracket covers and overlaps nothing else.
        _ => (Token::Literal('['), after),
    }
}

/// Whether matching is cheap whatever the path. The matcher backtracks: a second star in one component costs the
/// square of the component's length, one in each of several components its power.
fn is_cheap(tokens: &[Token]) -> bool {
    let trees = tokens.iter().filter(|token| **token == Token::Tree).count();
    let extra_stars: usize = tokens
        .split(|token| matches!(token, Token::Literal('/') | Token::Tree))
        .map(|component| component.iter().filter(|token| **token == Token::Star).count().saturating_sub(1))
        .sum();
    trees <= 1 && extra_stars <= 1
}

impl Token {
    /// Whether each single character that `other` stands for is one that this token stands for.
    fn covers_one(&self, other: &Token) -> bool {
        match (self, other) {
            (Token::Literal(a), Token::Literal(b)) => a == b,
            (Token::One, Token::Literal(b)) => *b != '/',
            (Token::One, Token::One | Token::Class(_)) => true,
            (Token::Class(a), Token::Literal(b)) => *b != '/' && a.matches(b.encode_utf8(&mut [0; 4])),
            (Token::Class(a), Token::Class(b)) => a == b,
            (Token::Literal(_) | Token::Class(_), Token::One | Token::Class(_))
            | (Token::Star | Token::Tree, _)
            | (_, Token::Star | Token::Tree) => false,
        }
    }

    /// Whether some single character is one that both tokens stand for. Two classes count as overlapping: the
    /// question is asked to refuse.
    fn overlaps_one(&self, other: &Token) -> bool {
        match (self, other) {
            (Token::Class(_), Token::Class(_)) => true,
            (a, b) => a.covers_one(b) || b.covers_one(a),
        }
    }
}

/// Whether what `b` matches is a part of what `a` matches; `at_start` says that `b` stands at the start of a component.
fn covers(a: &[Token], b: &[Token], at_start: bool) -> bool {
    match (a.split_first(), b.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((Token::Tree, [])), _) => at_start,
        (Some((Token::Tree, tail)), _) if at_start && covers(tail, b, true) => true,
        (Some((Token::Tree, _)), Some((first, rest))) => {
            // Skip to the next component of `b`. A `**` that ends `b` leaves no component to go on with.
            let whole = matches!(first, Token::Tree) && !rest.is_empty();
            let ends_component = matches!(first, Token::Literal('/'));
            skip_component(a, rest, whole || ends_component)
        }
        (Some((Token::Star, tail)), _) if covers(tail, b, at_start) => true,
        (Some((Token::Star, _)), Some((first, rest))) => {
            !matches!(first, Token::Literal('/') | Token::Tree) && covers(a, rest, false)
        }
        (Some((one, tail)), Some((first, rest))) => {
            one.covers_one(first) && covers(tail, rest, *first == Token::Literal('/'))
        }
        (Some(_), None) => false,
    }
}

/// `covers` for a `**` at the head of `a` that has taken a part of a component of `b`.
fn skip_component(a: &[Token], mut b: &[Token], mut at_start: bool) -> bool {
    while !at_start {
        let Some((first, rest)) = b.split_first() else {
            return false;
        };
        at_start = *first == Token::Literal('/');
        b = rest;
    }
    covers(a, b, true)
}

/// Whether two globs of one component have a name in common.
fn overlap(a: &[Token], b: &[Token]) -> bool {
    match (a.split_first(), b.split_first()) {
        (None, None) => true,
        (Some((Token::Star, tail)), _) if overlap(tail, b) => true,
        (_, Some((Token::Star, tail))) if overlap(a, tail) => true,
        (Some((Token::Star, _)), Some((_, rest))) => overlap(a, rest),
        (Some((_, rest)), Some((Token::Star, _))) => overlap(rest, b),
        (Some((one, a)), Some((other, b))) => one.overlaps_one(other) && overlap(a, b),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
#[path = "glob_tests.rs"]
mod tests;
