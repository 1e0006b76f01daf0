//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::commands::parse_age;
use crate::model::{Access, Mode, Sha256};
use crate::quarantine::Id;
use crate::replay::Format;

/// Keeps attackers out of Python's start-up path.
///
/// A process that the policy does not name cannot write *.pth and *.start files into a guarded site directory, and
/// nobody can read one whose exact bytes are not approved.
#[derive(Debug, Parser)]
#[command(name = "pthguard", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the guard in the foreground. Needs root; no file is needed, the default policy is built in
    Run {
        /// Read this policy file instead of /etc/pthguard/pthguard.toml and /etc/pthguard/pthguard.d/*.toml
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Enforce, or only record what would be denied; overrides the policy's `mode`
        #[arg(long, value_enum)]
        mode: Option<ModeName>,
    },
    /// Answer the running guard, on standard input. Started by the service manager (pthguard-mounts.socket)
    #[command(hide = true)]
    LendMount,
    /// Check the policy as the daemon would and print it in the order in which it is evaluated
    Check {
        /// Check this policy file instead of those under /etc/pthguard
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Look at every startup file: what it can do, whose it is, whether it is approved. Exit status 1: there is something
    /// to look at
    Scan {
        /// These directories instead of all site directories of this machine
        #[arg(value_name = "DIR")]
        directories: Vec<PathBuf>,
        /// Take the site directories from this policy file instead of those under /etc/pthguard
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Answer in JSON
        #[arg(long, conflicts_with = "sarif")]
        json: bool,
        /// Answer in SARIF
        #[arg(long)]
        sarif: bool,
    },
    /// Tell which rule answers a request, and why those before it do not. Exit status 1: denied
    #[command(group(ArgGroup::new("who").required(true).args(["pid", "exe"])))]
    Explain {
        /// Ask this policy file instead of those under /etc/pthguard
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// What is asked for
        #[arg(long, value_enum, default_value = "write")]
        access: AccessName,
        /// The startup file; it need not exist
        #[arg(long, value_name = "PATH")]
        path: PathBuf,
        /// A process that runs
        #[arg(long, value_name = "PID")]
        pid: Option<u32>,
        /// Or a program that might: its executable
        #[arg(long, value_name = "PATH")]
        exe: Option<PathBuf>,
        /// The script that it runs
        #[arg(long, value_name = "PATH", requires = "exe", conflicts_with_all = ["module", "command"])]
        script: Option<PathBuf>,
        /// The module that it runs with -m
        #[arg(long, value_name = "NAME", requires = "exe", conflicts_with = "command")]
        module: Option<String>,
        /// It runs a command line, with -c
        #[arg(long, requires = "exe")]
        command: bool,
        /// The effective user id that it runs with
        #[arg(long, value_name = "UID", requires = "exe", default_value_t = 0)]
        uid: u32,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Judge recorded file operations (own records, Elastic, Sysmon, auditd, Falco) by the policy. Exit status 1:
    /// something would not have been allowed
    Replay {
        /// Files of records; `-` is standard input
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Ask this policy file instead of those under /etc/pthguard
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Tell what changes under this policy file
        #[arg(long, value_name = "FILE")]
        diff: Option<PathBuf>,
        /// Print a rule that would allow this program: an executable or a script, as the report names it
        #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true, conflicts_with_all = ["json", "each"])]
        suggest: Option<String>,
        /// Who wrote the records: auto, pthguard, ecs, sysmon, auditd, falco
        #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = format)]
        format: Format,
        /// Answer in JSON
        #[arg(long, conflicts_with = "each")]
        json: bool,
        /// Answer for each record, as lines of JSON
        #[arg(long)]
        each: bool,
    },
    /// Show startup files and, after a yes, approve them as they are
    #[command(group(ArgGroup::new("what").required(true).args(["files", "sha256"])))]
    Approve {
        /// Startup files in guarded directories
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Or bytes
        #[command(flatten)]
        everywhere: Everywhere,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// What most commands can be told
        #[command(flatten)]
        common: Common,
    },
    /// Take approvals back: from now on nobody reads the file
    #[command(group(ArgGroup::new("what").required(true).args(["files", "sha256"])))]
    Revoke {
        /// Startup files, which need not be there any more
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Or bytes
        #[command(flatten)]
        everywhere: Everywhere,
        /// Read this policy file instead of those under /etc/pthguard: it says where the state is
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print what is approved
    Approvals {
        /// Print what is held instead: written under a rule that does not cover it. Exit status 1: there is something
        #[arg(long)]
        held: bool,
        /// What most commands can be told
        #[command(flatten)]
        common: Common,
    },
    /// Show everything that is held in directories and, after a yes, approve it
    Baseline {
        /// Guarded directories
        #[arg(value_name = "DIR", required = true)]
        directories: Vec<PathBuf>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// What most commands can be told
        #[command(flatten)]
        common: Common,
    },
    /// Tell what the running guard does: mode, directories, decisions, how long openers wait. Exit status 2: none runs
    Status {
        /// What most commands can be told
        #[command(flatten)]
        common: Common,
    },
    /// Print the same for Prometheus, in its text format. Exit status 2: no guard runs
    Metrics {
        /// Read this policy file instead of those under /etc/pthguard: it says where the state is
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Look whether the guard can do its work here: kernel, privileges, policy, directories, and say what to do. Changes
    /// nothing. Exit status 1: something fails
    Doctor {
        /// What most commands can be told
        #[command(flatten)]
        common: Common,
    },
    /// Print what the running daemon has recorded last, and with --follow what it records from now on
    Events {
        /// Go on until the daemon stops, or this command is ended
        #[arg(long, short)]
        follow: bool,
        /// How many of the last records
        #[arg(long, value_name = "N", default_value_t = 20)]
        count: u32,
        /// What most commands can be told; of JSON a line for each record, as in the log
        #[command(flatten)]
        common: Common,
    },
    /// Look at what was taken out of guarded directories, put it back, remove it
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Switch the mode of the running guard, to audit for a while, and back
    Mode {
        /// Enforce, or audit
        #[arg(value_enum)]
        mode: ModeName,
        /// For so long: 30s, 10m, 2h; then it goes back by itself
        #[arg(long = "for", value_name = "TIME", value_parser = parse_age)]
        limit: Option<Duration>,
        /// What most commands can be told
        #[command(flatten)]
        common: Common,
    },
}

fn format(word: &str) -> Result<Format, String> {
    let known = Format::ALL.map(Format::as_str).join(", ");
    Format::named(word).ok_or_else(|| format!("not one of {known}"))
}

/// What most commands can be told.
#[derive(Debug, Args)]
pub struct Common {
    /// Read this policy file instead of those under /etc/pthguard: it says where the state is
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Bytes under a name, wherever they lie.
#[derive(Debug, Args)]
pub struct Everywhere {
    /// Instead of a file: these bytes, in every directory
    #[arg(long, value_name = "HEX", requires = "name", conflicts_with = "files")]
    pub sha256: Option<Sha256>,
    /// Under this name
    #[arg(long, value_name = "NAME", requires = "sha256")]
    pub name: Option<OsString>,
}

/// What to do with the quarantine.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// Print what lies there, the newest first
    List {
        /// What most commands can be told
        #[command(flatten)]
        common: Common,
    },
    /// Print all that is known of one file
    Show {
        /// Its number
        #[arg(value_name = "ID")]
        id: Id,
        /// What most commands can be told
        #[command(flatten)]
        common: Common,
    },
    /// Put a file back where it was, with owner, mode, times and attributes
    Restore {
        /// Its number
        #[arg(value_name = "ID")]
        id: Id,
        /// Put it there instead
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
        /// Show it and, after a yes, approve it: in a guarded directory nobody could read it otherwise
        #[arg(long)]
        approve: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Read this policy file instead of those under /etc/pthguard: it says where the state is
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Remove files from quarantine for good, after a yes
    #[command(group(ArgGroup::new("which").required(true).args(["ids", "older_than", "all"])))]
    Purge {
        /// Their numbers
        #[arg(value_name = "ID")]
        ids: Vec<Id>,
        /// What was taken longer ago: 30d, 12h
        #[arg(long, value_name = "AGE", value_parser = parse_age)]
        older_than: Option<Duration>,
        /// Everything
        #[arg(long)]
        all: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Read this policy file instead of those under /etc/pthguard: it says where the state is
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// A mode, as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ModeName {
    /// Deny and undo.
    Enforce,
    /// Record what would be denied, change nothing.
    Audit,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Enforce => Mode::Enforce,
            ModeName::Audit => Mode::Audit,
        }
    }
}

/// An access, as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum AccessName {
    /// Read what is not approved.
    Read,
    /// Open for writing, or create.
    Write,
    /// Rename or exchange.
    Rename,
    /// Make a hard link.
    Link,
    /// Make a symbolic link.
    Symlink,
    /// Make a FIFO, socket or device.
    Special,
}

impl From<AccessName> for Access {
    fn from(name: AccessName) -> Self {
        match name {
            AccessName::Read => Access::Read,
            AccessName::Write => Access::Write,
            AccessName::Rename => Access::Rename,
            AccessName::Link => Access::Link,
            AccessName::Symlink => Access::Symlink,
            AccessName::Special => Access::Special,
        }
    }
}
