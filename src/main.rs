//! The `pthguard` command: from the command line to an exit status.
//!
//! 0 is fine; 1 is a finding (explain says deny); 2 is usage, an invalid policy or an environment in which the guard
//! cannot run.

#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use pthguard::cli::{Cli, Command};
use pthguard::explain::{Question, Runs, Who, explain};
use pthguard::model::Verdict;
use pthguard::scan::{Form, Options, Outcome, scan};
use pthguard::{config, daemon};

fn main() -> ExitCode {
    match carry_out(Cli::parse().command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("pthguard: {error}"); // each message holds that of its cause
            ExitCode::from(2)
        }
    }
}

fn carry_out(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { config, mode } => daemon::run(config.as_deref(), mode.map(Into::into))?,
        Command::Check { config } => config::check(config.as_deref(), &mut io::stdout().lock())?,
        Command::Scan { directories, config, json, sarif } => {
            let form = match (json, sarif) {
                (true, _) => Form::Json,
                (false, true) => Form::Sarif,
                (false, false) => Form::Text,
            };
            if scan(&Options { directories, config, form }, &mut io::stdout().lock())? == Outcome::Findings {
                return Ok(ExitCode::from(1));
            }
        }
        Command::Explain { config, access, path, pid, exe, script, module, command, uid, json } => {
            let runs = match (script, module) {
                (Some(script), _) => Runs::Script(script),
                (None, Some(module)) => Runs::Module(module),
                (None, None) if command => Runs::Command,
                (None, None) => Runs::Nothing,
            };
            let who = match (pid, exe) {
                (Some(pid), _) => Who::Process(pid),
                (None, Some(exe)) => Who::Program { exe, runs, uid },
                (None, None) => bail!("explain needs --pid or --exe"),
            };
            let question = Question { who, access: access.into(), path };
            if explain(config.as_deref(), &question, json, &mut io::stdout().lock())? == Verdict::Deny {
                return Ok(ExitCode::from(1));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
