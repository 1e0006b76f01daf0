//! The `pthguard` command: from the command line to an exit status.
//!
//! 0 is fine; 1 is a finding (explain says deny); 2 is usage, an invalid policy or an environment in which the guard
//! cannot run.

#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::Parser;
use pthguard::cli::{Cli, Command, Common, QuarantineCommand};
use pthguard::commands::{self, CommandError, Options, Outcome, Which};
use pthguard::explain::{Question, Runs, Who, explain};
use pthguard::fanotify::lend_mount;
use pthguard::model::Verdict;
use pthguard::scan::{self, Form};
use pthguard::{config, daemon, doctor, replay};

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
        Command::LendMount => {
            lend_mount(&io::stdin()).map_err(|error| anyhow!("cannot lend a mount: {error}"))?;
        }
        Command::Check { config } => config::check(config.as_deref(), &mut io::stdout().lock())?,
        Command::Scan { directories, config, json, sarif } => {
            let form = match (json, sarif) {
                (true, _) => Form::Json,
                (false, true) => Form::Sarif,
                (false, false) => Form::Text,
            };
            let options = scan::Options { directories, config, form };
            if scan::scan(&options, &mut io::stdout().lock())? == scan::Outcome::Findings {
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
        Command::Replay { files, config, diff, suggest, format, json, each } => {
            let form = match (json, each) {
                (true, _) => replay::Form::Json,
                (false, true) => replay::Form::Each,
                (false, false) => replay::Form::Text,
            };
            let options = replay::Options { config, diff, suggest, format, form, files };
            let mut out = io::BufWriter::new(io::stdout().lock());
            if replay::replay(&options, &mut out)? == replay::Outcome::Findings {
                return Ok(ExitCode::from(1));
            }
        }
        Command::Approve { files, everywhere, yes, common: Common { config, json } } => {
            let options = Options { config: config.as_deref(), yes, json };
            return Ok(status(match (everywhere.name, everywhere.sha256) {
                (Some(name), Some(sha256)) => commands::approve_everywhere(&name, sha256, options)?,
                _ => commands::approve(&files, options)?,
            }));
        }
        Command::Revoke { files, everywhere, config } => {
            let options = Options { config: config.as_deref(), yes: true, json: false };
            return Ok(status(match (everywhere.name, everywhere.sha256) {
                (Some(name), Some(sha256)) => commands::revoke_everywhere(&name, sha256, options)?,
                _ => commands::revoke(&files, options)?,
            }));
        }
        Command::Approvals { held, common: Common { config, json } } => {
            let options = Options { config: config.as_deref(), yes: false, json };
            return Ok(status(commands::approvals(held, options)?));
        }
        Command::Baseline { directories, yes, common: Common { config, json } } => {
            let options = Options { config: config.as_deref(), yes, json };
            return Ok(status(commands::baseline(&directories, options)?));
        }
        Command::Doctor { common: Common { config, json } } => {
            if doctor::doctor(config.as_deref(), json, &mut io::stdout().lock())? == doctor::Outcome::Fails {
                return Ok(ExitCode::from(1));
            }
        }
        Command::Status { common: Common { config, json } } => {
            return Ok(status(commands::status(Options { config: config.as_deref(), yes: false, json })?));
        }
        Command::Metrics { config } => return Ok(status(commands::metrics(config.as_deref())?)),
        Command::Events { follow, count, common: Common { config, json } } => {
            let options = Options { config: config.as_deref(), yes: false, json };
            return Ok(status(commands::events(count, follow, options)?));
        }
        Command::Quarantine(command) => return Ok(status(quarantine(command)?)),
        Command::Mode { mode, limit, common: Common { config, json } } => {
            let options = Options { config: config.as_deref(), yes: false, json };
            return Ok(status(commands::mode(mode.into(), limit, options)?));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn quarantine(command: QuarantineCommand) -> Result<Outcome, CommandError> {
    match command {
        QuarantineCommand::List { common: Common { config, json } } => {
            commands::list(Options { config: config.as_deref(), yes: false, json })
        }
        QuarantineCommand::Show { id, common: Common { config, json } } => {
            commands::show(&id, Options { config: config.as_deref(), yes: false, json })
        }
        QuarantineCommand::Restore { id, to, approve, yes, config } => {
            let options = Options { config: config.as_deref(), yes, json: false };
            commands::restore(&id, to.as_deref(), approve, options)
        }
        QuarantineCommand::Purge { ids, older_than, all, yes, config } => {
            let which = match older_than {
                _ if all => Which::All,
                Some(age) => Which::OlderThan(age),
                None => Which::Ids(ids),
            };
            commands::purge(&which, Options { config: config.as_deref(), yes, json: false })
        }
    }
}

fn status(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Fine => ExitCode::SUCCESS,
        Outcome::Finding => ExitCode::from(1),
    }
}
