//! The `pthguard` command: from the command line to an exit status.
//!
//! 0 is fine; 2 is usage, an invalid policy or an environment in which the guard cannot run.

#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use pthguard::cli::{Cli, Command};
use pthguard::{config, daemon};

fn main() -> ExitCode {
    match carry_out(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pthguard: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn carry_out(command: Command) -> Result<()> {
    match command {
        Command::Run { config, mode } => daemon::run(config.as_deref(), mode.map(Into::into))?,
        Command::Check { config } => config::check(config.as_deref(), &mut io::stdout().lock())?,
    }
    Ok(())
}
