//! CPython's line rules, of every version at once.
//!
//! The versions disagree about what ends a line and what may stand before `import` (`site.addpackage` of 3.6 to 3.15,
//! PEP 829). A line counts as executable when any of them would execute it: saying too much costs a look, saying too
//! little hides code.

/// Whether some version of CPython would execute a line of a startup file with this name and these bytes.
///
/// In a `.start` file every line that is neither blank nor a comment names a function to call.
#[must_use]
pub fn executes(name: &[u8], bytes: &[u8]) -> bool {
    let entry_points = name.ends_with(b".start");
    lines(bytes).any(|line| {
        let line = trim_start(line);
        if entry_points { !line.is_empty() && !line.starts_with(b"#") } else { is_import(line) }
    })
}

/// `import` followed by a space or a tab (`line.startswith(("import ", "import\t"))`).
fn is_import(line: &[u8]) -> bool {
    line.strip_prefix(b"import").is_some_and(|rest| matches!(rest.first(), Some(b' ' | b'\t')))
}

/// Splits at everything at which `str.splitlines` splits: from 3.13 on the file is split that way, before only at
/// `\n` and `\r`. 0x85 alone is U+0085 in a file that is not UTF-8 and decoded by locale.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        for at in 0..bytes.len() {
            let width = match &bytes[at..] {
                [0xe2, 0x80, 0xa8 | 0xa9, ..] => 3,
                [0xc2, 0x85, ..] => 2,
                [b'\n' | b'\r' | 0x0b | 0x0c | 0x1c..=0x1e | 0x85, ..] => 1,
                _ => continue,
            };
            rest = Some(&bytes[at + width..]);
            return Some(&bytes[..at]);
        }
        rest = None;
        Some(bytes)
    })
}

/// Drops what 3.15 strips before it looks for `import` (`str.strip`, so every Unicode space), and a byte order mark.
fn trim_start(mut line: &[u8]) -> &[u8] {
    loop {
        line = match line {
            [b'\t'..=b'\r' | 0x1c..=0x1f | b' ' | 0x85 | 0xa0, rest @ ..] => rest,
            [0xc2, 0x85 | 0xa0, rest @ ..]
            | [0xe1, 0x9a, 0x80, rest @ ..]
            | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, rest @ ..]
            | [0xe2, 0x81, 0x9f, rest @ ..]
            | [0xe3, 0x80, 0x80, rest @ ..]
            | [0xef, 0xbb, 0xbf, rest @ ..] => rest,
            _ => return line,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::executes;

    #[test]
    fn lines_that_some_version_executes() {
        for line in [
            "import os",
            "import\tos",
            "# c\rimport os",
            "# c\x0bimport os",
            "# c\x0cimport os",
            "# c\x1cimport os",
            "# c\u{85}import os",
            "# c\u{2028}import os",
            "# c\u{2029}import os",
            "  import os",
            "\u{a0}import os",
            "\u{3000}import os",
            "\u{feff}import os",
            "/opt/app\nimport os\n",
        ] {
            assert!(executes(b"x.pth", line.as_bytes()), "{line:?}");
        }
        assert!(executes(b"x.pth", b"# \xff\nimport os"));
        assert!(executes(b"x.pth", b"# \xff\x85import os"));
    }

    #[test]
    fn lines_that_none_executes() {
        for line in ["", "/opt/app\n", "# import os", "importlib", "import", "important thing", "x import os"] {
            assert!(!executes(b"x.pth", line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn entry_points_of_a_start_file_are_code() {
        assert!(executes(b"x.start", b"# c\npkg.mod:main\n"));
        assert!(!executes(b"x.start", b"# c\n\n  # d\n"));
        assert!(!executes(b"x.pth", b"pkg.mod:main\n"));
    }

    proptest! {
        #[test]
        fn total_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = executes(b"x.pth", &bytes);
            let _ = executes(b"x.start", &bytes);
        }

        #[test]
        fn an_import_line_is_found_wherever_it_stands(before in "[a-z/#\n]{0,40}", after in "[a-z/#\n]{0,40}") {
            let text = format!("{before}\nimport os\n{after}");
            prop_assert!(executes(b"x.pth", text.as_bytes()));
        }
    }
}
