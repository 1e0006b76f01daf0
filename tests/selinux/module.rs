//! The module's sources, compiled and linked with Debian's policy in a directory of the test's own. The machine's own policy
//! is only read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

/// Compiles modules against the interfaces of the reference policy (package selinux-policy-dev).
const MAKEFILE: &str = "/usr/share/selinux/devel/Makefile";
/// Debian's policy, as the package selinux-policy-default has built it.
const STORE: &str = "/var/lib/selinux/default";
const CONFIGURATION: &str = "/etc/selinux/default";

pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("selinux")
}

/// Runs a tool that has to succeed, and what it says.
pub(crate) fn tool(command: &mut Command, package: &str) -> String {
    let limited = {
        let mut limited = Command::new("timeout");
        limited.args(["--kill-after=5", "900"]).arg(command.get_program()).args(command.get_args());
        limited.env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(std::process::Stdio::null());
        if let Some(directory) = command.get_current_dir() {
            limited.current_dir(directory);
        }
        limited.output().expect("blocked: no timeout (coreutils)")
    };
    assert!(limited.status.code() != Some(127), "blocked: no {:?} (package {package})", command.get_program());
    let (said, complained) = (String::from_utf8_lossy(&limited.stdout), String::from_utf8_lossy(&limited.stderr));
    assert!(limited.status.success(), "{command:?}: {}\n{said}{complained}", limited.status);
    said.into_owned()
}

/// A policy with the module in it.
pub(crate) struct Linked {
    root: TempDir,
    /// All that a domain may do, once asked: sesearch takes its time.
    asked: Mutex<BTreeMap<&'static str, &'static [Allowed]>>,
}

impl Linked {
    /// That of the sources as they are; made once.
    pub(crate) fn shipped() -> &'static Linked {
        static SHIPPED: OnceLock<Linked> = OnceLock::new();
        SHIPPED.get_or_init(|| Linked::with(|_| {}))
    }

    /// That of the sources after a change of the type enforcement file.
    pub(crate) fn with(change: impl FnOnce(&mut String)) -> Linked {
        assert!(Path::new(MAKEFILE).exists(), "blocked: no {MAKEFILE} (package selinux-policy-dev)");
        let is_built = Path::new(STORE).join("active/policy.kern").exists();
        assert!(is_built, "blocked: no policy in {STORE} (package selinux-policy-default; only root can read it)");
        let root = tempfile::tempdir().unwrap();
        let build = root.path().join("build");
        fs::create_dir(&build).unwrap();
        for extension in ["te", "fc", "if"] {
            let name = format!("pthguard.{extension}");
            fs::copy(sources().join(&name), build.join(&name)).unwrap();
        }
        let types = build.join("pthguard.te");
        let mut text = fs::read_to_string(&types).unwrap();
        change(&mut text);
        fs::write(&types, text).unwrap();
        let mut make = Command::new("make");
        let said = tool(make.args(["-f", MAKEFILE, "NAME=default", "pthguard.pp"]).current_dir(&build), "make");
        assert!(!said.to_lowercase().contains("warning"), "{said}");

        let linked = Linked { root, asked: Mutex::default() };
        for directory in [STORE, CONFIGURATION] {
            let copy = linked.at(directory);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            tool(Command::new("cp").args(["-a", directory]).arg(&copy), "coreutils");
        }
        let mut link = Command::new("semodule");
        link.args(["--noreload", "--store=default", "--path"]).arg(linked.root.path());
        tool(link.arg("--install").arg(build.join("pthguard.pp")), "policycoreutils");
        linked
    }

    /// Where a file of the machine's would be in the test's own directory.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// The policy as the kernel loads it.
    pub(crate) fn policy(&self) -> PathBuf {
        let directory = self.at("/etc/selinux/default/policy");
        let found = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).max();
        found.unwrap_or_else(|| panic!("no policy in {}", directory.display()))
    }

    /// What sesearch finds.
    pub(crate) fn search(&self, arguments: &[&str]) -> Vec<String> {
        let said = tool(Command::new("sesearch").args(arguments).arg(self.policy()), "setools");
        said.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// All that a domain may do, rules for attributes that it has included.
    pub(crate) fn of(&self, domain: &'static str) -> &'static [Allowed] {
        let mut asked = self.asked.lock().unwrap();
        asked.entry(domain).or_insert_with(|| self.allowed(&["-s", domain]).leak())
    }

    /// The allow rules that sesearch finds.
    pub(crate) fn allowed(&self, arguments: &[&str]) -> Vec<Allowed> {
        let arguments: Vec<&str> = ["-A"].iter().chain(arguments).copied().collect();
        self.search(&arguments).iter().map(|line| Allowed::parse(line)).collect()
    }
}

/// `allow SOURCE TARGET:CLASS { PERMISSIONS }; [ BOOLEAN ]:True`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) class: String,
    pub(crate) permissions: Vec<String>,
    /// The boolean that it depends on.
    pub(crate) only_if: Option<String>,
}

impl Allowed {
    fn parse(line: &str) -> Allowed {
        let read = || {
            let (rule, condition) = line.strip_prefix("allow ")?.split_once(';')?;
            let (source, rest) = rule.split_once(' ')?;
            let (target, rest) = rest.split_once(':')?;
            let (class, permissions) = rest.split_once(' ')?;
            let words = permissions.trim_matches(['{', '}', ' ']).split(' ').map(str::to_owned);
            let only_if = condition.trim().strip_prefix("[ ").and_then(|rest| rest.split_once(" ]"));
            Some(Allowed {
                source: source.to_owned(),
                target: target.to_owned(),
                class: class.to_owned(),
                permissions: words.collect(),
                only_if: only_if.map(|(name, _)| name.to_owned()),
            })
        };
        read().unwrap_or_else(|| panic!("not a rule: {line}"))
    }

    pub(crate) fn has_any(&self, permissions: &[&str]) -> bool {
        self.permissions.iter().any(|has| permissions.contains(&has.as_str()))
    }
}
