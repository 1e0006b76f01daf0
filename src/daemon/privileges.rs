//! What the daemon may do, and how many files it may have open.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::set_no_new_privs;
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

/// What is kept where it was given: some policies and some files want it.
const WELCOME: [(Capability, &str); 4] = [
    TO_KILL,
    TO_AUDIT,
    (Capability::CAP_FSETID, "to put a replaced file back with its set-group-id bit"),
    (Capability::CAP_SETFCAP, "to put a replaced file back with its capabilities"),
];

/// Descriptors for the events in flight: out of them, the kernel denies.
pub const DESCRIPTORS: u64 = 65_536;

/// As setpriority(2) counts.
const NICE: i32 = -10;

/// Capabilities that are missing.
#[derive(Debug, thiserror::Error)]
#[error("missing {}; run it as root, or with these capabilities", .0.join(", "))]
pub struct Missing(Vec<String>);

/// The capabilities that the guard needs, each with what for.
pub fn needed_capabilities(on_violation: ViolationAction) -> impl Iterator<Item = (Capability, &'static str)> {
    NEEDED.into_iter().chain((on_violation == ViolationAction::Kill).then_some(TO_KILL))
}

/// Whether every needed capability is there.
pub(super) fn check(on_violation: ViolationAction, kernel_audit: bool) -> Result<(), Missing> {
    let is_missing = |capability: Capability| !caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let missing: Vec<String> = needed_capabilities(on_violation)
        .chain(kernel_audit.then_some(TO_AUDIT))
        .filter(|(capability, _)| is_missing(*capability))
        .map(|(capability, purpose)| format!("{capability} ({purpose})"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Missing(missing)) }
}

/// Gives up what is not needed after the start, without a way back, in this thread and in those that it starts. Somebody who
/// gets the daemon to run his code has what [`NEEDED`] says, which is a lot, and cannot load a module, open a raw device or
/// become another user.
///
/// # Errors
/// What capset(2) says, where something keeps the daemon from it.
pub(super) fn give_up_the_rest() -> io::Result<()> {
    set_no_new_privs()?;
    let kept: CapsHashSet = NEEDED.iter().chain(&WELCOME).map(|(capability, _)| *capability).collect();
    for capability in caps::all().difference(&kept) {
        // Only with CAP_SETPCAP. Where that is missing, exec cannot give back what this process has not (no_new_privs).
        let _ = caps::drop(None, CapSet::Bounding, *capability);
    }
    let permitted = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let kept = permitted.intersection(&kept).copied().collect();
    let set = |set, capabilities: &CapsHashSet| caps::set(None, set, capabilities).map_err(io::Error::other);
    set(CapSet::Inheritable, &CapsHashSet::new())?; // and with these the ambient ones
    set(CapSet::Effective, &kept)?;
    set(CapSet::Permitted, &kept)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_cannot_be_had_again() {
        // Capabilities are each thread's own.
        std::thread::spawn(|| {
            let had = caps::read(None, CapSet::Permitted).unwrap();
            give_up_the_rest().unwrap();
            let wanted = |capability: &Capability| NEEDED.iter().chain(&WELCOME).any(|(kept, _)| kept == capability);
            let kept: CapsHashSet = had.into_iter().filter(wanted).collect();
            for set in [CapSet::Permitted, CapSet::Effective] {
                assert_eq!(caps::read(None, set).unwrap(), kept, "{set:?}");
            }
            for set in [CapSet::Inheritable, CapSet::Ambient] {
                assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
            }
            assert!(caps::raise(None, CapSet::Effective, Capability::CAP_SYS_MODULE).is_err());
            let shell = std::process::Command::new("cat").arg("/proc/self/status").output().unwrap();
            let status = String::from_utf8(shell.stdout).unwrap();
            let value =
                |key| status.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned());
            let module = 1_u64 << Capability::CAP_SYS_MODULE.index();
            for key in ["CapPrm:", "CapEff:"] {
                let child = u64::from_str_radix(&value(key).unwrap(), 16).unwrap();
                assert_eq!(child & module, 0, "a child has no more");
            }
            assert_eq!(value("NoNewPrivs:").as_deref(), Some("1"));
        })
        .join()
        .unwrap();
    }
}
