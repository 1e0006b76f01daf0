//! What the kernel can, found out by asking for it.

use std::fs;
use std::io;
use std::sync::Arc;

use super::{Check, Question};
use crate::audit::escape;
use crate::fanotify::{FileId, Ledger, NotificationGroup, PermissionGroup, Reply};

/// The oldest kernel that the guard starts on.
const OLDEST: (u32, u32) = (5, 17);
/// From here on handles can be compared on overlayfs.
const OVERLAY: (u32, u32) = (6, 5);
/// Three lanes of three groups, one for new directories, one for mounts, one for the ways to directories.
const GROUPS: u64 = 12;

pub(super) fn checks(is_root: bool) -> Vec<Check> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![version(release.trim()), configuration(release.trim()), groups(is_root), group_limit(), handles()]
}

fn version(release: &str) -> Check {
    let question = Question("kernel");
    let found = format!("Linux {}", escape(release.as_bytes()));
    match numbers(release) {
        None => question.warn(found, "its version cannot be read; 5.17 or newer is needed"),
        Some(version) if version < OLDEST => question.fail(found, "5.17 or newer is needed"),
        Some(version) if version < OVERLAY => {
            question.warn(found, "before 6.5 nothing can be guarded on overlayfs, which containers' files are on")
        }
        Some(_) => question.ok(found),
    }
}

fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Where the distribution keeps what its kernel was built with. Permission events show only when a mark is placed, and
/// none is placed here.
fn configuration(release: &str) -> Check {
    const OPTION: &str = "CONFIG_FANOTIFY_ACCESS_PERMISSIONS";
    let question = Question("permission-events");
    let is_plain = release.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+~".contains(&byte));
    let files = [format!("/boot/config-{release}"), format!("/usr/lib/modules/{release}/config")];
    let mut texts = files.iter().filter(|_| is_plain).filter_map(|file| Some((file, fs::read_to_string(file).ok()?)));
    if let Some((file, text)) = texts.next() {
        let is_set = text.lines().any(|line| line == format!("{OPTION}=y"));
        return if is_set {
            question.ok(format!("{OPTION}=y in {file}"))
        } else {
            question.fail(
                format!("{OPTION} is not set in {file}"),
                "use a kernel that has it, as those of distributions do",
            )
        };
    }
    question.warn(
        format!("the kernel's configuration is not at hand ({OPTION})"),
        "the guard says so when it starts if the kernel lacks it; kernels of distributions have it",
    )
}

fn groups(is_root: bool) -> Check {
    let question = Question("fanotify-groups");
    if !is_root {
        return question.unknown("only root can make them");
    }
    let permission = Ledger::new().and_then(|ledger| PermissionGroup::new(Reply::Allow, Arc::new(ledger), 0));
    let made = permission.and_then(|group| Ok((group, NotificationGroup::new()?)));
    match made {
        Ok((permission, _)) if permission.tells_errors() => {
            question.ok("one that stops openers and one that tells names were made")
        }
        Ok(_) => question.ok("both kinds were made; why a file cannot be opened for an event is told from 6.13 on"),
        Err(error) => question.fail(format!("cannot be made: {error}"), advice(&error)),
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            "CAP_SYS_ADMIN in the first user namespace is needed, and no seccomp filter that refuses fanotify_init(2): in a \
             container, --privileged or --cap-add SYS_ADMIN with --security-opt seccomp=unconfined"
        }
        Some(libc::EMFILE) => "raise fs.fanotify.max_user_groups with sysctl(8)",
        Some(libc::ENOSYS) => "use a kernel with CONFIG_FANOTIFY",
        Some(libc::EINVAL) => "use a kernel of 5.17 or newer with CONFIG_FANOTIFY_ACCESS_PERMISSIONS",
        _ => "find out what keeps root from fanotify_init(2)",
    }
}

fn group_limit() -> Check {
    let question = Question("fanotify-limits");
    let read =
        |name: &str| fs::read_to_string(format!("/proc/sys/fs/fanotify/{name}")).ok()?.trim().parse::<u64>().ok();
    match read("max_user_groups") {
        None => question.warn("fs.fanotify.max_user_groups cannot be read", "mount /proc"),
        Some(groups) if groups < GROUPS => question.fail(
            format!("fs.fanotify.max_user_groups is {groups}"),
            format!(
                "{GROUPS} are needed, beside those of other programs of root's: sysctl fs.fanotify.max_user_groups=128"
            ),
        ),
        // Marks and queues are without limit for who may.
        Some(groups) => {
            question.ok(format!("fs.fanotify.max_user_groups is {groups}, {GROUPS} are needed; no other limit counts"))
        }
    }
}

fn handles() -> Check {
    let question = Question("file-handles");
    match fs::File::open("/").and_then(|root| FileId::has_comparison_handles(&root)) {
        Ok(true) => question.ok("of every kind of file system, overlayfs too (AT_HANDLE_FID)"),
        Ok(false) => question.warn(
            "of file systems that can be exported only",
            "site directories on overlayfs are not guarded; use Linux 6.5 or newer",
        ),
        Err(error) => question.warn(
            format!("not of the root file system: {error}"),
            "what lies there cannot be guarded; see site-directories",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let state = |release| version(release).state;
        assert_eq!(state("5.10.0-30-amd64"), State::Fail);
        assert_eq!(state("5.9"), State::Fail);
        assert_eq!(state("5.17.1"), State::Warn);
        assert_eq!(state("6.1.0-18-cloud-amd64"), State::Warn);
        assert_eq!(state("6.18.0"), State::Ok);
        assert_eq!(state("10.0-rc1"), State::Ok);
        assert_eq!(state(""), State::Warn);
    }
}
