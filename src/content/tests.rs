#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use proptest::prelude::*;

use super::{Findings, MAX_TOLD, classify, executes};
use crate::model::ContentClass;

const NSPKG: &str = "import sys, types, os;p = os.path.join(sys._getframe(1).f_locals['sitedir'], *('zope',));\
    ie = os.path.exists(os.path.join(p,'__init__.py'));\
    m = not ie and sys.modules.setdefault('zope', types.ModuleType('zope'));\
    mp = (m or []) and m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p)";

fn pth(text: impl AsRef<[u8]>) -> Findings {
    classify(b"x.pth", text.as_ref())
}

fn class(text: impl AsRef<[u8]>) -> ContentClass {
    pth(text).class
}

#[test]
fn lines_that_some_version_executes() {
    for before in [
        "",
        "/opt/app\n",
        "# c\r",
        "# c\x0b",
        "# c\x0c",
        "# c\x1c",
        "# c\x1d",
        "# c\x1e",
        "# c\u{85}",
        "# c\u{2028}",
        "# c\u{2029}",
        "  ",
        "\u{a0}",
        "\u{3000}",
        "\x1f",
        "\u{feff}",
        "\u{feff} \u{a0}",
        "import gone.away\n",
        "import\tos;raise\n",
    ] {
        for import in ["import ", "import\t"] {
            let text = format!("{before}{import}os; os.abort(1)");
            assert_eq!(class(&text), ContentClass::Code, "{text:?}");
            assert!(executes(b"x.pth", text.as_bytes()), "{text:?}");
        }
    }
}

#[test]
fn lines_that_none_executes() {
    for text in [
        "# import os",
        "importlib",
        "import",
        "import\u{a0}os",
        "import\x0cos",
        "x import os",
        "\u{feff}\u{feff}import os",
        "\u{200b}import os",
    ] {
        assert!(class(text) <= ContentClass::Paths, "{text:?}");
        assert!(!executes(b"x.pth", text.as_bytes()), "{text:?}");
    }
}

#[test]
fn nothing_to_do() {
    for text in ["", "\n", "\r\n \t\n", "# c", "\x1f\n\x0b", "#"] {
        assert_eq!(
            pth(text),
            Findings { class: ContentClass::Empty, line: None, paths: vec![], namespaces: vec![] },
            "{text:?}"
        );
    }
}

#[test]
fn bytes_that_stop_an_interpreter() {
    for text in
        [&b"\xff\xfe"[..], b"# \xe4", b"/opt/\xed\xa0\x80", b"import os\n\xc2", b"\xc0\x80", b"\xf4\x90\x80\x80"]
    {
        assert_eq!(class(text), ContentClass::Broken, "{}", text.escape_ascii());
    }
    let found = pth(b"/opt\nimport os\n# \xff\r\nimport evil");
    assert_eq!(found.line.unwrap().text, b"# \xff\r");
    assert_eq!(found.paths, [b"/opt"]);
    assert!(executes(b"x.pth", b"# \xff\x85import os"));
}

/// A null byte fails its line, in every version.
#[test]
fn null_bytes() {
    assert_eq!(class("a\0b"), ContentClass::Paths);
    assert!(pth("a\0b").paths.is_empty());
    assert_eq!(class("import os\0"), ContentClass::Code);
}

#[test]
fn paths_as_each_version_trims_them() {
    assert_eq!(pth("/opt/app \n").paths, [b"/opt/app"]);
    assert_eq!(pth(" lib\n").paths, [&b" lib"[..], b"lib"]);
    let mark = "\u{ef}\u{bb}\u{bf}lib".as_bytes();
    assert_eq!(pth("\u{feff}lib").paths, ["\u{feff}lib".as_bytes(), b"lib", mark]);
    assert!(pth("\u{feff}# c").paths.contains(&"\u{feff}# c".as_bytes().to_vec()));
    assert_eq!(pth("a\x0bb").paths, [&b"a\x0bb"[..], b"a", b"b"]);
    // Decoded and encoded as UTF-8 or Latin-1, in all combinations.
    assert_eq!(pth("caf\u{e0}").paths, ["caf\u{e0}".as_bytes(), b"caf\xe0", "caf\u{c3}".as_bytes(), b"caf\xc3"]);
    assert_eq!(pth("a\na\nb\r\n# c").paths, [b"a", b"b"]);
    assert_eq!(pth("a\nimport os").paths, [b"a"]);
}

#[test]
fn more_paths_than_anybody_needs() {
    let lines = |number: usize| (0..number).map(|number| format!("p{number}\n")).collect::<String>();
    let found = pth(lines(MAX_TOLD));
    assert_eq!((found.class, found.paths.len()), (ContentClass::Paths, MAX_TOLD));
    let found = pth(lines(MAX_TOLD + 1));
    assert_eq!((found.class, found.paths.len()), (ContentClass::Imports, MAX_TOLD));
    assert_eq!(found.line.unwrap().number, MAX_TOLD + 1);
}

