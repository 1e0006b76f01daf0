//! The nouns of the domain: who asks, for what, and what was answered. Plain data, no I/O.
//!
//! Every other module speaks in these words. A verdict is an enum and never a `bool`, and nothing here has a
//! `Default`: an answer that nobody chose must not exist.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Whether decisions are carried out or only recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Deny what the policy denies, undo what cannot be denied in-line.
    Enforce,
    /// Make the same decisions, record them, answer allow, change no guarded file.
    Audit,
}

impl Mode {
    /// The word used in policy files and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Audit => "audit",
        }
    }
}

/// What a process wants to do with a startup file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Open for reading; what an interpreter does.
    Read,
    /// Open for writing, or create.
    Write,
    /// Give the startup name to an existing file by rename or exchange.
    Rename,
    /// Give the startup name to an existing file by a hard link, `O_TMPFILE` + linkat included.
    Link,
    /// Make a symbolic link of that name.
    Symlink,
    /// Make a FIFO, socket or device of that name (mknod); no rule can allow it.
    Special,
    /// Remove the name; recorded, never denied (fanotify has no event to deny it with).
    Delete,
    /// List the site directory, which an interpreter does before it opens startup files.
    List,
}

impl Access {
    /// The word used in policy files and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Rename => "rename",
            Access::Link => "link",
            Access::Symlink => "symlink",
            Access::Special => "special",
            Access::Delete => "delete",
            Access::List => "list",
        }
    }
}

/// The answer to a request.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The process goes on.
    Allow,
    /// The process gets EPERM, or what it did is undone.
    Deny,
}

/// The file of a program: an executable, or a script that an interpreter runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What the kernel calls it. A name for people and for globs, not an identity: in another mount namespace it
    /// names another file.
    pub path: PathBuf,
    /// Device number (`st_dev`) of the opened file.
    pub dev: u64,
    /// Inode number of the opened file.
    pub ino: u64,
    /// Whether `path`, looked up in the daemon's own mount namespace, is that same device and inode, or was while the
    /// daemon ran (a package manager goes on after it has replaced its own file).
    pub at_path: bool,
    /// What the process itself calls the file, where that is another path: it has another root directory or mount
    /// namespace. Looked up there, it is that same device and inode.
    pub seen_as: Option<PathBuf>,
    /// Who else could have made it what it is.
    pub writers: Writers,
}

/// Who, beside root, can change a file or put another one in its place: owner and mode of the file and of every
/// directory above it. Access control lists that grant more show in the mode (acl(5), the mask).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Nobody.
    Root,
    /// This user.
    User(u32),
    /// Several users, a group, or everybody.
    Others,
}

impl Writers {
    /// Those who can do it here or there.
    #[must_use]
    pub fn and(self, other: Writers) -> Writers {
        match (self, other) {
            (Writers::Root, both) | (both, Writers::Root) => both,
            (Writers::User(one), Writers::User(two)) if one == two => self,
            (Writers::User(_) | Writers::Others, Writers::User(_) | Writers::Others) => Writers::Others,
        }
    }
}

/// What an interpreter was told to run, read from its command line.
///
/// The command line is what the process says of itself: this tells honest programs apart, it does not stop code that
/// already runs as the same user (`docs/threat-model.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// Not an interpreter, or one that runs nothing named (an interactive session).
    None,
    /// A script file, symbolic links resolved.
    File(Program),
    /// `-m MODULE`
    Module(String),
    /// `-c COMMAND`: nobody's script.
    Command,
    /// A program read from standard input.
    Stdin,
}

impl Script {
    /// As it is shown to people: a path, `-m pip`, `-c`, `-`.
    #[must_use]
    pub fn display(&self) -> Option<OsString> {
        match self {
            Script::None => None,
            Script::File(file) => Some(file.path.clone().into_os_string()),
            Script::Module(name) => Some(format!("-m {name}").into()),
            Script::Command => Some("-c".into()),
            Script::Stdin => Some("-".into()),
        }
    }
}

/// The four user ids of a process (`/proc/PID/status`, `Uid:`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uids {
    /// Real user id.
    pub real: u32,
    /// Effective user id.
    pub effective: u32,
    /// Saved set-user id.
    pub saved: u32,
    /// File system user id, the one that owns what the process creates.
    pub fs: u32,
}

/// One ancestor of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Process id.
    pub pid: u32,
    /// What its `/proc/PID/exe` reads as, if it could be read.
    pub exe: Option<PathBuf>,
}

/// A container, as the cgroup of a process names it. For records: nothing is decided by it, because a process names
/// the cgroups that it makes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// What its engine calls it: 64 hexadecimal digits, or a machine's name.
    pub id: String,
    /// The engine, where the name of the cgroup tells it: `docker`, `podman`, `containerd`, `cri-o`, `buildah`,
    /// `systemd-nspawn`, `lxc`.
    pub runtime: Option<&'static str>,
}

