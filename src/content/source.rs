//! A Python module that is imported at start-up: `sitecustomize.py`, or the `__init__.py` of such a package.

use super::{Findings, Line};
use crate::model::ContentClass;

/// A module of blank lines and comments does nothing; every other does something.
///
/// Only what is the same text in every encoding that Python can be told to read counts as a comment: ASCII, and UTF-8
/// where nothing names another. A comment that could name one (`coding`) may turn the rest of the file into something else
/// (`utf-7`, `unicode_escape`), and a null byte ended the line for some versions.
pub(super) fn classify(bytes: &[u8]) -> Findings {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let undecodable = std::str::from_utf8(text).is_err();
    for (at, line) in text.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
        let blank = line.iter().position(|byte| !matches!(byte, b' ' | b'\t' | 0x0c));
        let says = blank.map_or(&[][..], |at| &line[at..]);
        let comment = says.is_empty() || says.starts_with(b"#");
        if !comment || says.contains(&0) || says.windows(6).any(|word| word == b"coding") {
            return Findings::of(ContentClass::Code, Some(Line { number: at + 1, text: line.to_vec() }));
        }
    }
    if undecodable {
        return Findings::of(ContentClass::Code, None);
    }
    Findings::of(ContentClass::Empty, None)
}

#[cfg(test)]
mod tests {
    use super::classify;
    use crate::model::ContentClass;

    #[test]
    fn modules_that_say_nothing() {
        for text in ["", "\n", "# c", "\u{feff}# c\r\n\r# d\n", "\x0c\t # c\n   \n", "# caf\u{e9}"] {
            assert_eq!(classify(text.as_bytes()).class, ContentClass::Empty, "{text:?}");
        }
    }

    #[test]
    fn modules_that_say_something() {
        for text in [
            &b"pass"[..],
            b"# c\npass",
            b"# c\rpass",
            b"\"\"",
            b"\\\n",
            b"# -*- coding: utf-7 -*-\n# +AAo-pass",
            b"# vim: set fileencoding=latin-1 :",
            b"# c\0\npass",
            b"# \xff",
            b"\0",
            b"\x0b# c",
            b"\xc2\xa0",
            b"\xef\xbb\xbf\xef\xbb\xbf# c",
        ] {
            assert_eq!(classify(text).class, ContentClass::Code, "{:?}", text.escape_ascii().to_string());
        }
    }
}
