//! A tool of the distribution's, run with nothing of ours: it gets an empty environment and no capability, ends by its time
//! limit, and what it says is bounded.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use caps::CapSet;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_no_new_privs;

/// What a tool may say. A package with ten thousand files says one or two megabytes.
const MAX_OUTPUT: usize = 64 * 1024 * 1024;
/// How long a tool that has closed its output takes to end, between two looks.
const GRACE: Duration = Duration::from_millis(1);

/// Runs `program` to its end and returns what it wrote to standard output, whatever its exit status: a query for several
/// files fails as soon as one of them is nobody's.
///
/// # Errors
/// It cannot be started, has not ended by `until`, or says too much; it is then killed.
pub(crate) fn output(program: &str, arguments: &[impl AsRef<std::ffi::OsStr>], until: Instant) -> io::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/");
    command.env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/nonexistent");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = spawn(&mut command).map_err(|error| at(program, &error))?;
    let said = listen(&mut child, until);
    if said.is_err() {
        let _ = child.kill(); // fails only if it has ended
        child.wait()?;
    }
    said.map_err(|error| at(program, &error))
}

/// Starts it from a thread that has given up every capability. What root executes then has none either: it asks questions
/// about files that everybody may read.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let powerless = || {
        set_no_new_privs()?;
        for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
            caps::clear(None, set).map_err(io::Error::other)?;
        }
        command.spawn()
    };
    thread::scope(|scope| scope.spawn(powerless).join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
}

fn at(program: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{program}: {error}"))
}

fn listen(child: &mut Child, until: Instant) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
        fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let mut buffer = [0; 64 * 1024];
        loop {
            wait_for(&pipe, left(until)?)?;
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => said.extend_from_slice(&buffer[..read]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
            if said.len() > MAX_OUTPUT {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("said more than {MAX_OUTPUT} bytes")));
            }
        }
    }
    while child.try_wait()?.is_none() {
        std::thread::sleep(left(until)?.min(GRACE));
    }
    Ok(said)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::Error::new(io::ErrorKind::TimedOut, "not done within its time limit"))
    } else {
        Ok(left)
    }
}

fn wait_for(pipe: &(impl AsFd + AsRawFd), left: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

    use super::*;

    fn shell(script: &str, limit: Duration) -> io::Result<Vec<u8>> {
        output("/bin/sh", &["-c", script], Instant::now() + limit)
    }

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn what_a_tool_says_comes_whole_and_its_status_does_not_matter() {
        assert_eq!(shell("echo one; echo noise >&2; exit 1", LONG).unwrap(), b"one\n");
        assert_eq!(shell("head -c 3000000 /dev/zero", LONG).unwrap().len(), 3_000_000);
        assert!(output("/nonexistent/tool", &["x"], Instant::now() + LONG).is_err());
    }

    #[test]
    fn it_gets_nothing_of_ours() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        let said = String::from_utf8(shell("env; pwd; ls -l /proc/self/fd", LONG).unwrap()).unwrap();
        assert!(!said.contains(secret.path().to_str().unwrap()), "{said}");
        let ours = ["HOME=", "LC_ALL=C", "PATH=", "PWD=", "OLDPWD=", "SHLVL=", "_="];
        for variable in said.lines().take_while(|line| *line != "/") {
            assert!(ours.iter().any(|name| variable.starts_with(name)), "{variable}");
        }
        let said = String::from_utf8(shell("exec cat /proc/self/status", LONG).unwrap()).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let none = format!("{set}:\t0000000000000000");
            assert!(said.lines().any(|line| line == none), "{set}: {said}");
        }
    }

    #[test]
    fn one_that_does_not_end_or_does_not_stop_talking_is_killed() {
        let begin = Instant::now();
        assert_eq!(shell("exec sleep 60", SHORT).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(shell("exec >&-; exec sleep 60", SHORT).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(shell("exec yes", LONG).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(begin.elapsed() < LONG);
    }
}
