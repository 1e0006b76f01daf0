//! The line that a file was judged by, and how it is shown.

use std::fmt::Write as _;

/// Most characters of an excerpt.
const MAX: usize = 160;
/// Of these, what is kept of the end of a long line: padding must not push what matters out of sight.
const TAIL: usize = 48;

/// A line of a startup file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1, as the interpreter counts that takes it worst.
    pub number: usize,
    /// Its bytes, without what ends it.
    pub text: Vec<u8>,
}

impl Line {
    /// One line of printable ASCII, at most 160 characters, whatever the bytes: others than those and backslashes are
    /// written as `\xNN` and `\\`, a long line loses its middle (`\{+N bytes}`, which no bytes look like).
    #[must_use]
    pub fn excerpt(&self) -> String {
        let whole = escape(&self.text, MAX);
        if whole.1 == self.text.len() {
            return whole.0;
        }
        let (head, shown) = escape(&self.text, MAX - TAIL - r"\{+1048576 bytes}".len());
        let mut from = self.text.len();
        let mut room = TAIL;
        while from > shown && room >= width(self.text[from - 1]) {
            from -= 1;
            room -= width(self.text[from]);
        }
        let mut text = head;
        let _ = write!(text, r"\{{+{} bytes}}", from - shown);
        text + &escape(&self.text[from..], TAIL).0
    }
}

/// How many characters stand for a byte.
fn width(byte: u8) -> usize {
    match byte {
        b'\\' => 2,
        b' '..=b'~' => 1,
        _ => 4,
    }
}

/// As many bytes as fit into `max` characters, and their number.
fn escape(bytes: &[u8], max: usize) -> (String, usize) {
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        if text.len() + width(*byte) > max {
            return (text, at);
        }
        match byte {
            b'\\' => text.push_str(r"\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, r"\x{byte:02x}");
            }
        }
    }
    (text, bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Line, MAX};

    fn excerpt(text: &[u8]) -> String {
        Line { number: 1, text: text.to_vec() }.excerpt()
    }

    #[test]
    fn what_is_short_and_printable_stands_for_itself() {
        assert_eq!(excerpt(b"import os; os.abort()"), "import os; os.abort()");
        assert_eq!(excerpt(b"\x1b[2J\\n\n\xff"), r"\x1b[2J\\n\x0a\xff");
        assert_eq!(excerpt("\u{202e}".as_bytes()), r"\xe2\x80\xae");
    }

    #[test]
    fn padding_hides_neither_the_start_nor_the_end() {
        let text = excerpt(format!("import os;{}os.system('id')", " ".repeat(5000)).as_bytes());
        assert!(text.starts_with("import os;") && text.ends_with("os.system('id')"), "{text}");
        assert!(text.contains(r"\{+"), "{text}");
    }

    proptest! {
        #[test]
        fn one_printable_line(text in proptest::collection::vec(any::<u8>(), 0..600)) {
            let shown = excerpt(&text);
            prop_assert!(shown.len() <= MAX, "{} {shown}", shown.len());
            prop_assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
