//! Processes that end with this one, and what they use.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// How long a process may take to end when it is asked to.
const END: Duration = Duration::from_secs(10);

/// Has the child killed when the thread that starts it ends, however that comes about.
pub(crate) fn die_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: prctl(2) with integers is async-signal-safe; nothing is allocated between fork and exec.
    unsafe {
        command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from));
    }
    command
}

/// The number of a child, as the calls below want it.
pub(crate) fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed()) // the kernel's numbers end at 4,194,304
}

/// Asks a child to end, and sees to it.
pub(crate) fn end(child: &mut Child) {
    let _ = kill(pid_of(child), Signal::SIGTERM); // it may have ended
    let deadline = Instant::now() + END;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Processor time that a process has used, all of its threads together, those that have ended included.
pub(crate) fn cpu_time(pid: Pid) -> Result<Duration> {
    let clock = clock_getcpuclockid(pid).context("the clock of a process's processor time")?;
    Ok(clock_gettime(clock)?.into())
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident_kib(pid: Pid) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse().ok()).with_context(|| format!("{path}: no VmRSS"))
}

/// How many processors there are for us.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Binds every thread of a process to one processor, or to none.
pub(crate) fn pin(pid: Pid, processor: Option<usize>) -> Result<()> {
    let mut set = CpuSet::new();
    match processor {
        Some(one) => set.set(one)?,
        None => (0..processors()).try_for_each(|one| set.set(one))?,
    }
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = task?.file_name();
        let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else { bail!("a thread called {name:?}") };
        let _ = sched_setaffinity(Pid::from_raw(thread), &set); // it may have ended meanwhile
    }
    Ok(())
}

/// Waits until a process has nothing to do: what its start has left is done.
pub(crate) fn settle(pid: Pid) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(60);
    const IDLE: Duration = Duration::from_micros(600);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut before = cpu_time(pid)?;
    let mut quiet = 0;
    while quiet < 2 && Instant::now() < deadline {
        std::thread::sleep(LOOK);
        let now = cpu_time(pid)?;
        quiet = if now.saturating_sub(before) < IDLE { quiet + 1 } else { 0 };
        before = now;
    }
    Ok(())
}
