//! The line that uv writes for `uv run --with`: it adds further site directories, whose startup files are then obeyed.
//!
//! ```text
//! line      = "import site" { "; " "site.addsitedir(" directory ")" } [ ";" ]      at least one directory
//! directory = string | "__import__(" quote "os" quote ").fsdecode(b" string ")"     the latter from 0.9 on
//! ```

/// The directories that `bytes` add, if they are such a line and nothing else.
///
/// By its bytes the file is `Code`. It is as harmless as these directories: all of them have to be guarded.
#[must_use]
pub fn overlaid(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut rest = line.strip_prefix(b"import site")?;
    let mut directories = Vec::new();
    while !matches!(rest, b"" | b";") {
        rest = rest.strip_prefix(b"; site.addsitedir(")?;
        let raw = rest.strip_prefix(br#"__import__("os").fsdecode(b"#);
        let (directory, after) = string(raw.unwrap_or(rest), raw.is_some())?;
        rest = after.strip_prefix(if raw.is_some() { &b"))"[..] } else { b")" })?;
        if !directory.starts_with(b"/") {
            return None;
        }
        directories.push(directory);
    }
    (!directories.is_empty()).then_some(directories)
}

/// The value of the literal in double quotes that `text` begins with, and what follows it.
fn string(text: &[u8], raw: bool) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut value = Vec::new();
    loop {
        rest = match rest {
            [b'"', after @ ..] => {
                // Text beyond ASCII may hold what ends a line for 3.13 and later.
                let text = std::str::from_utf8(&value);
                let one_line = raw
                    || text
                        .is_ok_and(|text| !text.contains(|c: char| c.is_control() || "\u{2028}\u{2029}".contains(c)));
                return one_line.then_some((value, after));
            }
            [b'\\', c @ (b'\\' | b'"' | b'\''), after @ ..] => {
                value.push(*c);
                after
            }
            [b'\\', b'x', high, low, after @ ..] if raw => {
                let digit = |c: &u8| char::from(*c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                value.push(digit(high)? * 16 + digit(low)?);
                after
            }
            [c @ (b' '..=b'[' | b']'..=b'~'), after @ ..] => {
                value.push(*c);
                after
            }
            [c @ 0x80..=0xff, after @ ..] if !raw => {
                value.push(*c);
                after
            }
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::overlaid;

    #[test]
    fn lines_of_uv() {
        for (line, directories) in [
            (&br#"import site; site.addsitedir("/a/b")"#[..], vec![&b"/a/b"[..]]),
            (br#"import site; site.addsitedir("/a"); site.addsitedir("/b'c");"#, vec![b"/a", b"/b'c"]),
            (
                br#"import site; site.addsitedir(__import__("os").fsdecode(b"/c\xc3\xa2\"\\\'e"))"#,
                vec![b"/c\xc3\xa2\"\\'e"],
            ),
            (b"import site; site.addsitedir(\"/caf\xc3\xa9\")\n", vec![b"/caf\xc3\xa9"]),
        ] {
            assert_eq!(
                overlaid(line),
                Some(directories.into_iter().map(<[u8]>::to_vec).collect()),
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn lines_of_others() {
        for line in [
            &b""[..],
            b"import site",
            b"import site;",
            br#"import site; site.addsitedir("/a"), evil()"#,
            br#"import site; site.addsitedir("/a"); import evil"#,
            br#"import site; site.addsitedir("/a" + evil())"#,
            br#"import site; site.addsitedir("/a\")"#,
            br#"import site; site.addsitedir("/a\x2f")"#,
            br#"import site; site.addsitedir("/a\N{SPACE}")"#,
            br#"import site; site.addsitedir(f"/{evil()}")"#,
            br#"import site; site.addsitedir("a")"#,
            br#"import site; site.addsitedir('/a')"#,
            br#"import site; site.addsitedir(__import__("evil").fsdecode(b"/a"))"#,
            br#"import site; site.addsitedir(__import__("os").fsdecode(b"/\xzz"))"#,
            br#"import site;site.addsitedir("/a")"#,
            b"import site; site.addsitedir(\"/a\")\nimport evil",
            b"import site; site.addsitedir(\"/a\n\")",
            b"import site; site.addsitedir(\"/a\x85\")",
            b"import site; site.addsitedir(\"/a\")\r",
            b" import site; site.addsitedir(\"/a\")",
        ] {
            assert_eq!(overlaid(line), None, "{}", line.escape_ascii());
        }
    }

    /// U+0085 and U+2028 end a line from 3.13 on; in a directory's name they would hide what follows.
    #[test]
    fn names_with_ends_of_lines() {
        assert_eq!(overlaid("import site; site.addsitedir(\"/a\u{2028}import evil\")".as_bytes()), None);
    }
}
