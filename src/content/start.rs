//! `*.start` (PEP 829): each line that is neither blank nor a comment names a function to call.

use super::pth::undecodable;
use super::rules::{MARK, Rules, is_space};
use super::{Findings, Line};
use crate::model::ContentClass;

/// Entry points run modules of the environment. 3.15 skips a file that is not UTF-8 without a word; it counts as one with
/// entry points all the same, because that may not be so in the next version.
pub(super) fn classify(bytes: &[u8]) -> Findings {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Findings::of(ContentClass::Imports, undecodable(bytes));
    };
    let text = text.strip_prefix(MARK).unwrap_or(text);
    for (at, line) in Rules::Stripped.lines(text).enumerate() {
        let said = line.text.trim_matches(is_space);
        if !said.is_empty() && !said.starts_with('#') {
            let line = Line { number: at + 1, text: said.as_bytes().to_vec() };
            return Findings::of(ContentClass::Imports, Some(line));
        }
    }
    Findings::of(ContentClass::Empty, None)
}

#[cfg(test)]
mod tests {
    use super::classify;
    use crate::model::ContentClass;

    #[test]
    fn entry_points_run_modules() {
        for text in [
            &b"pkg.mod:main"[..],
            b"# c\x0bpkg:main",
            b"# c\rpkg:main",
            b"!",
            b"# \xff",
            b"\xef\xbb\xbf\xef\xbb\xbf# c",
        ] {
            let found = classify(text);
            assert_eq!(found.class, ContentClass::Imports, "{:?}", text.escape_ascii().to_string());
            assert!(found.line.is_some());
        }
    }

    #[test]
    fn comments_run_nothing() {
        for text in ["", "\n\n", "# c\n\n  # d\n", "\u{feff}# c", "\u{a0}\x1f# c"] {
            assert_eq!(classify(text.as_bytes()).class, ContentClass::Empty, "{text:?}");
        }
    }
}
