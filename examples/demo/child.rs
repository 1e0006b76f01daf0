//! Processes that the demonstration starts: none outlives it, none runs for ever.

use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::Signal;

pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The guard; it ends when this value is dropped, or this program ends in whatever way.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let deadline = Instant::now() + Duration::from_secs(5);
        // It is our child and not yet waited for: the number is still its own.
        let asked = nix::sys::signal::kill(pid, Signal::SIGTERM);
        while asked.is_ok() && Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("demo: the guard (process {pid}) could not be ended: {error}");
        }
    }
}

pub(crate) fn die_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: prctl with an integer is async-signal-safe, nothing is allocated between fork and exec.
    unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)) }
}

pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) said: String,
}

impl Done {
    /// What the command came to, in a few words.
    pub(crate) fn outcome(&self) -> String {
        if self.status.success() {
            "exit 0".into()
        } else if self.said.contains("not permitted") {
            format!("EPERM, {}", self.status.code().map_or("killed".into(), |code| format!("exit {code}")))
        } else {
            self.last_line()
        }
    }

    pub(crate) fn last_line(&self) -> String {
        self.said.lines().last().unwrap_or("failed").chars().take(60).collect()
    }
}

/// Run a command to its end; kill it at the limit.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Done> {
    let mut output = tempfile::tempfile()?;
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command.stdout(output.try_clone()?).stderr(output.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            break child.wait()?;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut bytes = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut bytes)?;
    Ok(Done { status, said: String::from_utf8_lossy(&bytes).into_owned() })
}
