//! Writes the manual pages of every subcommand and the completions for bash, zsh and fish, from the command line's own
//! definition:
//!
//!     cargo run --example manual -- OUTDIR
//!
//! `pthguard.toml(5)` is written by hand: `docs/man/pthguard.toml.5`. The day in the pages is that of
//! `SOURCE_DATE_EPOCH`, or today.

mod pages;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        bail!("usage: manual OUTDIR");
    };
    let directory = Path::new(&directory);
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let files = pages::pages(&pages::date()?)?.into_iter().chain(pages::completions());
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