/// The asking process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Process id (thread group id).
    pub pid: u32,
    /// Start time in clock ticks since boot (`proc_pid_stat(5)`, field 22): with `pid` it names one process for good.
    pub start_time: u64,
    /// The executable.
    pub exe: Program,
    /// The script or module, for an interpreter.
    pub script: Script,
    /// The prefix of the Python environment that the program belongs to: `/srv/app` for `/srv/app/bin/pip` and for
    /// `/srv/app/bin/python -m pip`. `None` when it cannot be told.
    pub environment: Option<PathBuf>,
    /// The command line, any bytes.
    pub argv: Vec<OsString>,
    /// User ids.
    pub uids: Uids,
    /// Whether it lives in the daemon's own user namespace. In one of his own an ordinary user is root enough to make
    /// `/proc/PID/exe` name any file (`prctl(2)`, `PR_SET_MM_MAP`).
    pub in_user_namespace: bool,
    /// Whether another process traces it (`TracerPid`), and so tells it what to do.
    pub traced: bool,
    /// The variables in its environment that bring code into a program from outside: `LD_PRELOAD`, `PYTHONPATH`.
    pub loader: Vec<&'static str>,
    /// Who could have written the code that is mapped in it, where that is looked at: in programs of ordinary users that
    /// are no interpreters.
    pub code: Writers,
    /// What started it, with the same facts but without its own parents. Only where a rule asks for it.
    pub parent: Option<Box<Subject>>,
    /// Parents, nearest first.
    pub parents: Vec<Ancestor>,
    /// The container that it runs in, if its cgroup tells of one.
    pub container: Option<Container>,
    /// The systemd unit (service or scope) that it runs in, if its cgroup tells of one.
    pub unit: Option<String>,
}

/// What the policy needs to know of a site directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Canonical path in the daemon's mount namespace.
    pub path: PathBuf,
    /// The prefix of its environment: the path without `lib*/python*/site-packages` and the like.
    pub prefix: PathBuf,
    /// Owner of the directory.
    pub owner: u32,
}

/// Subject, site and access together: what a policy decides.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub subject: &'a Subject,
    /// The site directory concerned.
    pub site: &'a Site,
    /// The name of the startup file.
    pub name: &'a OsStr,
    /// What is asked for.
    pub access: Access,
}

/// Why a decision is what it is. The words are part of the audit record's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A rule of the policy matched.
    Rule,
    /// No rule matched, and what no rule allows is denied.
    NoRule,
    /// A rule speaks about this program, and the process may not be that program.
    Distrusted(Distrust),
    /// The bytes are approved under that name in that directory.
    Approved,
    /// The bytes are not approved under that name in that directory.
    NotApproved,
    /// The file is larger than `protect.max_size` and is never approved.
    TooLarge,
    /// A permitted writer, or one that cannot be ruled out, still has the file open: its content is not final.
    NotFinal,
    /// FIFO, socket or device under a startup name.
    SpecialFile,
    /// No decision could be made; the configured action for that failure was taken.
    Failure(Failure),
}

impl Reason {
    /// The word used in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Rule => "rule",
            Reason::NoRule => "no-rule",
            Reason::Distrusted(distrust) => distrust.as_str(),
            Reason::Approved => "approved",
            Reason::NotApproved => "not-approved",
            Reason::TooLarge => "too-large",
            Reason::NotFinal => "not-final",
            Reason::SpecialFile => "special-file",
            Reason::Failure(failure) => failure.as_str(),
        }
    }
}

/// Why a process does not count as the program that it seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distrust {
    /// Its executable or script is not the file of that path in the daemon's mount namespace.
    NotAtPath,
    /// It lives in another user namespace.
    UserNamespace,
    /// Another process traces it.
    Traced,
    /// Its executable or script could have been written by somebody who has no say in the site directory.
    ProgramWritable,
    /// Its environment loads code from outside of the program.
    LoaderEnvironment,
    /// Code is mapped in it that somebody could have written who has no say in the site directory.
    ForeignCode,
}

impl Distrust {
    /// The word used in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Distrust::NotAtPath => "not-at-path",
            Distrust::UserNamespace => "user-namespace",
            Distrust::Traced => "traced",
            Distrust::ProgramWritable => "program-writable",
            Distrust::LoaderEnvironment => "loader-environment",
            Distrust::ForeignCode => "foreign-code",
        }
    }

    /// The same as a clause.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Distrust::NotAtPath => "its executable or script is not the file of that path in the daemon's namespace",
            Distrust::UserNamespace => "it lives in another user namespace",
            Distrust::Traced => "another process traces it",
            Distrust::ProgramWritable => {
                "somebody else than root or the site directory's owner can change its executable or script"
            }
            Distrust::LoaderEnvironment => "its environment (LD_PRELOAD, PYTHONPATH or the like) brings other code in",
            Distrust::ForeignCode => "code runs in it that is not root's nor the site directory's owner's",
        }
    }
}

/// Verdict, rule and reason.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// The rule that matched, by name; with [`Reason::Distrusted`], the one that would have.
    pub rule: Option<Arc<str>>,
    /// Why.
    pub reason: Reason,
}

