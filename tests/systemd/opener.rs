//! Somebody who opens a file, and may have to wait for the guard's answer.

use std::fs;
use std::io::Read;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use crate::host::{Host, SOON};
use crate::site::wait_for;

/// The site directory in which most of it happens.
pub(crate) const APP: &str = "/srv/app/lib/python3.11/site-packages";

/// What every environment's approved file says.
pub(crate) const GOOD: &str = "import sys; sys.good = 1\n";

pub(crate) struct Opener(Child);

impl Opener {
    /// Reads the approved file.
    pub(crate) fn of_good(host: &Host) -> Opener {
        Opener::of(host, &["cat", &format!("{APP}/good.pth")])
    }

    pub(crate) fn of(host: &Host, command: &[&str]) -> Opener {
        let mut command = host.command(command);
        Opener(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Wait until it waits for the guard's answer.
    pub(crate) fn is_blocked(&self) {
        let nsenter = self.0.id();
        wait_for("the opener is blocked", SOON, || {
            let child = fs::read_to_string(format!("/proc/{nsenter}/task/{nsenter}/children")).ok()?;
            let waits = fs::read_to_string(format!("/proc/{}/wchan", child.trim())).ok()?;
            waits.contains("fanotify").then_some(())
        });
    }

    /// Wait for its end, after so long at most: what it has printed, what it complained about.
    pub(crate) fn finish(mut self, limit: Duration) -> (ExitStatus, String, String) {
        let status = wait_for("the opener gets its answer", limit, || self.0.try_wait().unwrap());
        let (mut text, mut error) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        (status, text, error)
    }

    /// It has read the approved file, after so long at most.
    pub(crate) fn has_read(self, limit: Duration) {
        let (status, text, error) = self.finish(limit);
        assert!(status.success() && text == GOOD, "{status} {text:?} {error:?}");
    }

    /// It was denied, after so long at most.
    pub(crate) fn was_denied(self, limit: Duration) {
        let (status, text, error) = self.finish(limit);
        assert!(!status.success() && error.contains("Operation not permitted"), "{status} {text:?} {error:?}");
    }
}
