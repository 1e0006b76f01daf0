//! Entries for the list of known files, from wheels and site directories.
//!
//!     cargo run --example known -- WHEEL|DIRECTORY…                               print them
//!     cargo run --example known -- --update policy/known.toml WHEEL|DIRECTORY…    merge them into a list
//!
//! Looked at is every startup file in the root of a wheel, or directly in a directory, that a RECORD lists with its right
//! digest. Left out is what needs no list: what executes nothing, and setuptools' namespace lines. Whether the
//! package deserves to be on the list is for a person to decide; the program only writes down what is there.

#![allow(clippy::print_stdout, reason = "the entries are what was asked for")]

mod found;
mod list;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use list::List;

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("known: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: Vec<OsString>) -> Result<()> {
    let update = match args.first() {
        Some(first) if first == "--update" => {
            if args.len() < 3 {
                bail!("usage: known [--update LIST] WHEEL|DIRECTORY…");
            }
            args.remove(0);
            Some(PathBuf::from(args.remove(0)))
        }
        Some(_) => None,
        None => bail!("usage: known [--update LIST] WHEEL|DIRECTORY…"),
    };
    let old = match &update {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => String::new(),
    };
    let mut list = List::parse(&old)?;
    for path in args.iter().map(PathBuf::from) {
        let files = found::startup_files(&path).with_context(|| format!("cannot take {}", path.display()))?;
        for file in files {
            list.add(file)?;
        }
    }
    let text = list.render()?;
    match update {
        Some(file) => std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?,
        None => print!("{text}"),
    }
    Ok(())
}
