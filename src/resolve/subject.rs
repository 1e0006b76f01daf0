//! The asking process, from /proc.
//!
//! A permission event's opener is blocked, so its process id cannot be reused while we look. The author of a
//! notification may be gone, and another process may have its id: there the notification's pidfd decides.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::cgroup::Membership;
use super::code::writers_of_code;
use super::environment::program_prefix;
use super::known::KnownPrograms;
use super::program::{absolute, executable, script};
use super::script::{Named, is_python, named_script};
use super::stat::Stat;
use super::status::Status;
use crate::fanotify::process::alive;
use crate::model::{Ancestor, Program, Script, Subject, Writers};

/// How many parents are looked up.
const MAX_ANCESTORS: usize = 12;
/// How much of a command line or environment is read.
const MAX_BLOCK: u64 = 128 * 1024;
/// What one takes in most cases.
const USUAL_BLOCK: usize = 4096;

/// The asking process could not be identified.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// It lives outside of the daemon's pid namespace (`--pid=host` was not given to the container).
    #[error("the process lives outside of the daemon's pid namespace")]
    OtherPidNamespace,
    /// It ended before it could be looked at.
    #[error("the process is gone")]
    Gone,
    /// /proc could not be read.
    #[error("cannot read {what} of process {pid}: {source}")]
    Proc {
        /// The file below `/proc/PID`.
        what: &'static str,
        /// The process.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
}

/// Finds out who asks.
#[derive(Debug)]
pub struct Resolver {
    known: KnownPrograms,
    asked: ArcSwap<AskedBy>,
    user_namespace: (u64, u64),
}

/// Whether some rule asks what started a process of a program.
pub type WithParent = Box<dyn Fn(&Program) -> bool + Send + Sync>;

/// What the policy asks for.
struct AskedBy {
    executables: Vec<String>,
    with_parent: WithParent,
}

impl fmt::Debug for AskedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskedBy").field("executables", &self.executables).finish_non_exhaustive()
    }
}

