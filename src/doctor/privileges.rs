//! What the guard may do here: capabilities, namespaces, security modules, limits.

use std::fs;
use std::path::Path;

use caps::{CapSet, Capability};
use nix::sys::resource::{Resource, getrlimit};

use super::{Check, Question};
use crate::audit::escape;
use crate::daemon::{DESCRIPTORS, needed_capabilities};
use crate::model::ViolationAction;

/// The numbers of the first namespaces (`include/linux/proc_ns.h`).
const FIRST_USER: u64 = 0xEFFF_FFFD;
const FIRST_PID: u64 = 0xEFFF_FFFC;

pub(super) fn checks(is_root: bool, on_violation: ViolationAction) -> Vec<Check> {
    vec![
        capabilities(is_root, on_violation),
        namespace("user-namespace", "user", FIRST_USER, "fanotify groups can be made in the first user namespace only"),
        namespace(
            "pid-namespace",
            "pid",
            FIRST_PID,
            "processes outside of it cannot be identified; in a container, use --pid=host",
        ),
        filters(),
        security_modules(),
        descriptors(),
        hidden_processes(),
    ]
}

/// Of an ordinary user it is asked what root would have here.
fn capabilities(is_root: bool, on_violation: ViolationAction) -> Check {
    let question = Question("capabilities");
    let set = if is_root { CapSet::Effective } else { CapSet::Bounding };
    let is_missing = |capability: Capability| !caps::has_cap(None, set, capability).unwrap_or(false);
    let missing: Vec<String> = needed_capabilities(on_violation)
        .filter(|(capability, _)| is_missing(*capability))
        .map(|(capability, purpose)| format!("{capability} ({purpose})"))
        .collect();
    match (missing.is_empty(), is_root) {
        (true, true) => question.ok("all that are needed"),
        (true, false) => question.ok("root can have all that are needed"),
        (false, _) => question.fail(
            format!("missing: {}", missing.join(", ")),
            "run the guard as root, with these capabilities left to it",
        ),
    }
}

fn namespace(name: &'static str, kind: &str, first: u64, why: &str) -> Check {
    let question = Question(name);
    let number = fs::read_link(format!("/proc/self/ns/{kind}")).ok().and_then(|link| {
        let text = link.to_str()?.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.to_owned();
        text.parse::<u64>().ok()
    });
    match number {
        Some(number) if number == first => question.ok("the first one"),
        Some(number) => {
            question.fail(format!("not the first one ({number})"), format!("run the guard on the host: {why}"))
        }
        None => question.warn("cannot be read", "mount /proc"),
    }
}

/// A field of `/proc/self/status`.
fn own_status(field: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn filters() -> Check {
    let question = Question("seccomp");
    match (own_status("Seccomp").as_deref(), own_status("NoNewPrivs").as_deref()) {
        (Some("2"), _) => question.warn(
            "a filter is in force for this process",
            "the guard needs fanotify_init, fanotify_mark, name_to_handle_at, open_by_handle_at, pidfd_open, openat2, open_tree",
        ),
        (Some("0"), Some("1")) => question.ok("no filter; no_new_privs is set, which the guard does not mind"),
        (Some("0"), _) => question.ok("no filter"),
        _ => question.warn("cannot be read", "mount /proc"),
    }
}

fn security_modules() -> Check {
    let question = Question("security-modules");
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim_end_matches(['\n', '\0']).to_owned());
    let mut found = Vec::new();
    let mut advice = None;
    if let Some(modules) = read("/sys/kernel/security/lsm") {
        found.push(escape(modules.as_bytes()).into_owned());
    }
    let context = read("/proc/self/attr/current").unwrap_or_default();
    match read("/sys/fs/selinux/enforce").as_deref() {
        Some("1") => {
            found.push(format!("SELinux enforces, this process is {}", escape(context.as_bytes())));
            advice = Some(
                "see that the guard runs in a domain that may use fanotify and read every site directory (ps -Z, ausearch -m \
                 avc); an opener is denied where its file may not be opened for the guard",
            );
        }
        Some(_) => found.push("SELinux is permissive".to_owned()),
        None => {}
    }
    if read("/sys/module/apparmor/parameters/enabled").as_deref() == Some("Y")
        && context != "unconfined"
        && !context.is_empty()
    {
        found.push(format!("AppArmor, this process is {}", escape(context.as_bytes())));
    }
    if let Some(lockdown) = read("/sys/kernel/security/lockdown") {
        found.push(format!("lockdown {}", escape(lockdown.as_bytes())));
    }
    let found = if found.is_empty() { "none that shows".to_owned() } else { found.join("; ") };
    match advice {
        Some(advice) if !context.contains("pthguard") && !context.contains("unconfined") => {
            question.warn(found, advice)
        }
        Some(_) | None => question.ok(found),
    }
}

fn descriptors() -> Check {
    let question = Question("open-files");
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= DESCRIPTORS => question.ok(format!("the guard can have {DESCRIPTORS} open")),
        Ok((_, hard)) => question.warn(
            format!("at most {hard} can be open at a time, here"),
            format!(
                "out of descriptors the kernel denies openers; LimitNOFILE={DESCRIPTORS} in the unit, or ulimit -Hn"
            ),
        ),
        Err(errno) => question.warn(format!("the limit cannot be read: {errno}"), "see ulimit -Hn"),
    }
}

fn hidden_processes() -> Check {
    let question = Question("proc");
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return question.fail("not there", "mount /proc: who asks is read from it");
    };
    let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc")).unwrap_or_default();
    let hidden = line
        .split([' ', ','])
        .find(|option| option.starts_with("hidepid=") && *option != "hidepid=0" && *option != "hidepid=off");
    match hidden {
        None if Path::new("/proc/1").exists() => question.ok("every process is there"),
        None => question
            .warn("process 1 is not there", "who asks cannot be identified: do not hide processes from the guard"),
        Some(option) => question.ok(format!("{}, which CAP_SYS_PTRACE sees through", escape(option.as_bytes()))),
    }
}
