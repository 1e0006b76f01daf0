//! `pthguard scan`: real files in directories of the test's own, told as text, JSON and SARIF.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]
#![allow(clippy::print_stdout, reason = "one test tells how long it takes")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use pthguard::approvals::{Approval, Approvals, Directory, prepare_directory};
use pthguard::fanotify::FileId;
use pthguard::model::{Origin, Sha256};
use serde_json::Value;
use tempfile::TempDir;

const TOOL: &str = "import tool\n";
/// Its SHA-256, as a RECORD has it.
const TOOL_DIGEST: &str = "wO-iD3W28WLYx-9eSEE2CwKqV-LW6pfZfzHyLvADppw";
/// What setuptools 50.3.2 to 59.8.0 ship, and the list knows.
const PRECEDENCE: &str = "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'stdlib') == 'local'; \
                          enabled and __import__('_distutils_hack').add_shim(); \n";
const PRECEDENCE_DIGEST: &str = "fqf_7z_ioRfuEsaO1lU2F_DX_S8FkCV8JcSElZo7c3M";

struct Place {
    _dir: TempDir,
    root: PathBuf,
    site: PathBuf,
    policy: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let site = root.join("env/lib/python3.11/site-packages");
        fs::create_dir_all(&site).unwrap();
        let policy = root.join("policy.toml");
        let text = format!(
            "include_default = false\n[protect]\nsites = [\"{0}/env/lib/python3*/site-packages\"]\n[state]\ndir = \"{0}/state\"\n",
            root.display()
        );
        fs::write(&policy, text).unwrap();
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o600)).unwrap();
        Place { _dir: dir, root, site, policy }
    }

    fn write(&self, name: impl AsRef<Path>, text: &str) {
        let path = self.site.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn package(&self, name: &str, rows: &str) {
        let info = format!("{name}-1.0.dist-info");
        self.write(format!("{info}/METADATA"), &format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"));
        self.write(format!("{info}/RECORD"), &format!("{rows}{info}/METADATA,,\n{info}/RECORD,,\n"));
    }

    /// Approves a file as it is, as a guard does.
    fn approve(&self, name: &str, origin: Origin) {
        let (state, path) = (self.root.join("state"), self.site.join(name));
        prepare_directory(&state).unwrap();
        let approvals = Approvals::open(&state).unwrap();
        let handle = FileId::of(File::open(&self.site).unwrap()).unwrap().handle.to_string();
        let directory = approvals.directory(&Directory { path: self.site.clone(), handle });
        let bytes = fs::read(&path).unwrap();
        let metadata = (&fs::metadata(&path).unwrap()).into();
        let approval = Approval::new(Sha256::of(&bytes), origin, metadata);
        approvals.approve(directory, OsStr::new(name), &bytes, approval).unwrap();
        if approvals.is_first_start() {
            approvals.baseline_complete().unwrap();
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
        command.arg("scan").arg("--config").arg(&self.policy);
        command
    }

    fn scan(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).arg(&self.site).output().unwrap()
    }

    /// The exit status, and what is told of the file `name`; of the directory, if that is empty.
    fn item(&self, name: &str) -> (i32, Value) {
        let output = self.scan(&["--json"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(told["version"], 1);
        let is_it = |item: &&Value| item["name"].as_str().unwrap_or_default() == name;
        let item = told["items"].as_array().unwrap().iter().find(is_it);
        (output.status.code().unwrap(), item.unwrap_or_else(|| panic!("{name} in {told}")).clone())
    }

    fn findings(&self, name: &str) -> Vec<String> {
        let (status, item) = self.item(name);
        let words = |list: &str| -> Vec<String> {
            item[list].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        if !words("finding").is_empty() {
            assert_eq!(status, 1, "{item}");
        }
        [words("finding"), words("note")].concat()
    }
}

#[test]
fn a_directory_in_order_has_no_findings() {
    let place = Place::new();
    fs::create_dir(place.site.join("libs")).unwrap();
    place.write("libs.pth", "# a comment\nlibs\n");
    place.write("empty.pth", "");
    let (status, item) = place.item("libs.pth");
    assert_eq!((status, &item["content"], &item["approval"]), (0, &"paths".into(), &"unknown".into()));
    assert_eq!(place.findings("libs.pth"), ["unowned", "target-relative"]);
    let output = place.scan(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("1 directory, 2 startup files: nothing to look at\n"), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals");
}

#[test]
fn what_runs_and_is_not_known_is_a_finding_until_it_is_approved() {
    let place = Place::new();
    place.write("x.pth", "import os; os.getpid()\n");
    let (status, item) = place.item("x.pth");
    assert_eq!(
        (status, item["line"].as_str(), item["line_number"].as_u64()),
        (1, Some("import os; os.getpid()"), Some(1))
    );
    assert_eq!(place.findings("x.pth"), ["unknown-code", "unowned"]);

    place.approve("x.pth", Origin::Baseline);
    let (status, item) = place.item("x.pth");
    assert_eq!((status, &item["approval"]), (0, &"approved".into()));
    place.write("x.pth", "import os; os.getppid()\n");
    let (status, item) = place.item("x.pth");
    assert_eq!((status, &item["approval"]), (1, &"other-bytes".into()));
}

#[test]
fn owners_and_doubts_about_them() {
    let place = Place::new();
    place.write("tool.pth", TOOL);
    let row = format!("tool.pth,sha256={TOOL_DIGEST},12\n");
    place.package("tool", &row);
    let (_, item) = place.item("tool.pth");
    assert_eq!((item["owner"].as_str(), item["owner_source"].as_str()), (Some("tool 1.0"), Some("record")));
    assert_eq!(place.findings("tool.pth"), ["unknown-code"]);
    place.package("evil", &row);
    assert_eq!(place.findings("tool.pth"), ["unknown-code", "contested"]);
    fs::remove_dir_all(place.site.join("evil-1.0.dist-info")).unwrap();
    place.write("tool.pth", "import tool # changed\n");
    assert!(place.findings("tool.pth").contains(&"hash-differs".to_owned()));
}

#[test]
fn a_module_that_was_put_in_the_place_of_the_packages_own() {
    let place = Place::new();
    place.write("tool.pth", TOOL);
    place.write("tool.py", TOOL);
    place.package("tool", &format!("tool.pth,sha256={TOOL_DIGEST},12\ntool.py,sha256={TOOL_DIGEST},12\n"));
    assert_eq!(place.findings("tool.pth"), ["unknown-code"]);
    place.write("tool.py", "print()\n");
    assert_eq!(place.findings("tool.pth"), ["unknown-code", "module-changed"]);
}

/// What virtualenv writes beside its `_virtualenv.py`, and no package lists.
#[test]
fn what_an_installer_writes_itself_is_known_if_its_rule_let_it_in() {
    let place = Place::new();
    place.write("_virtualenv.pth", "import _virtualenv");
    place.write("_virtualenv.py", "");
    assert_eq!(place.item("_virtualenv.pth").1["content"], "imports");
    assert_eq!(place.findings("_virtualenv.pth"), ["unknown-code", "unowned"]);
    for (origin, class) in [
        (Origin::Writer("pip".into()), "imports"),
        (Origin::Baseline, "imports"),
        (Origin::Administrator { uid: 0 }, "imports"),
        (Origin::Writer("virtualenv".into()), "known"),
    ] {
        place.approve("_virtualenv.pth", origin.clone());
        let (status, item) = place.item("_virtualenv.pth");
        assert_eq!((status, item["content"].as_str()), (0, Some(class)), "{origin:?}");
    }
    place.package("evil", "_virtualenv.pth,,\n");
    assert_eq!(place.item("_virtualenv.pth").1["content"], "imports", "somebody claims it");
}

#[test]
fn a_listed_file_is_known_as_long_as_its_modules_are_its_packages_own() {
    let place = Place::new();
    place.write("distutils-precedence.pth", PRECEDENCE);
    place.write("_distutils_hack/__init__.py", TOOL);
    let (info, size) = ("setuptools-56.0.0.dist-info", PRECEDENCE.len());
    place.write(format!("{info}/METADATA"), "Metadata-Version: 2.1\nName: setuptools\nVersion: 56.0.0\n");
    let rows = format!(
        "distutils-precedence.pth,sha256={PRECEDENCE_DIGEST},{size}\n_distutils_hack/__init__.py,sha256={TOOL_DIGEST},12\n\
         {info}/METADATA,,\n{info}/RECORD,,\n"
    );
    place.write(format!("{info}/RECORD"), &rows);
    let (status, item) = place.item("distutils-precedence.pth");
    assert_eq!((status, item["content"].as_str()), (0, Some("known")), "{item}");
    place.write("_distutils_hack/__init__.py", "print()\n");
    assert_ne!(place.item("distutils-precedence.pth").1["content"], "known");
    assert_eq!(place.findings("distutils-precedence.pth"), ["unknown-code", "module-changed"]);
}

/// The bytes are answered for; who else can change them is not.
#[test]
fn what_an_administrator_has_answered() {
    let place = Place::new();
    place.write("tool.pth", "import tool # changed\n");
    place.package("tool", &format!("tool.pth,sha256={TOOL_DIGEST},12\n"));
    assert_eq!(place.findings("tool.pth"), ["unknown-code", "hash-differs"]);
    place.approve("tool.pth", Origin::Baseline);
    assert_eq!(place.findings("tool.pth"), ["hash-differs"]);
    place.approve("tool.pth", Origin::Administrator { uid: 0 });
    assert!(place.findings("tool.pth").is_empty());
    fs::set_permissions(place.site.join("tool.pth"), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(place.findings("tool.pth"), ["writable"]);
    place.write("tool.pth", "import tool # changed again\n");
    assert!(place.findings("tool.pth").contains(&"unknown-code".to_owned()));
}

#[test]
fn path_lines_that_run_code_or_could() {
    let place = Place::new();
    place.write("libs.pth", "libs\n/nowhere/at/all\n/var/tmp\n");
    place.write("libs/sitecustomize.py", "");
    let found = place.findings("libs.pth");
    for word in
        ["unknown-code", "target-customize", "target-writable", "target-missing", "target-outside", "target-relative"]
    {
        assert!(found.iter().any(|found| found == word), "{word} in {found:?}");
    }
    assert_eq!(place.item("libs.pth").1["content"], "imports");
}

#[test]
fn what_is_no_ordinary_file() {
    let place = Place::new();
    symlink("/etc/hostname", place.site.join("link.pth")).unwrap();
    nix::unistd::mkfifo(&place.site.join("fifo.pth"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    File::create(place.site.join("large.pth")).unwrap().set_len(1 << 40).unwrap();
    place.write("broken.pth", "x\n\0\n");
    fs::write(place.site.join("bytes.pth"), b"# \xff\xfe\n").unwrap();
    assert_eq!(place.findings("link.pth"), ["symlink"], "a link's own mode says nothing");
    for (name, word) in
        [("link.pth", "symlink"), ("fifo.pth", "special-file"), ("large.pth", "too-large"), ("bytes.pth", "broken")]
    {
        assert!(place.findings(name).contains(&word.to_owned()), "{name}: {:?}", place.findings(name));
    }
}

#[test]
fn who_else_can_write() {
    let place = Place::new();
    place.write("x.pth", "");
    fs::set_permissions(place.site.join("x.pth"), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(place.findings("x.pth"), ["writable", "unowned"]);
    fs::set_permissions(&place.site, fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(place.findings(""), ["writable"]);
}

#[test]
fn modules_that_every_interpreter_imports_and_pairs() {
    let place = Place::new();
    place.write("sitecustomize.py", "import os\n");
    place.write("usercustomize/__init__.py", "");
    place.write("tool.pth", TOOL);
    place.write("tool.start", "");
    assert_eq!(place.findings("sitecustomize.py"), ["unknown-code", "unowned"]);
    assert_eq!(place.findings("usercustomize"), ["unknown-code"]);
    assert_eq!(place.findings("tool.start"), ["pair", "unowned"]);
    let rows =
        format!("tool.pth,sha256={TOOL_DIGEST},12\ntool.start,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n");
    place.package("tool", &rows);
    assert!(place.findings("tool.start").is_empty(), "both are of one package");
}

#[test]
fn a_name_or_line_cannot_forge_what_is_told() {
    let place = Place::new();
    let name = OsStr::from_bytes(b"a\n\x1b[31m\xff.pth");
    place.write(name, "import os; '\x1b[2J\u{202e}'\n");
    let text = String::from_utf8(place.scan(&[]).stdout).unwrap();
    assert!(!text.contains(['\x1b', '\u{202e}']), "{text}");
    assert!(text.contains(r"a\x0a\x1b[31m\xff.pth"), "{text}");
    assert_eq!(place.scan(&["--json"]).status.code(), Some(1));
}

#[test]
fn ordinary_users_see_what_they_may() {
    let place = Place::new();
    let guard = place.root.join("pthguard");
    // By a process of its own: a child that another test forks meanwhile would inherit the descriptor, and keep the copy
    // from being executed.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_pthguard")).arg(&guard).status().unwrap().success());
    fs::set_permissions(&guard, fs::Permissions::from_mode(0o755)).unwrap();
    place.write("seen.pth", "# nothing\n");
    place.write("hidden.pth", "# nothing\n");
    fs::set_permissions(place.site.join("hidden.pth"), fs::Permissions::from_mode(0o600)).unwrap();
    let scan = |dir: &Path| {
        let mut command = Command::new(&guard);
        command.args(["scan", "--json"]).arg(dir).uid(65534).gid(65534);
        let output = command.output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), told)
    };
    let (status, told) = scan(&place.site);
    assert_eq!(
        (status, &told["items"][0]["finding"], &told["items"][1]["finding"]),
        (1, &Value::from(vec!["unreadable"]), &Value::from(Vec::<String>::new()))
    );
    fs::set_permissions(&place.site, fs::Permissions::from_mode(0o700)).unwrap();
    let (status, told) = scan(&place.site);
    assert_eq!((status, &told["items"][0]["finding"]), (1, &Value::from(vec!["unreadable"])));
}

#[test]
fn usage_and_environment() {
    let place = Place::new();
    for arguments in
        [&["/nonexistent"][..], &["/etc/hostname"], &["--json", "--sarif"], &["--config", "/nonexistent", "/"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_pthguard")).arg("scan").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    drop(place);
}

#[test]
fn sarif_has_a_result_for_each_remark() {
    let place = Place::new();
    place.write("x y.pth", "import os; os.getpid()\n");
    let output = place.scan(&["--sarif"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["version"]), (Some(1), &"2.1.0".into()));
    let results = told["runs"][0]["results"].as_array().unwrap();
    let words: Vec<_> = results.iter().map(|result| result["ruleId"].as_str().unwrap()).collect();
    assert_eq!(words, ["unknown-code", "unowned"]);
    let uri = results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("file:///") && uri.ends_with("/x%20y.pth"), "{uri}");
}

/// `cargo test --test scan this_machine -- --nocapture` prints how long it takes.
#[test]
fn this_machine_is_scanned_in_no_time() {
    let begin = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_pthguard")).args(["scan", "--json"]).output().unwrap();
    let took = begin.elapsed();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{} items in {took:?}, {}", told["items"].as_array().unwrap().len(), output.status);
    assert!(matches!(output.status.code(), Some(0 | 1)));
    assert!(took.as_secs() < 30, "{took:?}");
}