/// Why no decision could be made. Each has an action (policy, `[failure]`) and a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The queue to the workers was full.
    QueueFull,
    /// The decision was not made within the budget.
    Timeout,
    /// The asking process could not be identified from /proc.
    Unresolved,
    /// The author of a rename, link or symlink could not be identified.
    UnresolvedArrival,
    /// The kernel could not open the file for the event (a write lease, no descriptors left) and denied by itself.
    NoDescriptor,
    /// The watch queue overflowed; the directories are read again.
    WatchOverflow,
    /// A mark could not be placed on a startup file or site directory.
    Mark,
    /// A denied newcomer could not be moved to quarantine, or a replaced file not be put back.
    Quarantine,
    /// An approval could not be written to the state directory.
    State,
    /// The content of a startup file could not be read.
    Content,
}

impl Failure {
    /// Every failure, for tables and counters.
    pub const ALL: [Failure; 10] = [
        Failure::QueueFull,
        Failure::Timeout,
        Failure::Unresolved,
        Failure::UnresolvedArrival,
        Failure::NoDescriptor,
        Failure::WatchOverflow,
        Failure::Mark,
        Failure::Quarantine,
        Failure::State,
        Failure::Content,
    ];

    /// The word used in policy files, records and counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::QueueFull => "queue-full",
            Failure::Timeout => "timeout",
            Failure::Unresolved => "unresolved",
            Failure::UnresolvedArrival => "unresolved-arrival",
            Failure::NoDescriptor => "no-descriptor",
            Failure::WatchOverflow => "watch-overflow",
            Failure::Mark => "mark",
            Failure::Quarantine => "quarantine",
            Failure::State => "state",
            Failure::Content => "content",
        }
    }
}

/// What is answered when a decision could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureAction {
    /// Let the process go on.
    Allow,
    /// EPERM.
    Deny,
}

impl FailureAction {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FailureAction::Allow => "allow",
            FailureAction::Deny => "deny",
        }
    }
}

/// What is done with a newcomer whose author could not be identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrivalAction {
    /// Move it to quarantine.
    Quarantine,
    /// Leave it where it is, unreadable.
    Hold,
    /// Approve it.
    Allow,
}

impl ArrivalAction {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ArrivalAction::Quarantine => "quarantine",
            ArrivalAction::Hold => "hold",
            ArrivalAction::Allow => "allow",
        }
    }
}

/// How a file came to be approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It was there when the guard first started.
    Baseline,
    /// A writer that the policy permits brought it; the rule's name.
    Writer(Arc<str>),
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Sha256(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Sha256 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a SHA-256 digest is 64 hexadecimal digits");
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| "not ASCII")?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| "not hexadecimal")?;
        }
        Ok(Sha256(digest))
    }
}

/// What is known of a startup file when a record is written about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Path in the daemon's mount namespace: site directory and name.
    pub path: PathBuf,
    /// Inode number.
    pub inode: Option<u64>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Digest of the content, where it was read.
    pub sha256: Option<Sha256>,
    /// Whether some version of CPython would execute a line of it, where it was read.
    pub executes: Option<bool>,
}

impl Object {
    /// An object of which only the place is known.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Object { path, inode: None, size: None, sha256: None, executes: None }
    }
}

/// The names that make a file a startup file: a list of suffixes, compared as bytes and with case, as CPython's
/// `site` module does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupNames {
    suffixes: Vec<Vec<u8>>,
}

impl StartupNames {
    /// Compiles `*.pth`-like patterns: a star, a dot and a literal suffix.
    ///
    /// # Errors
    /// The pattern that is not of that form.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, String> {
        let mut suffixes = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            match pattern.strip_prefix('*') {
                Some(suffix)
                    if suffix.len() > 1 && suffix.starts_with('.') && !suffix.contains(['*', '?', '[', '/']) =>
                {
                    suffixes.push(suffix.as_bytes().to_vec());
                }
                _ => return Err(pattern.to_owned()),
            }
        }
        Ok(StartupNames { suffixes })
    }

    /// The patterns, as they are written in a policy file.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        self.suffixes.iter().map(|suffix| format!("*{}", String::from_utf8_lossy(suffix)))
    }

    /// Whether `name`, a directory entry, is a startup file's.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        self.suffixes.iter().any(|suffix| name.ends_with(suffix))
    }
}

#[cfg(test)]
impl Program {
    /// A program of root's.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Program { path: path.into(), dev: 1, ino: 2, at_path: true, seen_as: None, writers: Writers::Root }
    }
}

#[cfg(test)]
impl Subject {
    /// An honest process of user 1000's.
    pub(crate) fn running(exe: &str, script: Script) -> Self {
        Subject {
            pid: 10,
            start_time: 1,
            exe: Program::at(exe),
            script,
            environment: Some("/usr".into()),
            argv: Vec::new(),
            uids: Uids { real: 1000, effective: 1000, saved: 1000, fs: 1000 },
            in_user_namespace: true,
            traced: false,
            loader: Vec::new(),
            code: Writers::Root,
            parent: None,
            parents: Vec::new(),
            container: None,
            unit: None,
        }
    }
}
