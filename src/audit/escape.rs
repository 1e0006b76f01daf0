//! Any bytes as one printable line, without loss.
//!
//! Names and arguments belong to whoever made them. Written raw they could start a new record, move the cursor of the
//! person who reads the log, or turn the reading direction. The text made here can be turned back into exactly the
//! bytes it came from, so two different names never look the same:
//!
//! | input | text |
//! | --- | --- |
//! | printable UTF-8 | itself |
//! | backslash | `\\` |
//! | ASCII control characters, DEL, bytes that are not UTF-8 | `\xNN` |
//! | everything else that shows nothing, or changes what is beside it: C1 controls, line separators, bidi controls, zero-width, combining and unassigned characters | `\u{…}` |
//! | what was cut off | `\{+N bytes}`, `\{+N args}`: no input gives a backslash before a brace |

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Longest path that is shown whole; the kernel's `PATH_MAX`.
const MAX_PATH: usize = 4096;
/// Most arguments shown of one command line.
const MAX_ARGS: usize = 64;
/// Longest argument that is shown whole.
const MAX_ARG: usize = 1024;
/// Most bytes shown of one command line.
const MAX_ARGS_TOTAL: usize = 4096;
/// Longest free text that is shown whole.
const MAX_MESSAGE: usize = 4096;
/// Longest value that is shown whole in a line for people.
const MAX_BRIEF: usize = 512;

/// The bytes as one printable line.
#[must_use]
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && text.chars().all(stands_for_itself)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_char(&mut out, c);
        }
        for byte in chunk.invalid() {
            push_byte(&mut out, *byte);
        }
    }
    Cow::Owned(out)
}

/// The bytes that escaped text was made from; `None` where some of them were cut off, or nothing here has made it.
#[must_use]
pub fn unescape(text: &str) -> Option<Cow<'_, [u8]>> {
    let Some(begin) = text.find('\\') else { return Some(Cow::Borrowed(text.as_bytes())) };
    let (plain, mut rest) = text.split_at(begin);
    let mut bytes = plain.as_bytes().to_vec();
    while let Some(escaped) = rest.strip_prefix('\\') {
        let after = match (escaped.get(..1)?, &escaped[1..]) {
            ("\\", after) => {
                bytes.push(b'\\');
                after
            }
            ("x", after) => {
                let hex = after.get(..2).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
                bytes.push(u8::from_str_radix(hex, 16).ok()?);
                &after[2..]
            }
            ("u", after) => {
                let (code, after) = after.strip_prefix('{')?.split_once('}')?;
                let c = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                after
            }
            _ => return None,
        };
        let (plain, escaped) = after.split_at(after.find('\\').unwrap_or(after.len()));
        bytes.extend_from_slice(plain.as_bytes());
        rest = escaped;
    }
    Some(Cow::Owned(bytes))
}

/// A path as one printable line, cut after 4096 bytes.
#[must_use]
pub fn escape_path(path: &Path) -> Cow<'_, str> {
    escape_up_to(path.as_os_str().as_bytes(), MAX_PATH)
}

/// Free text as one printable line.
pub(super) fn escape_message(text: &str) -> Cow<'_, str> {
    escape_up_to(text.as_bytes(), MAX_MESSAGE)
}

/// A value for a line that people read, cut after 512 bytes.
pub(super) fn escape_briefly(bytes: &[u8]) -> Cow<'_, str> {
    escape_up_to(bytes, MAX_BRIEF)
}

/// A command line, argument by argument: at most 64 of them, 1024 bytes of each, 4096 bytes in all.
pub(super) fn escape_args(argv: &[OsString]) -> Vec<Cow<'_, str>> {
    let mut room = MAX_ARGS_TOTAL;
    let mut shown = Vec::with_capacity(argv.len().min(MAX_ARGS + 1));
    for arg in argv.iter().take(MAX_ARGS) {
        if room == 0 {
            break;
        }
        let arg = arg.as_bytes();
        shown.push(escape_up_to(arg, room.min(MAX_ARG)));
        room -= arg.len().min(MAX_ARG).min(room);
    }
    let left_out = argv.len() - shown.len();
    if left_out > 0 {
        shown.push(Cow::Owned(format!("\\{{+{left_out} args}}")));
    }
    shown
}

/// Escaped text as one word of a `key=value` line: in quotes when a blank, a quote or nothing at all in it could be
/// taken for the line's own. Backslashes are doubled already, so `\"` can only come from here.
pub(super) fn quote(escaped: Cow<'_, str>) -> Cow<'_, str> {
    if escaped.is_empty() || escaped.contains([' ', '"']) {
        Cow::Owned(format!("\"{}\"", escaped.replace('"', "\\\"")))
    } else {
        escaped
    }
}

fn escape_up_to(bytes: &[u8], limit: usize) -> Cow<'_, str> {
    if bytes.len() <= limit {
        return escape(bytes);
    }
    // Not in the middle of a character: its first bytes alone would be shown as broken ones. Three steps are enough for
    // UTF-8, and bytes that are not UTF-8 lose no more than that.
    let mut end = limit;
    while end > limit.saturating_sub(3) && bytes[end] & 0b1100_0000 == 0b1000_0000 {
        end -= 1;
    }
    let mut out = escape(&bytes[..end]).into_owned();
    push_fmt(&mut out, format_args!("\\{{+{} bytes}}", bytes.len() - end));
    Cow::Owned(out)
}

