//! What the daemon may do, and how many files it may have open.

use caps::{CapSet, Capability};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::model::ViolationAction;

/// What `response.on_violation = "kill"` needs beside these.
const TO_KILL: (Capability, &str) = (Capability::CAP_KILL, "to end who does what no rule lets him do");

/// What `log.kernel_audit` needs beside these.
const TO_AUDIT: (Capability, &str) = (Capability::CAP_AUDIT_WRITE, "for denials in the kernel's audit records");

/// Each capability with what it is needed for.
const NEEDED: [(Capability, &str); 7] = [
    (Capability::CAP_SYS_ADMIN, "to make fanotify groups"),
    (Capability::CAP_SYS_PTRACE, "to see which program asks"),
    (Capability::CAP_DAC_READ_SEARCH, "to read every site directory, and files by handle"),
    (Capability::CAP_LEASE, "to see whether somebody writes a file"),
    (Capability::CAP_DAC_OVERRIDE, "to move a denied file out of a user's directory"),
    (Capability::CAP_CHOWN, "to put a replaced file back under its owner"),
    (Capability::CAP_FOWNER, "to put a replaced file back with its mode and times"),
];

/// Descriptors for the events in flight: out of them, the kernel denies.
const DESCRIPTORS: u64 = 65_536;

/// As setpriority(2) counts.
const NICE: i32 = -10;

/// Capabilities that are missing.
#[derive(Debug, thiserror::Error)]
#[error("missing {}; run it as root, or with these capabilities", .0.join(", "))]
pub struct Missing(Vec<String>);

/// Whether every needed capability is there.
pub(super) fn check(on_violation: ViolationAction, kernel_audit: bool) -> Result<(), Missing> {
    let is_missing = |capability: Capability| !caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let missing: Vec<String> = NEEDED
        .into_iter()
        .chain((on_violation == ViolationAction::Kill).then_some(TO_KILL))
        .chain(kernel_audit.then_some(TO_AUDIT))
        .filter(|(capability, _)| is_missing(*capability))
        .map(|(capability, purpose)| format!("{capability} ({purpose})"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Missing(missing)) }
}

/// Asks for processors before others get them: an ordinary user's busy loops must not hold up those who wait here. Where
/// it is not to be had the service manager may have seen to it.
pub(super) fn prefer() {
    let _ = crate::fanotify::process::prefer(NICE);
}

/// Raises the limit of open files as far as it goes, to [`DESCRIPTORS`].
pub(super) fn raise_descriptor_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= DESCRIPTORS {
        return;
    }
    // Above the hard limit only with CAP_SYS_RESOURCE, which is not asked for.
    if setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard.max(DESCRIPTORS)).is_err() {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(DESCRIPTORS), hard);
    }
}
