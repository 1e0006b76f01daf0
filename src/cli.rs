//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};

use crate::model::{Access, Mode};

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
