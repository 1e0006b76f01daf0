//! The guard itself: does it run, is it well, has it this policy.

use std::fs;
use std::path::Path;

use super::{Check, Question};
use crate::audit::escape;
use crate::config::Config;
use crate::control::Access;
use crate::model::Mode;

const UNIT: &str = "pthguard.service";
/// Where units lie, those of administrators first (systemd.unit(5)).
const UNITS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

pub(super) fn checks(config: &Config, is_root: bool) -> Vec<Check> {
    vec![guard(config, is_root), unit()]
}

fn guard(config: &Config, is_root: bool) -> Check {
    let question = Question("guard");
    if !is_root {
        return question.unknown("only root may ask it");
    }
    let asked = Access::to_daemon(config).map_err(|error| error.to_string());
    let status = match asked.and_then(|access| access.desk().status().map_err(|refusal| refusal.to_string())) {
        Ok(status) => status,
        Err(error) => {
            let found = format!("none answers: {}", escape(error.as_bytes()));
            return question.warn(found, "start it: `systemctl start pthguard`, or `pthguard run`");
        }
    };
    let (pid, mode) = (status.pid, status.mode.as_str());
    let label = label_of(pid);
    let shown = label.as_deref().map_or(String::new(), |label| format!(", label {}", escape(label.as_bytes())));
    let found = format!("process {pid}, mode {mode}, {} directories{shown}", status.directories.all());
    if !status.threads.well {
        return question
            .fail(format!("{found}; a thread stands still"), "`pthguard status` says which kind; restart the guard");
    }
    if status.policy_generation != config.generation {
        let (its, ours) = (escape(status.policy_generation.as_bytes()), &config.generation);
        return question.warn(
            format!("{found}; its policy is {its}, the files make {ours}"),
            "have it read them again (SIGHUP, `systemctl reload pthguard`), or restart it",
        );
    }
    match status.mode {
        Mode::Enforce => question.ok(found),
        Mode::Audit => question.warn(found, "it denies nothing"),
    }
}

/// The label that a security module has given a process, if one has.
fn label_of(pid: u32) -> Option<String> {
    let label = fs::read_to_string(format!("/proc/{pid}/attr/current")).ok()?;
    let label = label.trim_end_matches(['\n', '\0']);
    (!label.is_empty()).then(|| label.to_owned())
}

/// What the service manager has of it, by the files and control groups that it makes.
fn unit() -> Check {
    let question = Question("service");
    if !Path::new("/run/systemd/system").is_dir() {
        return question.ok("this host has no systemd: see that something starts the guard, and again when it ends");
    }
    let Some(place) = UNITS.into_iter().find(|place| Path::new(place).join(UNIT).exists()) else {
        return question.warn(format!("there is no {UNIT}"), "a guard that nobody starts is gone after the next boot");
    };
    let file = Path::new(place).join(UNIT);
    if fs::read_link(&file).is_ok_and(|target| target == Path::new("/dev/null")) {
        return question.fail(format!("{UNIT} is masked"), format!("systemctl unmask {UNIT}"));
    }
    let is_active = fs::read_to_string(Path::new("/sys/fs/cgroup/system.slice").join(UNIT).join("cgroup.procs"))
        .is_ok_and(|processes| !processes.trim().is_empty());
    let is_enabled = wants().any(|directory| directory.join(UNIT).symlink_metadata().is_ok());
    match (is_active, is_enabled) {
        (true, true) => question.ok(format!("{place}/{UNIT} is active and enabled")),
        (true, false) => question.warn(
            format!("{place}/{UNIT} is active, not enabled"),
            format!("systemctl enable {UNIT}: it is not started at the next boot"),
        ),
        (false, _) => question.warn(
            format!("{place}/{UNIT} is not active"),
            format!("systemctl enable --now {UNIT}; journalctl -u pthguard says why it ended"),
        ),
    }
}

/// The directories that say what is started at boot.
fn wants() -> impl Iterator<Item = std::path::PathBuf> {
    let entries = fs::read_dir("/etc/systemd/system").into_iter().flatten().flatten();
    let is_wants = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|extension| extension == "wants" || extension == "requires")
    };
    entries.map(|entry| entry.path()).filter(is_wants)
}
