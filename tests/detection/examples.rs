//! Events written by hand, with what each published rule has to say of them: the engines, the rules as they are written
//! here and the mapping of fields are what the comparison in `parity` rests on. What they say of plantings that have
//! happened is held against `docs/detection/README.md`.

use serde_json::{Value, json};

use crate::document;
use crate::engines::{Opinion, ask_about, content};

/// Linux, creation; the name and its extension as the path has them.
pub(crate) fn linux(program: &str, path: &str) -> Value {
    let name = path.rsplit('/').next().unwrap();
    json!({
        "host": {"os": {"type": "linux"}},
        "event": {"category": ["file"], "action": "creation"},
        "file": {"path": path, "name": name, "extension": name.rsplit('.').next().unwrap()},
        "process": {"executable": program, "name": program.rsplit('/').next().unwrap()},
    })
}

/// The same elsewhere.
pub(crate) fn on(os: &str, program: &str, path: &str) -> Value {
    with(linux(program, path), "/host/os/type", json!(os))
}

/// With another value at a JSON pointer; null: without the field.
pub(crate) fn with(mut event: Value, pointer: &str, value: Value) -> Value {
    let (object, field) = pointer.rsplit_once('/').unwrap();
    let object = event.pointer_mut(object).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        object.remove(field);
    } else {
        object.insert(field.to_owned(), value);
    }
    event
}

const BOTH: &[&str] = &["elastic-seed", "elastic-current"];
const UNIX: &[&str] = &["elastic-seed", "elastic-current", "sigma-linux"];
pub(crate) const SITE: &str = "/usr/lib/python3.11/site-packages/evil.pth";
pub(crate) const VENV: &str = r"C:\src\venv\Lib\site-packages\evil.pth";

/// Plantings that have happened, and the same with one thing changed.
fn happened() -> Vec<(&'static str, Value, &'static [&'static str])> {
    vec![
        (
            "UPSTYLE on a firewall",
            linux("/usr/bin/python3", "/usr/lib/python3.6/site-packages/system.pth"),
            &["sigma-linux"],
        ),
        (
            "litellm 1.82.8, by the system's pip",
            linux("/usr/bin/python3.11", "/usr/local/lib/python3.11/site-packages/litellm_init.pth"),
            &["sigma-linux"],
        ),
        (
            "the same under Debian's name of the directory",
            linux("/usr/bin/python3.11", "/usr/local/lib/python3.11/dist-packages/litellm_init.pth"),
            &[],
        ),
        (
            "the same by uv",
            linux("/root/.local/bin/uv", "/usr/local/lib/python3.11/site-packages/litellm_init.pth"),
            UNIX,
        ),
        (
            "the same, in a virtual environment",
            linux("/srv/venv/bin/python3.11", "/srv/venv/lib/python3.11/site-packages/litellm_init.pth"),
            &["sigma-linux"],
        ),
        (
            "the same for one user on Windows: no `Lib` in this path",
            on(
                "windows",
                r"C:\Python311\python.exe",
                r"C:\Users\u\AppData\Roaming\Python\Python311\site-packages\litellm_init.pth",
            ),
            &[],
        ),
    ]
}

/// What the rules ask for, field by field.
fn made_up() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let renamed = |event| with(event, "/event/action", json!("rename"));
    vec![
        // Elastic, field by field.
        ("the plain case", linux("/bin/sh", SITE), UNIX),
        ("Debian's directory", linux("/bin/sh", "/usr/lib/python3/dist-packages/evil.pth"), BOTH),
        ("a user's directory", linux("/bin/sh", "/home/u/.local/lib/python3.9/site-packages/evil.pth"), UNIX),
        ("a star takes slashes", linux("/bin/sh", "/opt/a/b/lib/python3.9/x/y/site-packages/z/evil.pth"), BOTH),
        ("renamed", renamed(linux("/bin/sh", SITE)), &["elastic-seed"]),
        ("deleted", with(linux("/bin/sh", SITE), "/event/action", json!("deletion")), &[]),
        ("without an action", with(linux("/bin/sh", SITE), "/event/action", Value::Null), &[]),
        ("without a program", with(linux("/bin/sh", SITE), "/process/executable", Value::Null), &["sigma-linux"]),
        ("without a path", with(linux("/bin/sh", SITE), "/file/path", Value::Null), &[]),
        ("without an operating system", with(linux("/bin/sh", SITE), "/host/os/type", Value::Null), &[]),
        ("without an extension", with(linux("/bin/sh", SITE), "/file/extension", Value::Null), &["sigma-linux"]),
        ("an extension of its own", with(linux("/bin/sh", SITE), "/file/extension", json!("txt")), &["sigma-linux"]),
        (
            "the extension of another name",
            with(linux("/bin/sh", "/usr/lib/python3.11/site-packages/evil.txt"), "/file/extension", json!("pth")),
            BOTH,
        ),
        ("pip", linux("/usr/bin/pip", SITE), &["sigma-linux"]),
        ("nearly pip", linux("/usr/bin/pip4", SITE), UNIX),
        ("a relative program", linux("./venv/bin/pip", SITE), &["sigma-linux"]),
        ("Docker from the store", linux("/nix/store/x-y/libexec/docker/dockerd", SITE), &["sigma-linux"]),
        ("not that Docker", linux("/nix/store/x-y/libexec/docker/dockerd2", SITE), UNIX),
        ("excluded since December", linux("/usr/bin/crio", SITE), &["elastic-seed", "sigma-linux"]),
        (
            "an expected file since December",
            linux("/srv/bin/uv", "/usr/lib/python3.11/site-packages/_virtualenv.pth"),
            &["elastic-seed", "sigma-linux"],
        ),
        (
            "such a file of somebody else",
            linux("/srv/bin/uvx", "/usr/lib/python3.11/site-packages/_virtualenv.pth"),
            UNIX,
        ),
        ("another directory", linux("/bin/sh", "/srv/lib/python3/dist-packages/evil.pth"), &[]),
        // Sigma.
        ("of an old Python", linux("/usr/bin/pip", "/usr/lib/python3.4/site-packages/evil.pth"), &[]),
        ("of a Python to come", linux("/usr/bin/pip", "/usr/lib/python3.100/site-packages/evil.pth"), &[]),
        ("in capitals", linux("/usr/bin/pip", "/USR/LIB/PYTHON3.11/SITE-PACKAGES/EVIL.PTH"), &["sigma-linux"]),
        ("macOS", on("macos", "/bin/sh", "/Library/lib/python3.12/site-packages/evil.pth"), &["sigma-macos"]),
        ("Windows", on("windows", r"C:\x.exe", VENV), &["sigma-windows"]),
        (
            "Windows, without a program",
            with(on("windows", "", VENV), "/process/executable", Value::Null),
            &["sigma-windows"],
        ),
        (
            "Windows, a line break where a dot has to match",
            on("windows", "x", "C:\\python3\n\\lib\\site-packages\\x.pth"),
            &[],
        ),
        (
            "Windows, an expected file",
            on("windows", r"C:\Python311\python.exe", r"C:\Python311\Lib\site-packages\pywin32.pth"),
            &[],
        ),
        (
            "Windows, such a file of somebody else",
            on("windows", r"C:\Python311\pythonw.exe", r"C:\Python311\Lib\site-packages\pywin32.pth"),
            &["sigma-windows"],
        ),
    ]
}

