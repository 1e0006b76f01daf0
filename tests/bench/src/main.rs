//! What opening a file costs under pthguard, beside no guard, the limit of fanotify, and others who do the like.
//!
//! ```text
//! options ──▶ enclosure   a process of its own: mount namespace, loop-mounted file system, time limit
//!                │
//!              place      what lies there: site directories, an environment, a wheelhouse
//!                │
//!              course     rounds × sessions × contestants, alternating
//!                ├─ contestant ──▶ responder | guard | peers     who answers, a process
//!                ├─ workload   ──▶ opener                        who waits, a process
//!                ▼
//!              results ──▶ table, targets, plot, raw JSON
//! ```
//!
//! The openers and the null responder are this same program under other words, so that each is a process as in life.

mod contestant;
mod course;
mod enclosure;
mod guard;
mod marks;
mod opener;
mod options;
mod peers;
mod place;
mod plot;
mod process;
mod responder;
mod results;
mod samples;
mod table;
mod targets;
mod workload;

use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pthguard-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(opener::WORD) => return opener::main(&arguments[1..]),
        Some(responder::WORD) => return responder::main(&arguments[1..]),
        _ => {}
    }
    let options = options::Options::parse(&arguments)?;
    if !nix::unistd::geteuid().is_root() {
        bail!("blocked: fanotify and mounts need root");
    }
    match enclosure::inside() {
        Some(directory) => course::run(&options, &enclosure::mount(&directory)?),
        None => enclosure::run_inside(options.limit()),
    }
}
