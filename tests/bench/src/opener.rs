//! Whoever opens, and waits for it: a process that does one thing many times and says how long each took.

use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::process::{die_with_parent, pid_of, pin};

/// By which this program is told to be an opener; a [`Job`] in JSON follows.
pub(crate) const WORD: &str = "open";
/// An opener whose answer does not come is killed after this many seconds.
const STUCK: u32 = 300;

/// What is done again and again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Deed {
    /// Open for reading, and close.
    Read(PathBuf),
    /// Open with `O_WRONLY | O_CREAT`, write nothing, and close.
    Write(PathBuf),
    /// Give a file of this directory another name in it.
    Rename(PathBuf),
    /// Make a directory in this one. It is removed again, which is not timed.
    MakeDirectory(PathBuf),
    /// Create a file in this directory, and close it. It is removed again, which is not timed.
    Create(PathBuf),
    /// Start a program and wait for its end. Then what it has made in a directory is removed, which is not timed.
    Run { program: PathBuf, arguments: Vec<String>, made_in: PathBuf, made: Option<Made> },
}

/// What a program makes each time: entries whose names begin so, and how many there have to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) beginning: String,
    pub(crate) count: usize,
}

/// What an opener is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) deed: Deed,
    /// How often each thread does it, and before that without measuring.
    pub(crate) times: usize,
    pub(crate) warm_up: usize,
    pub(crate) threads: usize,
    pub(crate) processor: Option<usize>,
}

/// What an opener tells.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Of all threads, in nanoseconds.
    pub(crate) samples: Vec<u64>,
    /// How often the kernel said EPERM.
    pub(crate) refused: usize,
    /// From the first deed that was measured to the last.
    pub(crate) wall: Duration,
}

/// Has a process do a job.
pub(crate) fn ask(program: &Path, home: &Path, job: &Job) -> Result<Told> {
    let mut command = Command::new(program);
    command.arg(WORD).arg(serde_json::to_string(job)?).stdin(Stdio::null()).stderr(Stdio::inherit());
    // Nothing of whoever runs the benchmark, and nothing from outside of its file system.
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).env("TMPDIR", home);
    let output = die_with_parent(&mut command).stdout(Stdio::piped()).spawn()?.wait_with_output()?;
    if !output.status.success() {
        bail!("{}: {}", program.display(), output.status);
    }
    serde_json::from_slice(&output.stdout).context("what an opener told")
}

/// Does a job and tells of it on standard output.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    nix::unistd::alarm::set(STUCK);
    let job: Job = serde_json::from_str(arguments.first().context("the job is missing")?)?;
    if job.processor.is_some() {
        pin(Pid::this(), job.processor)?;
    }
    let begin = Barrier::new(job.threads);
    let each: Vec<(Instant, Told, Instant)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..job.threads)
            .map(|number| {
                scope.spawn({
                    let (job, begin) = (&job, &begin);
                    move || repeat(job, number, begin)
                })
            })
            .collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, Result<_>>| {
            thread.join().unwrap_or_else(|_| bail!("a thread of the opener has panicked"))
        };
        threads.into_iter().map(ended).collect::<Result<_>>()
    })?;
    let first = each.iter().map(|(first, ..)| *first).min().context("no thread")?;
    let last = each.iter().map(|(.., last)| *last).max().context("no thread")?;
    let mut told = Told { wall: last - first, ..Told::default() };
    for (_, one, _) in each {
        told.samples.extend(one.samples);
        told.refused += one.refused;
    }
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &told)?;
    Ok(out.flush()?)
}

fn repeat(job: &Job, number: usize, begin: &Barrier) -> Result<(Instant, Told, Instant)> {
    let mut doer = Doer::new(&job.deed, number)?;
    // Nothing may be allocated while it is measured.
    let mut told = Told { samples: Vec::with_capacity(job.times), ..Told::default() };
    let warm = (0..job.warm_up).try_for_each(|_| doer.do_it().map(drop));
    begin.wait(); // in whatever way the warm-up ended: the others wait
    warm?;
    let first = Instant::now();
    for _ in 0..job.times {
        let (time, is_refused) = doer.do_it()?;
        told.samples.push(u64::try_from(time.as_nanos())?);
        told.refused += usize::from(is_refused);
    }
    Ok((first, told, Instant::now()))
}