impl Resolver {
    /// `executables` are the globs of the programs that rules name; `with_parent` tells of which processes some rule
    /// asks what started them: nobody else's parent is looked at.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn new(executables: Vec<String>, with_parent: WithParent) -> io::Result<Self> {
        let user_namespace = inode(Path::new("/proc/self/ns/user"))?;
        let asked = ArcSwap::from_pointee(AskedBy { executables, with_parent });
        Ok(Resolver { known: KnownPrograms::default(), asked, user_namespace })
    }

    /// Another policy, which asks for these.
    pub fn expect(&self, executables: Vec<String>, with_parent: WithParent) {
        self.asked.store(Arc::new(AskedBy { executables, with_parent }));
    }

    /// Looks which files the named programs are now, so that they are known after they were replaced. Shows those of
    /// root's: an `O_PATH` descriptor, device and inode.
    pub fn refresh(&self, mut show: impl FnMut(&fs::File, (u64, u64))) {
        let asked = self.asked.load();
        let globs = asked.executables.iter().map(String::as_str);
        self.known.refresh(globs, |file, metadata| show(file, (metadata.dev(), metadata.ino())));
    }

    /// Who a blocked opener is, by its thread id; or who a process is that somebody wants to know about.
    ///
    /// # Errors
    /// [`Unresolved`], which has an action in the policy.
    pub fn subject_of_thread(&self, tid: u32) -> Result<Subject, Unresolved> {
        if tid == 0 {
            return Err(Unresolved::OtherPidNamespace);
        }
        let (mut subject, ppid) = self.resolve(tid)?;
        if (self.asked.load().with_parent)(&subject.exe) {
            subject.parent = self.parent(tid, ppid).map(Box::new);
        }
        subject.parents = ancestors(ppid);
        Membership { container: subject.container, unit: subject.unit } = Membership::of(tid);
        Ok(subject)
    }

    /// Who the author of a notification is, by its process id and the pidfd that came with the notification.
    ///
    /// # Errors
    /// [`Unresolved`]; `Gone` is the usual one for a short-lived program like mv.
    pub fn subject_of_author(&self, pid: u32, pidfd: Option<BorrowedFd<'_>>) -> Result<Subject, Unresolved> {
        if pid == 0 {
            return Err(Unresolved::OtherPidNamespace);
        }
        let pidfd = pidfd.ok_or(Unresolved::Gone)?;
        let subject = self.subject_of_thread(pid);
        // A pidfd reads as ready once its process has ended: what was read belongs to it only if it has not, now.
        if alive([pidfd]) == [true] { subject } else { Err(Unresolved::Gone) }
    }

    /// A parent that ends while it is looked at gives its children to another: its number may then be anybody's.
    fn parent(&self, tid: u32, ppid: u32) -> Option<Subject> {
        let (parent, _) = self.resolve(ppid).ok()?;
        let is_still = Stat::read(tid).ok()?.ppid == ppid;
        is_still.then_some(parent)
    }

    fn resolve(&self, tid: u32) -> Result<(Subject, u32), Unresolved> {
        let failed = |what| move |source: io::Error| Unresolved::Proc { what, pid: tid, source };
        let status = Status::read(tid).map_err(failed("status"))?;
        let Stat { start_time, threads, .. } = Stat::read(status.tgid).map_err(failed("stat"))?;
        let exe = executable(tid, &self.known).map_err(failed("exe"))?;
        let argv = read_list(tid, "cmdline").map_err(failed("cmdline"))?;
        let variables = read_list(tid, "environ").map_err(failed("environ"))?;
        let user_namespace = inode(Path::new(&format!("/proc/{tid}/ns/user")));
        let mut subject = Subject {
            pid: status.tgid,
            start_time,
            exe,
            script: Script::None,
            environment: None,
            argv: argv.strings,
            uids: status.uids,
            in_user_namespace: user_namespace.map_err(failed("ns/user"))? == self.user_namespace,
            traced: status.tracer != 0 || (threads != 1 && is_traced(status.tgid, tid)),
            loader: loader(&variables),
            code: Writers::Root,
            parent: None,
            parents: Vec::new(),
            container: None,
            unit: None,
        };
        if is_python(subject.exe.path.file_name().unwrap_or_default()) {
            (subject.script, subject.environment) = self.read_script(tid, &subject, &variables.strings);
        } else {
            subject.environment = program_prefix(&subject.exe.path);
            // An interpreter's code is the script's; and root needs no tricks.
            if subject.uids.effective != 0 {
                subject.code = writers_of_code(tid).map_err(failed("maps"))?;
            }
        }
        Ok((subject, status.ppid))
    }

    /// Script and environment of a Python process. What cannot be read is left out, so that no rule matches it.
    fn read_script(&self, tid: u32, subject: &Subject, variables: &[OsString]) -> (Script, Option<PathBuf>) {
        let interpreter_prefix = || program_prefix(&interpreter(tid, subject, variables));
        match named_script(subject.argv.get(1..).unwrap_or_default()) {
            Named::Nothing => (Script::None, interpreter_prefix()),
            Named::Command => (Script::Command, interpreter_prefix()),
            Named::Stdin => (Script::Stdin, interpreter_prefix()),
            Named::Module(name) => {
                let script = name.into_string().map_or(Script::None, Script::Module);
                (script, interpreter_prefix())
            }
            Named::Path(path) => match script(tid, &path, &self.known) {
                Some(file) => {
                    // A script in a bin directory answers for the environment of that directory: otherwise a copy
                    // called bin/pip anywhere on the disk would speak for the environment of the interpreter that it
                    // is run with. A setup.py belongs to none.
                    let prefix = program_prefix(&file.path).or_else(interpreter_prefix);
                    (Script::File(file), prefix)
                }
                None => (Script::None, None),
            },
        }
    }
}

/// Whether somebody traces another thread of a process than one: its memory is all threads'.
fn is_traced(tgid: u32, but: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{tgid}/task")) else { return true };
    let ids = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok());
    // A thread that is gone already does nothing any more.
    ids.filter(|id| *id != but).filter_map(|id| Status::read(id).ok()).any(|status| status.tracer != 0)
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The interpreter as it was called, which tells a virtual environment's python from the base one that both run:
/// `argv[0]`, looked up as CPython does. Believed only if it is the very file that runs.
fn interpreter(tid: u32, subject: &Subject, variables: &[OsString]) -> PathBuf {
    let is_exe = |path: &Path| inode(path).is_ok_and(|file| file == (subject.exe.dev, subject.exe.ino));
    let called = match subject.argv.first() {
        Some(name) if name.as_bytes().contains(&b'/') => absolute(tid, name).filter(|path| is_exe(path)),
        Some(name) => {
            let search_path = variables.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
            search_path.and_then(|list| {
                std::env::split_paths(OsStr::from_bytes(list)).map(|dir| dir.join(name)).find(|path| is_exe(path))
            })
        }
        None => None,
    };
    // The directory's links are resolved, the program's own is not: a virtual environment's python is a link.
    called
        .and_then(|path| Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?)))
        .unwrap_or_else(|| subject.exe.path.clone())
}