#[test]
fn engines_say_what_the_rules_mean() {
    let examples = [happened(), made_up()].concat();
    let events: Vec<Value> = examples.iter().map(|(_, event, _)| event.clone()).collect();
    let mut wrong = Vec::new();
    for ((what, event, expected), opinion) in examples.iter().zip(ask_about(&events, &[])) {
        println!("{what}: {:?}", opinion.published());
        if opinion.published() != *expected {
            wrong.push(format!("{what}: {:?} instead of {expected:?}: {event}", opinion.published()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn row(what: &str, event: &Value, opinion: &Opinion) -> String {
    let said = |rules: &[&str]| if rules.iter().any(|rule| opinion.has(rule)) { "reported" } else { "nothing" };
    format!(
        "| {what} | `{}` | `{}` | {} | {} | {} |\n",
        event["process"]["executable"].as_str().unwrap(),
        event["file"]["path"].as_str().unwrap(),
        said(&["elastic-seed"]),
        said(&["elastic-current"]),
        said(&["sigma-windows", "sigma-linux", "sigma-macos"]),
    )
}

#[test]
fn the_document_says_what_the_engines_said() {
    let happened = happened();
    let events: Vec<Value> = happened.iter().map(|(_, event, _)| event.clone()).collect();
    let mut table = "| what | program | file | Elastic, April 2025 | Elastic, December 2025 | Sigma |\n\
                     | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for ((what, event, _), opinion) in happened.iter().zip(ask_about(&events, &[])) {
        table += &row(what, event, &opinion);
    }
    document::says(&content("README.md"), "published", &table);
}

/// The Python implementation of EQL compares without regard to case, Elasticsearch does not.
#[test]
fn elastic_minds_case() {
    let plain = linux("/bin/sh", SITE);
    let pip = linux("/usr/bin/PIP", SITE);
    let shouted = linux("/bin/sh", "/USR/lib/python3.11/site-packages/evil.pth");
    let opinions = ask_about(&[plain, pip, shouted], &[]);
    let seed = |number: usize| (opinions[number].has("elastic-seed"), opinions[number].has("elastic-seed/cased"));
    assert_eq!(seed(0), (true, true));
    assert_eq!(seed(1), (false, true), "a program in capitals is not the one that is excluded");
    assert_eq!(seed(2), (true, false), "a path in capitals is another path");
}
