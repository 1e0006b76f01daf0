//! One operation under one guard: start the guard, let the installer work, see what became of the startup file and what
//! the guard recorded.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{Config, Guard, SOON, field};
use crate::root;
use crate::site::{Done, run};
use crate::table::Row;
use crate::tools::tool;

/// A site directory and the interpreter that obeys it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) site: PathBuf,
    pub(crate) python: PathBuf,
    /// Whose interpreter, if not root's.
    pub(crate) uid: u32,
}

/// What has to be the case in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The file adds this directory to `sys.path`.
    Obeyed(&'static str),
    /// The file of before the operation does so still.
    Old(&'static str),
    /// The file can be read.
    Readable,
    /// There is no such file.
    Absent,
    /// There is one and nobody can read it.
    Unreadable,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            End::Obeyed(_) => "obeyed",
            End::Old(_) => "old",
            End::Readable => "readable",
            End::Absent => "absent",
            End::Unreadable => "unreadable",
        }
    }
}

/// An operation and what it should come to.
pub(crate) struct Case<'a> {
    pub(crate) installer: &'a str,
    pub(crate) version: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) target: &'a Target,
    /// The startup file.
    pub(crate) name: &'a str,
    pub(crate) verdict: &'a str,
    pub(crate) end: End,
    /// Whether the installer itself has to report success.
    pub(crate) succeeds: bool,
    /// Guarded beside what the policy names.
    pub(crate) extra_sites: Vec<PathBuf>,
    pub(crate) rules: &'a str,
}

impl<'a> Case<'a> {
    /// An honest operation, which has to work.
    pub(crate) fn honest(installer: &'a str, version: &'a str, operation: &'a str, target: &'a Target) -> Case<'a> {
        Case {
            installer,
            version,
            operation,
            target,
            name: "demo.pth",
            verdict: "allow",
            end: End::Obeyed("/srv/demo-1.0"),
            succeeds: true,
            extra_sites: Vec::new(),
            rules: "",
        }
    }

    /// One that works and brings what nobody may read before somebody has looked at it.
    pub(crate) fn held(installer: &'a str, version: &'a str, operation: &'a str, target: &'a Target) -> Case<'a> {
        Case { verdict: "held", end: End::Unreadable, ..Case::honest(installer, version, operation, target) }
    }

    /// One that has to come to nothing.
    pub(crate) fn denied(installer: &'a str, version: &'a str, operation: &'a str, target: &'a Target) -> Case<'a> {
        Case {
            verdict: "deny",
            end: End::Absent,
            succeeds: false,
            ..Case::honest(installer, version, operation, target)
        }
    }
}

/// The rows so far, and what went wrong.
#[derive(Default)]
pub(crate) struct Matrix {
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Matrix {
    /// Run some operations; if preparing them fails, the other groups still run.
    pub(crate) fn group(&mut self, name: &str, operations: impl FnOnce(&mut Matrix)) {
        let begin = Instant::now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| operations(self))) {
            self.failures.push(format!("{name}: {}", said(panic.as_ref())));
        }
        println!("{name}: {:.1?}", begin.elapsed());
    }

    pub(crate) fn finish(self) -> (Vec<Row>, Vec<String>) {
        (self.rows, self.failures)
    }

    /// Run one command as the operation.
    pub(crate) fn run(&mut self, case: &Case, command: &mut Command) {
        self.perform(case, |_| run(command));
    }

    /// Run an operation. What is not as it should be is put down as a failure, and the row as it was.
    pub(crate) fn perform(&mut self, case: &Case, operation: impl FnOnce(&Guard) -> Done) {
        let what = format!("{} {}: {}", case.installer, case.version, case.operation);
        let begin = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| guarded(case, operation))) {
            Ok((row, wrong)) => {
                println!(
                    "{what}: {} {} {} {} ({:.1?})",
                    row.mechanism,
                    row.rule,
                    row.verdict,
                    row.afterwards,
                    begin.elapsed()
                );
                self.failures.extend(wrong.map(|wrong| format!("{what}: {wrong}")));
                self.rows.push(row);
            }
            Err(panic) => self.failures.push(format!("{what}: {}", said(panic.as_ref()))),
        }
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