/// A deed with its paths made ready for the kernel.
enum Doer {
    Open { path: CString, flags: OFlag },
    Rename { from: CString, to: CString },
    MakeDirectory(CString),
    Create(CString),
    Run { command: Box<Command>, made_in: PathBuf, made: Option<Made> },
}

impl Doer {
    /// `number` is the thread's: none comes into another's way.
    fn new(deed: &Deed, number: usize) -> Result<Doer> {
        let within = |directory: &Path, name: &str| c_path(&directory.join(format!("{name}{number}")));
        Ok(match deed {
            Deed::Read(path) => Doer::Open { path: c_path(path)?, flags: OFlag::O_RDONLY },
            Deed::Write(path) => Doer::Open { path: c_path(path)?, flags: OFlag::O_WRONLY | OFlag::O_CREAT },
            Deed::Rename(directory) => {
                std::fs::write(directory.join(format!("this{number}")), "")?;
                Doer::Rename { from: within(directory, "this")?, to: within(directory, "that")? }
            }
            Deed::MakeDirectory(directory) => Doer::MakeDirectory(within(directory, "directory")?),
            Deed::Create(directory) => Doer::Create(within(directory, "file")?),
            Deed::Run { program, arguments, made_in, made } => {
                let mut command = Command::new(program);
                command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
                Doer::Run { command: Box::new(command), made_in: made_in.clone(), made: made.clone() }
            }
        })
    }

    /// Does it once. How long it took, and whether it was refused.
    fn do_it(&mut self) -> Result<(Duration, bool)> {
        match self {
            Doer::Open { path, flags } => timed(|| open(path.as_c_str(), *flags | OFlag::O_CLOEXEC, MODE).map(drop)),
            Doer::Rename { from, to } => {
                let done = timed(|| {
                    nix::fcntl::renameat(nix::fcntl::AT_FDCWD, from.as_c_str(), nix::fcntl::AT_FDCWD, to.as_c_str())
                });
                std::mem::swap(from, to);
                done
            }
            Doer::MakeDirectory(path) => {
                let done = timed(|| nix::unistd::mkdir(path.as_c_str(), Mode::S_IRWXU));
                nix::unistd::unlinkat(nix::fcntl::AT_FDCWD, path.as_c_str(), nix::unistd::UnlinkatFlags::RemoveDir)?;
                done
            }
            Doer::Create(path) => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let done = timed(|| open(path.as_c_str(), flags, MODE).map(drop));
                nix::unistd::unlink(path.as_c_str())?;
                done
            }
            Doer::Run { command, made_in, made } => {
                let begin = Instant::now();
                let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
                let status = child.wait()?;
                let time = begin.elapsed();
                if !status.success() {
                    bail!("{command:?}, process {}: {status}", pid_of(&child));
                }
                if let Some(made) = made {
                    remove_made(made_in, made)?;
                }
                Ok((time, false))
            }
        }
    }
}

const MODE: Mode = Mode::from_bits_truncate(0o644);

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).context("a path with a NUL")
}

/// The time that a call takes. EPERM is an answer, everything else an error.
fn timed(call: impl FnOnce() -> nix::Result<()>) -> Result<(Duration, bool)> {
    let begin = Instant::now();
    let outcome = call();
    let time = begin.elapsed();
    match outcome {
        Ok(()) => Ok((time, false)),
        Err(Errno::EPERM) => Ok((time, true)),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes what a program has made. All of it must be there, and what is a file must be readable: a guard that holds it back
/// would otherwise have been quick for nothing.
fn remove_made(directory: &Path, made: &Made) -> Result<()> {
    let mut removed = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_bytes().starts_with(made.beginning.as_bytes()) {
            continue;
        }
        removed += 1;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(path)?;
        } else {
            std::fs::read(&path).with_context(|| path.display().to_string())?;
            std::fs::remove_file(path)?;
        }
    }
    if removed != made.count {
        bail!("{removed} instead of {} entries {}* were made in {}", made.count, made.beginning, directory.display());
    }
    Ok(())
}
