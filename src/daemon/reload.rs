//! SIGHUP: what the policy files say now.
//!
//! It is loaded and checked in full before anything changes; what is wrong with it is told, and everything stays as it was.
//! Rules, mode and what is done in failures are exchanged at once. What else they say (which directories, which names,
//! where records go) is read at the start, so the daemon executes itself anew: the groups stay, with their marks, and
//! whoever opens something meanwhile waits until the directories are known again. A newer release in the program's place
//! takes over on that occasion.

use std::env;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sd_notify::NotifyState;

use super::{Running, end, flush, kept, notify, privileges, say_ready, start_audit};
use crate::audit::{Action, Record};
use crate::config::Config;
use crate::gate::Ruling;
use crate::watch::Lane;

/// Where this program lies as the kernel sees it, be it removed meanwhile.
const SELF: &str = "/proc/self/exe";

impl Running {
    /// Loads the policy anew. Gives back what is to be executed in this process's place, if that is how it comes into
    /// force.
    pub(super) fn reload(&mut self) -> Option<Command> {
        let now = NotifyState::monotonic_usec_now();
        notify(&[NotifyState::Reloading].into_iter().chain(now).collect::<Vec<_>>());
        let outcome = self.load_anew();
        let (said, command) = match outcome {
            Ok(None) => {
                self.guard.reloaded(None);
                (format!("policy {} is in force", self.config.generation), None)
            }
            Ok(Some(command)) => {
                ("the policy changes what is read at the start: starting anew".to_owned(), Some(command))
            }
            Err(why) => {
                self.guard.reloaded(Some(why.clone()));
                let said = format!("reload: {why}; the policy stays as it was ({})", self.config.generation);
                eprintln!("pthguard: {said}");
                let record = self.guard.ruling().sign(Record::new(Action::Failure));
                self.audit.record(record.saying(&said));
                notify(&[NotifyState::Ready, NotifyState::Status(&said)]);
                return None;
            }
        };
        self.audit.record(self.guard.ruling().sign(Record::new(Action::Reload)).saying(&said));
        if command.is_none() {
            say_ready(self.guard.watch().sites.all().len());
        }
        command
    }

    fn load_anew(&mut self) -> Result<Option<Command>, String> {
        let config = self.options.load().map_err(|error| error.to_string())?;
        privileges::check(config.on_violation, config.log.kernel_audit).map_err(|error| error.to_string())?;
        if config.state_dir != self.config.state_dir {
            return Err("state.dir cannot change while the guard runs: stop and start it".to_owned());
        }
        if config.log.kernel_audit != self.config.log.kernel_audit {
            return Err("log.kernel_audit is for groups that are made anew: stop and start the guard".to_owned());
        }
        if is_read_at_the_start(&self.config, &config) {
            if config.log != self.config.log {
                let (_, auditor) = start_audit(&config).map_err(|error| error.to_string())?; // whether it can be opened
                flush(auditor);
            }
            return Ok(Some(Command::new(program())));
        }
        self.guard.load(Ruling::of(&config));
        self.config = config;
        Ok(None)
    }

    /// Executes the program anew, which takes everything over.
    pub(super) fn become_anew(self, mut command: Command) -> ! {
        self.wait_for_answers();
        end(self.threads, self.server, self.textfile);
        flush(self.auditor);
        let groups = Lane::ALL.map(|lane| (lane, self.guard.watch().groups(lane)));
        let others = self.guard.others_to_keep();
        let names = [kept::DISCOVERY, kept::WAYS, kept::GUARDED];
        let mut kept = vec![(kept::LEDGER.to_owned(), self.ledger.as_fd())];
        kept.extend(names.iter().zip(others.iter().flatten()).map(|(name, other)| ((*name).to_owned(), other.as_fd())));
        for (lane, groups) in &groups {
            kept.push((kept::gate(*lane), groups.gate.as_fd()));
            kept.push((kept::listing(*lane), groups.listing.as_fd()));
            kept.push((kept::changes(*lane), groups.changes.as_fd()));
        }
        let mut again = Command::new(SELF);
        for command in [&mut command, &mut again] {
            command.args(env::args_os().skip(1));
            if kept::hand_over(command, &kept).is_ok() {
                let error = command.exec();
                eprintln!("pthguard: cannot execute {:?}: {error}", command.get_program());
            }
        }
        std::process::abort(); // without us the kernel lets everybody go, or the service manager starts another one
    }
}

/// Whether a policy differs in more than can be exchanged.
fn is_read_at_the_start(before: &Config, after: &Config) -> bool {
    before.protect != after.protect || before.log != after.log || before.metrics != after.metrics
}

/// The program's file, or what has come in its place.
fn program() -> PathBuf {
    let Ok(path) = fs::read_link(SELF) else { return SELF.into() };
    let path = path.into_os_string().into_vec();
    let path = path.strip_suffix(b" (deleted)").unwrap_or(&path);
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    if path.is_file() { path.to_owned() } else { SELF.into() }
}