fn guarded(case: &Case, operation: impl FnOnce(&Guard) -> Done) -> (Row, Option<String>) {
    let home = tempfile::Builder::new().prefix("guard-").tempdir_in("/srv").unwrap();
    let mut guard = Config::built_in(home.path(), case.extra_sites.clone()).rules(case.rules).start();
    root::assert_marks_are_private(guard.pid());
    let done = operation(&guard);
    let file = case.target.site.join(case.name);
    let failed = case.succeeds && !done.status.success();
    let deadline = Instant::now() + SOON / 2;
    let end = loop {
        let end = state(case, &file);
        let settled = end == case.end && Decisions::of(&guard.records(), &file).are_expected(case);
        if settled || failed || Instant::now() > deadline {
            break end;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    guard.assert_alive();
    // What is still on its way to the trail is there once the guard has stopped.
    let events = guard.events().to_owned();
    let (status, _) = guard.stop();
    let records = records(&events);
    let decisions = Decisions::of(&records, &file);
    let expected = end == case.end && decisions.are_expected(case);
    let row = Row {
        installer: case.installer.to_owned(),
        version: case.version.to_owned(),
        operation: case.operation.to_owned(),
        mechanism: decisions.mechanisms,
        rule: decisions.rules,
        verdict: decisions.verdicts,
        afterwards: end.as_str().to_owned(),
    };
    if expected && !failed && status.success() {
        return (row, None);
    }
    let wrong = format!(
        "{} {}, {} expected; found {} by {:?} under {:?}, {end:?}\n--- {}\n{}{}\n--- the guard: {status}\n{}",
        case.verdict,
        case.end.as_str(),
        if case.succeeds { "success" } else { "anything" },
        row.verdict,
        row.mechanism,
        row.rule,
        done.status,
        done.stdout,
        done.stderr,
        trail(&records)
    );
    (row, Some(wrong))
}

/// What the guard recorded about the file, without what was only read.
struct Decisions {
    mechanisms: String,
    rules: String,
    verdicts: String,
}

impl Decisions {
    fn of(records: &[Value], file: &Path) -> Decisions {
        let (mut mechanisms, mut rules, mut verdicts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (mut deleted, mut held) = (false, false);
        for record in records {
            if Path::new(field(record, "file.path")) != file {
                continue;
            }
            let mechanism = match field(record, "event.action") {
                "creation" | "modification" => "open",
                same @ ("rename" | "link" | "symlink" | "special") => same,
                "deletion" => {
                    deleted = true;
                    continue;
                }
                "held" => {
                    held = true;
                    continue;
                }
                _ => continue,
            };
            mechanisms.insert(mechanism.to_owned());
            let rule = field(record, "rule.name");
            rules.insert(if rule.is_empty() { "none" } else { rule }.to_owned());
            verdicts.insert(field(record, "pthguard.verdict").to_owned());
        }
        if mechanisms.is_empty() {
            let mechanism = if deleted { "delete" } else { "-" };
            return Decisions { mechanisms: mechanism.into(), rules: "-".into(), verdicts: "-".into() };
        }
        let join = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
        let verdicts = if held { "held".to_owned() } else { join(verdicts) };
        Decisions { mechanisms: join(mechanisms), rules: join(rules), verdicts }
    }

    fn are_expected(&self, case: &Case) -> bool {
        // What is taken away is recorded, not decided.
        let removed = case.verdict == "allow" && case.end == End::Absent;
        if removed { self.mechanisms == "delete" } else { self.verdicts == case.verdict }
    }
}

/// What became of the file.
fn state(case: &Case, file: &Path) -> End {
    if file.symlink_metadata().is_err() {
        return End::Absent;
    }
    if fs::read(file).is_err() {
        return End::Unreadable;
    }
    let (End::Obeyed(marker) | End::Old(marker)) = case.end else {
        return End::Readable;
    };
    let code = "import sys; sys.exit(sys.argv[1] not in sys.path)";
    let mut python = tool(&case.target.python);
    if case.target.uid != 0 {
        use std::os::unix::process::CommandExt;
        python.uid(case.target.uid).gid(case.target.uid).env("HOME", "/home/user");
    }
    let obeyed = run(python.current_dir("/").args(["-c", code, marker])).status.success();
    if obeyed { case.end } else { End::Readable }
}

/// The trail of a guard that has stopped.
fn records(events: &Path) -> Vec<Value> {
    let text = fs::read_to_string(events).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The records that matter to somebody who has to find out what went wrong.
fn trail(records: &[Value]) -> String {
    let dull = ["baseline", "site-guarded", "start"];
    let lines = records.iter().filter(|record| !dull.contains(&field(record, "event.action"))).map(Value::to_string);
    lines.collect::<Vec<_>>().join("\n")
}