#[test]
fn namespace_lines() {
    for end in ["", "\n", "\r\n", "\n\n", "\n/opt/app\n", "\n# c"] {
        let found = pth(format!("{NSPKG}{end}"));
        assert_eq!((found.class, found.namespaces), (ContentClass::Known, vec!["zope".to_owned()]), "{end:?}");
    }
    for text in [
        format!("{NSPKG}\r"),
        format!("{NSPKG}\x0b"),
        format!("{NSPKG} "),
        format!(" {NSPKG}"),
        format!("{NSPKG}\u{85}"),
        format!("{NSPKG}; import evil"),
        format!("{NSPKG}\rimport evil"),
        format!("{NSPKG}\nimport evil; evil.f(1)"),
        NSPKG.replace("'zope'", "'encodings'"),
        NSPKG.replace("import sys, types, os;", "import sys, types, os, evil;"),
        NSPKG.replace("mp.append(p)", "mp.append('/tmp')"),
        NSPKG.replace("zope", "zop\u{435}"),
    ] {
        assert_eq!(class(&text), ContentClass::Code, "{text}");
    }
    assert_eq!(class(format!("{NSPKG}\nimport evil")), ContentClass::Imports);
    assert_eq!(class(format!("\u{feff}{NSPKG}")), ContentClass::Known);
    assert_eq!(class(format!("# {NSPKG}")), ContentClass::Empty);
}

#[test]
fn the_first_line_of_the_worst() {
    let found = pth("/opt\nimport a\n# c\nimport b; b.f(1)\nimport c; c.f(2)\n");
    let line = found.line.unwrap();
    assert_eq!((found.class, line.number, line.text), (ContentClass::Code, 4, b"import b; b.f(1)".to_vec()));
    let found = pth("/opt\nimport a\nimport b");
    assert_eq!((found.class, found.line.unwrap().number), (ContentClass::Imports, 2));
}

#[test]
fn other_names() {
    assert_eq!(classify(b"x.start", b"a:b").class, ContentClass::Imports);
    assert_eq!(classify(b"sitecustomize.py", b"pass").class, ContentClass::Code);
    assert_eq!(classify(b"usercustomize.so", b"\x7fELF").class, ContentClass::Code);
    assert_eq!(classify(b"sitecustomize.cpython-311.pyc", b"").class, ContentClass::Empty);
    assert_eq!(classify(b"x.PTH", b"# c").class, ContentClass::Code);
    assert_eq!(classify(b".pth", b"import os").class, ContentClass::Imports);
}

/// Pieces of which files are made that go to the edges of the rules.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..8),
        proptest::sample::select(vec![
            &b"import "[..],
            b"import\t",
            b"import x",
            b"import x; x.f()",
            b"import os;1",
            b"#",
            b" ",
            b"\n",
            b"\r",
            b"\r\n",
            b"\x0b",
            b"\x0c",
            b"\x1c",
            b"\x1f",
            b"\xc2\x85",
            b"\xc2\xa0",
            b"\xe2\x80\xa8",
            b"\xef\xbb\xbf",
            b"\x85",
            b"\xa0",
            b"\0",
            b"/opt",
            b"..",
            b"lib",
        ])
        .prop_map(<[u8]>::to_vec),
        Just(NSPKG.as_bytes().to_vec()),
    ]
}

fn file() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn total_and_consistent(bytes in file()) {
        for name in [&b"x.pth"[..], b"x.start", b"x.py", b"x"] {
            let found = classify(name, &bytes);
            prop_assert!(found.line.is_none_or(|line| line.number > 0 && line.excerpt().len() <= 160));
            prop_assert!(found.paths.len() <= MAX_TOLD);
        }
        let found = pth(&bytes);
        if found.class != ContentClass::Broken {
            prop_assert_eq!(found.class.executes() && found.paths.len() < MAX_TOLD, executes(b"x.pth", &bytes));
        }
        prop_assert_eq!(found.class == ContentClass::Broken, std::str::from_utf8(&bytes).is_err());
        prop_assert_eq!(found.line.is_some(), found.class > ContentClass::Paths);
    }

    /// A file is at least as harmful as each part of it that begins and ends with a line.
    #[test]
    fn lines_never_make_others_harmless(before in file(), after in file()) {
        let together = class([&before[..], b"\n", &after].concat());
        prop_assert!(together >= class([&before[..], b"\n"].concat()));
        // A mark is one only at the beginning of a file.
        if !after.starts_with(b"\xef\xbb\xbf") {
            prop_assert!(together >= class(&after));
        }
    }

    #[test]
    fn an_import_line_is_found_wherever_it_stands(before in "[a-z/#\n ]{0,40}", after in "[a-z/#\n ]{0,40}") {
        let text = format!("{before}\nimport os\n{after}");
        prop_assert!(class(text) >= ContentClass::Imports);
    }
}
