//! CPython's line rules, of every version from 3.6 to 3.15 (`site.addpackage`; from 3.15 on `site.StartupState`, PEP 829).
//!
//! | a `.pth` file | 3.6 to 3.12 | 3.13, 3.14 | 3.15 |
//! | --- | --- | --- | --- |
//! | is decoded as | the locale's encoding | UTF-8 without its mark, else the locale's encoding | the same |
//! | has lines that end at | `\n`, `\r`, `\r\n` | also `\v \f \x1c \x1d \x1e`, U+0085, U+2028, U+2029 | the same |
//! | has comments, which begin with | `#` | `#` | `#`, after white space |
//! | executes lines that begin with | `import` and a space or a tab | the same | the same, after white space |
//! | takes other lines as a path | without the white space at its end | the same | without that at both ends |
//! | goes on after a line that failed | no | no | yes |
//!
//! Whether a line is reached is not asked: a line counts although one before it fails.

/// How a group of versions reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// 3.6 to 3.12.
    Streamed,
    /// 3.13 and 3.14.
    Whole,
    /// 3.15.
    Stripped,
}

/// What a line of a `.pth` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Blank, or a comment.
    Nothing,
    /// A directory to add.
    Path(&'a str),
    /// Python.
    Code(&'a str),
}

/// A line and what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Without its end.
    pub(super) text: &'a str,
    /// Empty at the end of the file.
    pub(super) end: &'a str,
}

impl Rules {
    /// The lines of a decoded file.
    pub(super) fn lines(self, text: &str) -> impl Iterator<Item = Piece<'_>> {
        let ends_line = match self {
            Rules::Streamed => |c| matches!(c, '\n' | '\r'),
            Rules::Whole | Rules::Stripped => {
                |c| matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
            }
        };
        let mut rest = Some(text);
        std::iter::from_fn(move || {
            let text = rest?;
            let Some(at) = text.find(ends_line) else {
                rest = None;
                return Some(Piece { text, end: "" });
            };
            let after = &text[at..];
            let width = if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(1, char::len_utf8) };
            rest = Some(&after[width..]);
            Some(Piece { text: &text[..at], end: &after[..width] })
        })
    }

    /// What these versions make of a line of a `.pth`.
    pub(super) fn read(self, line: &str) -> Said<'_> {
        let line = match self {
            Rules::Streamed | Rules::Whole => line,
            Rules::Stripped => line.trim_start_matches(is_space),
        };
        if line.starts_with('#') {
            return Said::Nothing;
        }
        if line.starts_with("import ") || line.starts_with("import\t") {
            return Said::Code(line);
        }
        // Up to 3.9 a blank line adds the site directory, which is there already.
        match line.trim_end_matches(is_space) {
            "" => Said::Nothing,
            path => Said::Path(path),
        }
    }
}

/// What `str.strip` strips: Unicode's white space, and four separators that Unicode does not count.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The mark that 3.13 and later take off the beginning of a file, once.
pub(super) const MARK: char = '\u{feff}';

#[cfg(test)]
mod tests {
    use super::{Rules, Said};

    fn lines(rules: Rules, text: &str) -> Vec<&str> {
        rules.lines(text).map(|piece| piece.text).collect()
    }

    #[test]
    fn what_ends_a_line() {
        assert_eq!(
            lines(Rules::Streamed, "a\nb\rc\r\nd\x0be\x0cf\u{85}g\u{2028}h"),
            ["a", "b", "c", "d\x0be\x0cf\u{85}g\u{2028}h"]
        );
        let text = "a\nb\rc\r\nd\x0be\x0cf\x1cg\x1dh\x1ei\u{85}j\u{2028}k\u{2029}l\x1fm";
        for rules in [Rules::Whole, Rules::Stripped] {
            assert_eq!(lines(rules, text), ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l\x1fm"]);
        }
        assert_eq!(lines(Rules::Streamed, ""), [""]);
    }

    #[test]
    fn what_stands_before_import() {
        for before in [" ", "\t", "\u{a0}", "\u{3000}", "\x1f", "\x0c"] {
            let line = format!("{before}import os");
            assert_eq!(Rules::Streamed.read(&line), Said::Path(&line));
            assert_eq!(Rules::Whole.read(&line), Said::Path(&line));
            assert_eq!(Rules::Stripped.read(&line), Said::Code("import os"));
            let line = format!("{before}# c");
            assert_eq!(Rules::Whole.read(&line), Said::Path(&line));
            assert_eq!(Rules::Stripped.read(&line), Said::Nothing);
        }
        for rules in [Rules::Streamed, Rules::Whole, Rules::Stripped] {
            assert_eq!(rules.read("import\tos"), Said::Code("import\tos"));
            assert_eq!(rules.read("import\u{a0}os"), Said::Path("import\u{a0}os"));
            assert_eq!(rules.read("important"), Said::Path("important"));
            assert_eq!(rules.read("# import os"), Said::Nothing);
            assert_eq!(rules.read(" \u{a0}\x1f"), Said::Nothing);
            assert_eq!(rules.read("/opt/app \u{3000}\x1c"), Said::Path("/opt/app"));
        }
    }
}
