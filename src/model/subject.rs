//! Who asks.

use std::ffi::OsString;
use std::path::PathBuf;

use libc::{S_IFDIR, S_IFMT, S_ISVTX, S_IWGRP, S_IWOTH};

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
    /// Those who can change a file, or the entries of a directory, that has this owner, group and mode (`st_mode`).
    #[must_use]
    pub fn of(owner: u32, group: u32, mode: u32) -> Writers {
        let by_owner = if owner == 0 { Writers::Root } else { Writers::User(owner) };
        // In a sticky directory (/tmp) an entry is its owner's and the directory's owner's.
        if mode & S_IFMT == S_IFDIR && mode & S_ISVTX != 0 {
            return by_owner;
        }
        if mode & S_IWOTH != 0 {
            return Writers::Others;
        }
        match (mode & S_IWGRP != 0, group) {
            (false, _) => by_owner,
            // With an access control list these bits are its mask, and anybody may be meant.
            (true, 0) => Writers::Others,
            // Where every user has a group of his own, as most distributions do it, the group has the user's number.
            (true, group) if group == owner => by_owner,
            (true, _) => Writers::Others,
        }
    }

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

impl Program {
    /// A program of which only the path is known, taken for what it seems to be: root's, and at that path.
    #[must_use]
    pub fn supposed(path: impl Into<PathBuf>) -> Self {
        Program { path: path.into(), dev: 0, ino: 0, at_path: true, seen_as: None, writers: Writers::Root }
    }

    /// A program of root's.
    #[cfg(test)]
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Program { dev: 1, ino: 2, ..Program::supposed(path) }
    }
}

impl Subject {
    /// A process that does not run, for questions about programs: honest, and with nothing known beside what it would
    /// run, and as whom.
    #[must_use]
    pub fn supposed(exe: Program, script: Script, uid: u32) -> Self {
        Subject {
            pid: 0,
            start_time: 0,
            exe,
            script,
            environment: None,
            argv: Vec::new(),
            uids: Uids { real: uid, effective: uid, saved: uid, fs: uid },
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

    /// A process of user 1000's, of the system's environment.
    #[cfg(test)]
    pub(crate) fn running(exe: &str, script: Script) -> Self {
        Subject { pid: 10, environment: Some("/usr".into()), ..Subject::supposed(Program::at(exe), script, 1000) }
    }
}
