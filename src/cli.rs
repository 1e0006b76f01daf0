//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::model::Mode;

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