fn stands_for_itself(c: char) -> bool {
    match c {
        '\\' => false,
        ' '..='~' => true,
        // The standard library's table: it escapes whatever is not printable, and combining marks.
        _ => c.escape_debug().len() == 1,
    }
}

fn push_char(out: &mut String, c: char) {
    if stands_for_itself(c) {
        out.push(c);
    } else if c == '\\' {
        out.push_str("\\\\");
    } else if c.is_ascii() {
        // One byte below 0x80, which no byte of broken UTF-8 is: both can be written the same way.
        push_fmt(out, format_args!("\\x{:02x}", u32::from(c)));
    } else {
        push_fmt(out, format_args!("\\u{{{:x}}}", u32::from(c)));
    }
}

fn push_byte(out: &mut String, byte: u8) {
    push_fmt(out, format_args!("\\x{byte:02x}"));
}

fn push_fmt(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes whatever is written to it");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    /// Bytes that come near each other in escaped form, mixed with any others.
    fn tricky_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            Just(b"\\".to_vec()),
            Just(b"\\x0a".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\\u{85}".to_vec()),
            Just("\u{85}".into()),
            Just("\u{202e}".into()),
            Just(vec![0x85]),
            Just(vec![0xc2]),
            Just(vec![0xed, 0xa0, 0x80]),
            Just(b"\\{+1 bytes}".to_vec()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn text_leads_back_to_its_bytes(bytes in tricky_bytes()) {
            let text = escape(&bytes);
            let back = unescape(&text);
            prop_assert_eq!(back.as_deref(), Some(&bytes[..]));
        }

        #[test]
        fn any_text_is_either_led_back_or_not_ours(text in any::<String>(), bytes in tricky_bytes()) {
            let _ = unescape(&text);
            let _ = unescape(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn different_bytes_give_different_text(one in tricky_bytes(), other in tricky_bytes()) {
            prop_assert_eq!(escape(&one) == escape(&other), one == other);
        }

        #[test]
        fn text_holds_nothing_but_printable_characters(bytes in tricky_bytes()) {
            for c in escape(&bytes).chars() {
                prop_assert!(!c.is_control() && !is_line_break_or_bidi(c), "{:?}", c);
            }
        }

        #[test]
        fn args_stay_within_their_limits(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..90)) {
            let argv: Vec<OsString> = args.into_iter().map(OsString::from_vec).collect();
            let shown = escape_args(&argv);
            prop_assert!(shown.len() <= MAX_ARGS + 1);
            // Six characters at most for each byte kept, and a mark for each argument.
            prop_assert!(shown.iter().map(|arg| arg.len()).sum::<usize>() <= 6 * MAX_ARGS_TOTAL + 32 * shown.len());
        }
    }

    fn is_line_break_or_bidi(c: char) -> bool {
        matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}')
    }

    #[test]
    fn every_troublesome_character_is_escaped() {
        let ranges = [
            '\0'..='\x1f',
            '\x7f'..='\u{9f}',
            '\u{200b}'..='\u{200f}',
            '\u{2028}'..='\u{202e}',
            '\u{2066}'..='\u{2069}',
        ];
        for c in ranges.into_iter().flatten().chain(['\u{ad}', '\u{61c}', '\u{feff}', '\u{e0041}']) {
            let text = escape(c.to_string().as_bytes()).into_owned();
            assert!(text.starts_with('\\') && text.is_ascii(), "{text:?}");
        }
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["", "/usr/lib/python3/dist-packages/x.pth", "naïve 日本 'quoted' \"twice\" ~", "🐍"] {
            assert!(matches!(escape(text.as_bytes()), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn forms_are_as_documented() {
        assert_eq!(escape(b"a\nb\\c\xff\x1b[31m\xc2\x85"), r"a\x0ab\\c\xff\x1b[31m\u{85}");
        assert_eq!(escape("\u{202e}htp.live".as_bytes()), r"\u{202e}htp.live");
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        for text in
            [r"/a\{+3 bytes}", r"\", r"\x", r"\x4", r"\x+4", r"\xé0", r"\u41", r"\u{}", r"\u{110000}", r"\é", r"\n"]
        {
            assert_eq!(unescape(text), None, "{text}");
        }
        assert!(matches!(unescape("/a/é.pth"), Some(Cow::Borrowed(bytes)) if bytes == "/a/é.pth".as_bytes()));
    }

    #[test]
    fn long_values_are_cut_with_a_count() {
        let path = format!("/{}", "é".repeat(3000));
        let text = escape_path(Path::new(&path)).into_owned();
        assert!(text.ends_with("éé\\{+1906 bytes}"), "{text}");

        let argv: Vec<OsString> = (0..70).map(|i| format!("a{i}").into()).collect();
        let shown = escape_args(&argv);
        assert_eq!((shown.len(), shown[64].as_ref()), (65, r"\{+6 args}"));

        let argv: Vec<OsString> = vec!["x".repeat(1500).into(); 6];
        let shown = escape_args(&argv);
        assert_eq!(shown.len(), 5, "four arguments use up the 4 KiB");
        assert!(shown[3].ends_with(r"\{+476 bytes}") && shown[4] == r"\{+2 args}");
    }

    #[test]
    fn quotes_appear_only_where_needed() {
        assert_eq!(quote("plain=1".into()), "plain=1");
        assert_eq!(quote("".into()), "\"\"");
        assert_eq!(quote(escape(b"a b\"\\")), r#""a b\"\\""#);
    }
}
