//! Whole starts of interpreters, in virtual environments.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use pthguard::content::classify;
use pthguard::model::ContentClass;

use crate::python::{self, Python, limited};

/// Start `python` in an environment below `root` whose site directory has these files.
fn start(python: &Python, root: &Path, files: &[(&str, &[u8])], script: &str) -> Output {
    let site = root.join(format!("lib/python{}/site-packages", python.version));
    fs::create_dir_all(&site).unwrap();
    fs::create_dir_all(root.join("bin")).unwrap();
    let base = fs::canonicalize(&python.program).unwrap();
    symlink(&base, root.join("bin/python3")).unwrap();
    fs::write(root.join("pyvenv.cfg"), format!("home = {}\n", base.parent().unwrap().display())).unwrap();
    for (name, bytes) in files {
        let path = site.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    limited(&root.join("bin/python3")).args(["-c", script]).env("LC_ALL", "C.UTF-8").output().unwrap()
}

/// Those that can be started in an environment of the test's: not the programs that start one elsewhere.
fn pythons() -> Vec<Python> {
    python::all().into_iter().filter(|python| !python.wrapped).collect()
}

/// `broken` is what stops an interpreter, and nothing else does.
#[test]
fn what_stops_an_interpreter() {
    let dir = tempfile::tempdir().unwrap();
    let broken: &[&[u8]] = &[b"\xff", b"# \xe9t\xe9", b"\xed\xa0\x80", b"\xc0\x80", b"\xe2\x80", b"# c\n/opt\n\x80"];
    let odd: &[&[u8]] = &[
        b"\0",
        b"a\0b\n",
        b"import os\0",
        b"\xef\xbb\xbf",
        b"\xef\xbf\xbf",
        b"\xf4\x8f\xbf\xbf",
        b"\x1a",
        b"import",
        b"import ",
        b"import os;raise",
        b"#",
        b"/\n//\n.\n..\n",
        b"caf\xc3\xa9\n",
        b"import \xc3\xa9\n",
        b"import os; (\n",
        b"import os; 1/0\n/opt\n",
        b"import \\\n",
    ];
    for (number, bytes) in broken.iter().enumerate() {
        assert_eq!(classify(b"x.pth", bytes).class, ContentClass::Broken);
        for python in pythons() {
            let root = dir.path().join(format!("broken-{}-{number}", python.version));
            let output = start(&python, &root, &[("x.pth", bytes)], "pass");
            assert!(!output.status.success(), "{} starts with {}", python.release, bytes.escape_ascii());
        }
    }
    let long = [&b"/opt/"[..], &vec![b'x'; 100_000]].concat();
    let names: Vec<String> = (0..=odd.len()).map(|number| format!("x{number}.pth")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().map(String::as_str).zip(odd.iter().copied().chain([&long[..]])).collect();
    for (name, bytes) in &files {
        assert!(classify(name.as_bytes(), bytes).class < ContentClass::Broken, "{}", bytes.escape_ascii());
    }
    for python in pythons() {
        let output = start(&python, &dir.path().join(format!("odd-{}", python.version)), &files, "pass");
        assert!(output.status.success(), "{}: {}", python.release, String::from_utf8_lossy(&output.stderr));
    }
}

const NESTED: &str = "import sys, types, os;p = os.path.join(sys._getframe(1).f_locals['sitedir'], *('ns', 'inner'));\
    importlib = __import__('importlib.util');__import__('importlib.machinery');\
    m = sys.modules.setdefault('ns.inner', importlib.util.module_from_spec(\
    importlib.machinery.PathFinder.find_spec('ns.inner', [os.path.dirname(p)])));\
    m = m or sys.modules.setdefault('ns.inner', types.ModuleType('ns.inner'));\
    mp = (m or []) and m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p);\
    m and setattr(sys.modules['ns'], 'inner', m)\n";

/// What a namespace line does and does not run: no Python code of the package or its parent; but it loads an extension
/// module of the name (here one that is none, which the dynamic linker says).
#[test]
fn a_namespace_line_loads_extension_modules_only() {
    let dir = tempfile::tempdir().unwrap();
    let found = classify(b"x-nspkg.pth", NESTED.as_bytes());
    assert_eq!((found.class, found.namespaces), (ContentClass::Known, vec!["ns.inner".to_owned()]));
    let shout = &b"import sys; sys.stderr.write('PACKAGE RAN')"[..];
    for python in pythons() {
        let files = [("x-nspkg.pth", NESTED.as_bytes()), ("ns/__init__.py", shout), ("ns/inner/__init__.py", shout)];
        let output = start(&python, &dir.path().join(format!("source-{}", python.version)), &files, "pass");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("PACKAGE RAN"), "{}: {said}", python.release);
        for extension in ["ns/inner.abi3.so", "ns/inner/__init__.so"] {
            let files = [("x-nspkg.pth", NESTED.as_bytes()), (extension, b"no ELF")];
            let root = dir.path().join(format!("extension-{}-{}", python.version, extension.replace('/', "-")));
            let said = String::from_utf8_lossy(&start(&python, &root, &files, "pass").stderr).into_owned();
            assert!(said.contains(extension), "{}: {extension} was not loaded: {said}", python.release);
        }
    }
}

/// A namespace of that name would extend or replace a module that interpreters rely on.
#[test]
fn modules_of_the_standard_library_are_no_namespaces() {
    let mut asked = 0;
    for python in python::all() {
        let script = "import sys; print('\\n'.join(getattr(sys, 'stdlib_module_names', sys.builtin_module_names)))";
        let output = limited(&python.program).args(["-I", "-S", "-c", script]).output().unwrap();
        for name in String::from_utf8(output.stdout).unwrap().lines() {
            asked += 1;
            let class = classify(
                b"x-nspkg.pth",
                NESTED.replace("'ns'", &format!("'{name}'")).replace("'ns.", &format!("'{name}.")).as_bytes(),
            )
            .class;
            assert_eq!(class, ContentClass::Code, "{}: {name}", python.release);
        }
    }
    assert!(asked > 300);
}