/// Variables that bring code into a program that is not its own: what the dynamic loader takes in (ld.so(8)), what
/// CPython imports or runs at its start (`python --help-env`), what OpenSSL loads (openssl-env(7)). An empty value counts as none, as it does for them.
const LOADER: [&str; 17] = [
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "GCONV_PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONPLATLIBDIR",
    "PYTHONEXECUTABLE",
    "PYTHONWARNINGS",
    "PYTHONBREAKPOINT",
    "PYTHONINSPECT",
    "PYTHONPYCACHEPREFIX",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "OPENSSL_ENGINES",
];

fn loader(variables: &List) -> Vec<&'static str> {
    let is_set = |name: &&str| {
        let value = |entry: &OsString| {
            let rest = entry.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            (!rest.is_empty()).then_some(())
        };
        variables.strings.iter().find_map(value).is_some()
    };
    let mut found: Vec<&str> = LOADER.into_iter().filter(is_set).collect();
    if variables.is_cut {
        found.push("(more variables than are read)");
    }
    found
}

/// A list of NUL-terminated strings: `cmdline`, `environ`. Any bytes.
struct List {
    strings: Vec<OsString>,
    /// There was more than [`MAX_BLOCK`].
    is_cut: bool,
}

fn read_list(tid: u32, name: &str) -> io::Result<List> {
    let mut bytes = Vec::with_capacity(USUAL_BLOCK);
    fs::File::open(format!("/proc/{tid}/{name}"))?.take(MAX_BLOCK).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() as u64 == MAX_BLOCK;
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    if bytes.is_empty() {
        return Ok(List { strings: Vec::new(), is_cut });
    }
    let mut strings: Vec<OsString> =
        bytes.split(|byte| *byte == 0).map(|part| OsString::from_vec(part.to_vec())).collect();
    if is_cut {
        strings.pop(); // what is left of it might mean something else
    }
    Ok(List { strings, is_cut })
}

fn ancestors(mut ppid: u32) -> Vec<Ancestor> {
    let mut chain = Vec::new();
    while ppid != 0 && chain.len() < MAX_ANCESTORS {
        let exe = fs::read_link(format!("/proc/{ppid}/exe")).ok();
        chain.push(Ancestor { pid: ppid, exe });
        // Process 1 has no parent that could be seen from here.
        ppid = if ppid == 1 { 0 } else { Stat::read(ppid).map_or(0, |stat| stat.ppid) };
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ourselves() {
        let resolver = Resolver::new(Vec::new(), Box::new(|_| true)).unwrap();
        let subject = resolver.subject_of_thread(nix::unistd::gettid().as_raw().cast_unsigned()).unwrap();
        assert!(subject.in_user_namespace && !subject.traced);
        assert_eq!(subject.parent.unwrap().pid, subject.parents[0].pid);
        assert_eq!(subject.pid, std::process::id());
        assert_eq!(subject.exe.path, std::env::current_exe().unwrap());
        assert!(subject.exe.at_path);
        assert_eq!(subject.argv, std::env::args_os().collect::<Vec<_>>());
        assert_eq!(subject.uids.effective, nix::unistd::geteuid().as_raw());
        assert_eq!(subject.parents.first().unwrap().pid, nix::unistd::getppid().as_raw().cast_unsigned());
    }

    #[test]
    fn a_process_that_does_not_exist() {
        let resolver = Resolver::new(Vec::new(), Box::new(|_| false)).unwrap();
        assert!(matches!(resolver.subject_of_thread(0), Err(Unresolved::OtherPidNamespace)));
        assert!(matches!(resolver.subject_of_thread(0x7fff_fff0), Err(Unresolved::Proc { .. })));
        assert!(matches!(resolver.subject_of_author(1, None), Err(Unresolved::Gone)));
    }

    #[test]
    fn variables_that_bring_code_in() {
        let list = |entries: &[&str], is_cut| List { strings: entries.iter().map(Into::into).collect(), is_cut };
        let clean =
            list(&["PATH=/usr/bin", "LD_PRELOAD=", "MY_LD_PRELOAD=x", "PYTHONPATHS=x", "PYTHONUNBUFFERED=1"], false);
        assert_eq!(loader(&clean), [""; 0]);
        assert_eq!(loader(&list(&["PYTHONPATH=x", "LD_AUDIT=y"], false)), ["LD_AUDIT", "PYTHONPATH"]);
        assert_eq!(loader(&list(&["A=b"], true)).len(), 1);
    }
}
