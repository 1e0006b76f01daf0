//! Who answers: processes that are started for a session, and ended after it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use serde::Serialize;

use crate::place::{Place, Sites};
use crate::process::{self, die_with_parent, pid_of};
use crate::{guard, marks, peers, responder};

/// Those who are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Contestant {
    /// Nobody.
    None,
    /// Whoever answers "allow" and does nothing: the limit of fanotify.
    Null,
    /// pthguard, that records what it would deny.
    Audit,
    /// pthguard, that denies.
    Enforce,
    /// The application allow-list of Fedora and RHEL.
    Fapolicyd,
    /// ClamAV on access.
    Clamonacc,
}

impl Contestant {
    pub(crate) const ALL: [Contestant; 6] = [
        Contestant::None,
        Contestant::Null,
        Contestant::Audit,
        Contestant::Enforce,
        Contestant::Fapolicyd,
        Contestant::Clamonacc,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Contestant::None => "none",
            Contestant::Null => "null",
            Contestant::Audit => "audit",
            Contestant::Enforce => "enforce",
            Contestant::Fapolicyd => "fapolicyd",
            Contestant::Clamonacc => "clamonacc",
        }
    }

    /// Why it cannot take part here.
    pub(crate) fn lacks(self) -> Option<String> {
        match self {
            Contestant::None | Contestant::Null | Contestant::Audit | Contestant::Enforce => None,
            Contestant::Fapolicyd => peers::lacks_fapolicyd(),
            Contestant::Clamonacc => peers::lacks_clamonacc(),
        }
    }

    /// Whether it is compared in such a session. What others do with thousands of directories is not asked; fapolicyd
    /// trusts nothing that pip has just written.
    pub(crate) fn knows(self, sites: Sites) -> bool {
        match self {
            Contestant::None | Contestant::Null | Contestant::Audit | Contestant::Enforce => true,
            Contestant::Clamonacc => !matches!(sites, Sites::Work { others: 1.. }),
            Contestant::Fapolicyd => !matches!(sites, Sites::Work { others: 1.. } | Sites::Pip),
        }
    }

    /// Starts it, and makes sure that it stops nobody outside of the benchmark. Nothing is started where nobody answers.
    pub(crate) fn start(self, program: &Path, place: &Place, sites: Sites) -> Result<Server> {
        let (children, ready) = match self {
            Contestant::None => (Vec::new(), Duration::ZERO),
            Contestant::Null => start_responder(place, sites)?,
            Contestant::Audit | Contestant::Enforce => {
                guard::forget(place)?;
                guard::start(program, self.name(), place, sites)?
            }
            Contestant::Fapolicyd => peers::start_fapolicyd(place)?,
            Contestant::Clamonacc => peers::start_clamonacc(place, sites)?,
        };
        let mut server = Server { children, started: Started { ready, again: None } };
        if matches!(self, Contestant::Audit | Contestant::Enforce) && matches!(sites, Sites::Work { others: 1.. }) {
            // The first start of a host writes down all that it finds; each later one compares.
            server.end();
            let (children, again) = guard::start(program, self.name(), place, sites)?;
            server = Server { children, started: Started { again: Some(again), ..server.started } };
        }
        for pid in server.pids() {
            marks::stop_nobody_else(pid, &place.root)?;
            process::settle(pid)?;
        }
        Ok(server)
    }
}

fn start_responder(place: &Place, sites: Sites) -> Result<(Vec<Child>, Duration)> {
    let manifest = place.at("marks.json");
    std::fs::write(&manifest, serde_json::to_vec(&place.marks(sites)?)?)?;
    let begin = Instant::now();
    let mut command = Command::new(place.program("opener"));
    command.arg(responder::WORD).arg(&manifest).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = die_with_parent(&mut command).spawn()?;
    let mut line = String::new();
    let out = child.stdout.as_mut().context("the responder's output")?;
    BufReader::new(out).read_line(&mut line)?;
    if line.trim() != "ready" {
        process::end(&mut child);
        bail!("the null responder did not start");
    }
    Ok((vec![child], begin.elapsed()))
}

/// How long it took until it was ready.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Started {
    pub(crate) ready: Duration,
    /// At a second start, on what the first has kept.
    pub(crate) again: Option<Duration>,
}

/// A contestant that runs: its processes. Ended when dropped.
pub(crate) struct Server {
    children: Vec<Child>,
    pub(crate) started: Started,
}

impl Server {
    fn pids(&self) -> impl Iterator<Item = Pid> {
        self.children.iter().map(pid_of)
    }

    /// Whether there is anybody.
    pub(crate) fn is_somebody(&self) -> bool {
        !self.children.is_empty()
    }

    /// Processor time that it has used.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        self.pids().map(process::cpu_time).sum()
    }

    /// Its memory, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        self.pids().map(process::resident_kib).sum()
    }

    /// Binds it to a processor, or to none.
    pub(crate) fn pin(&self, processor: Option<usize>) -> Result<()> {
        self.pids().try_for_each(|pid| process::pin(pid, processor))
    }

    /// It must still run: nobody else has answered then.
    pub(crate) fn assert_alive(&mut self) -> Result<()> {
        for child in &mut self.children {
            if let Some(status) = child.try_wait()? {
                bail!("it has ended meanwhile: {status}");
            }
        }
        Ok(())
    }

    /// The last one that was started first: it may need the others.
    fn end(&mut self) {
        while let Some(mut child) = self.children.pop() {
            process::end(&mut child);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
