//! Files that go to the edges of the rules, each with a payload that leaves a mark.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One startup file.
pub(crate) struct Case {
    /// Name of the file.
    pub(crate) name: &'static str,
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
    /// A module to lie beside it.
    module: Option<String>,
}

/// What can end a line, or look as if it did.
const ENDS: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\r",
    b"\x0b",
    b"\x0c",
    b"\x1c",
    b"\x1d",
    b"\x1e",
    b"\x1f",
    b"\x85",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xa9",
    b"\0",
    b" ",
    b"\\n",
];
/// What can stand before `import`.
const BEFORE: &[&[u8]] = &[
    b"",
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\x1f",
    b"\x1c",
    b"\xa0",
    b"\xc2\xa0",
    b"\xe3\x80\x80",
    b"\xe1\x9a\x80",
    b"\xe1\xa0\x8e",
    b"\xe2\x80\x8b",
    b"\xef\xbb\xbf",
    b"\0",
    b"#",
    b" #",
    b"x ",
    b"'",
];
/// What can stand behind `import`.
const BEHIND: &[&[u8]] = &[b" ", b"\t", b"  ", b"\x0c", b"\xc2\xa0", b"\r", b""];
/// What can come before all of it.
const FIRST: &[&[u8]] =
    &[b"# c", b"lib", b"import sys; sys.seen.append(2); missing", b"\xef\xbb\xbf# c", b"\xef\xbb\xbf", b"# \xff", b""];
/// Lines that an interpreter takes for a path, or that look like it.
const PATHS: &[&[u8]] = &[
    b"lib",
    b" lib",
    b"lib ",
    b"\tlib\t",
    b"lib\xc2\xa0",
    b"lib\xe3\x80\x80",
    b"lib\xc2\x85",
    b"lib\x1f",
    b"\x1flib",
    b"/opt/lib",
    b"../lib",
    b"caf\xc3\xa9",
    b"caf\xc3\xa0",
    b"caf\xe9",
    b"caf\xe0",
    b"important",
    b"import",
    b"importlib",
    b" # c",
    b"\xef\xbb\xbflib",
    b"\xef\xbb\xbf# c",
    b"lib\0",
    b"a\x0bb",
    b"a\x1cb",
    b"a\xe2\x80\xa8b",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x90\x8d",
    b"\xc0\x80",
    b"lib\xc2",
    b"x import os",
    b"~/lib",
    b"\"lib\"",
];
/// Bytes for all of a file.
const WHOLE: &[&[u8]] = &[
    b"",
    b"\n",
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xff\xfei\0m\0p\0o\0r\0t\0 \0o\0s\0",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xed\xb2\x80",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xe2\x80",
    b"\x80",
    b"# \xff",
    b"import os\n\xff",
    b"import missing_module_of_a_test\n\xff",
    b"\x1a",
    b"+AGkAbQBwAG8AcgB0-",
    b"# -*- coding: utf-7 -*-\n",
    b"\xf0\x9f\x90\x8d",
    b"\xef\xbf\xbf",
    b"\xef\xb7\x90",
];

/// All of them, by a name for their directory.
pub(crate) fn all() -> BTreeMap<String, Case> {
    let mut cases = Vec::new();
    let mut add = |name, bytes: Vec<u8>, module| cases.push(Case { name, bytes, module });
    for (at, first) in FIRST.iter().enumerate() {
        for end in ENDS {
            for before in BEFORE {
                for behind in BEHIND {
                    // Most separators are looked at behind one kind of line only.
                    if at > 0 && *behind != b" " {
                        continue;
                    }
                    let rest = &b"sys; sys.seen.append(1)\n# end"[..];
                    add("x.pth", [*first, *end, *before, b"import", *behind, rest].concat(), None);
                }
            }
        }
        if at > 0 && first.starts_with(b"import") {
            continue;
        }
        for path in PATHS {
            for end in &ENDS[..if at == 0 { ENDS.len() } else { 3 }] {
                add("x.pth", [*first, *end, *path, *end].concat(), None);
            }
        }
    }
    for bytes in WHOLE {
        add("x.pth", bytes.to_vec(), None);
        add("x.start", bytes.to_vec(), None);
    }
    // Lines that run a module and nothing else. Their number makes the module's name one of its own.
    for (number, line) in
        ["import M", "import\tM", "import sys, M as m; m.f()", "import M; M.f()", "import M;"].iter().enumerate()
    {
        let module = format!("beside_{number}");
        add("x.pth", line.replace('M', &module).into_bytes(), Some(module));
    }
    let mut number = 0;
    for first in [&b"# c"[..], b"", b"\xef\xbb\xbf", b"# \xff", b"other:missing"] {
        for end in ENDS {
            for before in BEFORE {
                number += 1;
                let module = format!("started_{number}");
                let entry = format!("{module}:f");
                add("x.start", [first, end, before, entry.as_bytes(), b"\n"].concat(), Some(module));
            }
        }
    }
    cases.into_iter().enumerate().map(|(number, case)| (format!("c{number:05}"), case)).collect()
}

/// Lay each into a directory of its own below `root`.
pub(crate) fn lay(root: &Path, cases: &BTreeMap<String, Case>) {
    for (directory, case) in cases {
        let directory = root.join(directory);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(case.name), &case.bytes).unwrap();
        if let Some(module) = &case.module {
            let source = "import sys\nsys.seen.append(0)\ndef f():\n    sys.seen.append(1)\n";
            fs::write(directory.join(module).with_extension("py"), source).unwrap();
        }
    }
}
