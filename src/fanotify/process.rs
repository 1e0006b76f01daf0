//! Processes by descriptor (pidfd_open(2)): a number is given to another process after a while, a descriptor is not.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// Takes hold of the process that has this number now.
    ///
    /// # Errors
    /// ESRCH where none has; EINVAL (ENOENT on newer kernels) where it is a thread's number and not a process's.
    pub fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: two integers, no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel has just made this descriptor and told nobody else of it.
        Ok(Pidfd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Ends the process with all its threads (SIGKILL). One that has ended already is none to be ended.
    ///
    /// # Errors
    /// EPERM: CAP_KILL is missing.
    pub fn kill(&self) -> io::Result<()> {
        let (pidfd, no_info) = (self.0.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: a descriptor that is ours and open, integers, and no siginfo.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, libc::SIGKILL, no_info, 0) };
        if sent == 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        }
    }

    /// Whether the process had not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        alive([self.as_fd()]) == [true]
    }
}

impl From<OwnedFd> for Pidfd {
    /// A pidfd that the kernel has handed out.
    fn from(pidfd: OwnedFd) -> Self {
        Pidfd(pidfd)
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Which of these processes had not ended yet; one system call for all of them. What cannot be told counts as ended.
#[must_use]
pub fn alive<'a>(pidfds: impl IntoIterator<Item = BorrowedFd<'a>>) -> Vec<bool> {
    let mut fds: Vec<_> = pidfds.into_iter().map(|pidfd| PollFd::new(pidfd, PollFlags::POLLIN)).collect();
    // Readable from the end of the process on.
    let is_told = poll(&mut fds, PollTimeout::ZERO).is_ok();
    fds.iter().map(|fd| is_told && fd.revents() == Some(PollFlags::empty())).collect()
}

/// Has this process, and what threads it starts from now on, preferred to others where processors are short: each of those
/// waits for it.
///
/// # Errors
/// EACCES without CAP_SYS_NICE.
pub fn prefer(nice: i32) -> io::Result<()> {
    // SAFETY: three integers, no memory of ours.
    let status = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor that this process was started with: its own from now on, and none of what it executes. `None` if there is
/// none of that number. To be asked once for each, before anything is opened.
#[must_use]
pub fn inherited(number: i32) -> Option<OwnedFd> {
    // SAFETY: F_SETFD touches no memory, whatever the number.
    if number <= 2 || unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: the descriptor is open, and by the caller's promise nobody has taken it before.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn alive_until_it_ends() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (ours, theirs) = (Pidfd::open(std::process::id()).unwrap(), Pidfd::open(child.id()).unwrap());
        assert_eq!(alive([ours.as_fd(), theirs.as_fd()]), [true, true]);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(alive([ours.as_fd(), theirs.as_fd()]), [true, false]);
        assert!(!theirs.is_alive());
    }

    #[test]
    fn killed_and_nobody_else() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = Pidfd::open(child.id()).unwrap();
        process.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        process.kill().unwrap(); // its number may be another's by now: nothing happens
    }

    #[test]
    fn a_threads_number_is_no_processs() {
        let thread = std::thread::spawn(|| Pidfd::open(nix::unistd::gettid().as_raw().cast_unsigned()).map(drop));
        assert!(thread.join().unwrap().is_err());
        assert!(Pidfd::open(0x7fff_fff0).is_err());
    }
}
