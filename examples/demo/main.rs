//! A safe look at what pthguard does: `cargo run --release --example demo`, as root.
//!
//! Makes a virtual environment in a temporary directory, plants startup files there without a guard, then with a guard
//! of its own that watches this one directory and nothing else, and shows what each attempt came to. Then pip installs
//! something real. Everything is removed at the end. Exit status 1 if anything is not as promised.

#![allow(clippy::print_stdout, reason = "the table is what a demonstration is for")]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use pthguard::model::Mode;

use child::{COMMAND_LIMIT, run};
use stage::Stage;

mod child;
mod stage;

/// Tells this program to be the guard, with the policy file that follows.
const AS_GUARD: &str = "--as-guard";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let outcome = match (args.next(), args.next()) {
        (Some(flag), Some(policy)) if flag == AS_GUARD => {
            pthguard::daemon::run(Some(Path::new(&policy)), Some(Mode::Enforce)).map(|()| true).map_err(Into::into)
        }
        _ => demonstrate(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("\nNot everything is as promised.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every row is as promised.
fn demonstrate() -> Result<bool> {
    ensure!(nix::unistd::geteuid().is_root(), "this needs root: a guard answers for the kernel");
    let dir = tempfile::Builder::new().prefix("pthguard-demo-").tempdir().context("a temporary directory")?;
    let stage = Stage::set(dir.path())?;
    println!("A virtual environment of its own: {}", stage.site.display());
    println!("The planted line makes a file, so that it shows whether it ran.\n");

    let unguarded: Vec<bool> = ATTACKS.iter().map(|attack| stage.runs_without_guard(attack)).collect::<Result<_>>()?;
    let guard = stage.start_guard()?;
    let mut promised = true;
    println!(
        "{:<24}{:<18}{:<26}{:<30}start after it",
        "attack, as root", "without guard", "what it got", "in the directory"
    );
    println!("{}", "-".repeat(112));
    for (attack, ran_before) in ATTACKS.iter().zip(unguarded) {
        let row = stage.attack(attack)?;
        println!(
            "{:<24}{:<18}{:<26}{:<30}{}",
            attack.shown,
            if ran_before { "line RAN" } else { "did not run?!" },
            row.got,
            row.left,
            if row.ran { "line RAN" } else { "did not run" }
        );
        promised &= ran_before && !row.ran && row.left != "there, readable";
    }
    println!();
    promised &= stage.install()?;
    drop(guard);
    println!("\nThe guard has ended and {} is removed.", dir.path().display());
    Ok(promised)
}

struct Attack {
    shown: &'static str,
    plant: fn(&Stage) -> Result<String>,
}

const ATTACKS: &[Attack] = &[
    Attack { shown: "sh -c 'echo … > x.pth'", plant: |s| s.shell("cat \"$1\" > \"$2\"") },
    Attack { shown: "cp", plant: |s| s.shell("cp \"$1\" \"$2\"") },
    Attack { shown: "mv", plant: |s| s.shell("mv \"$1\" \"$2\"") },
    Attack { shown: "ln", plant: |s| s.shell("ln \"$1\" \"$2\"") },
    Attack { shown: "ln -s", plant: |s| s.shell("ln -s \"$1\" \"$2\"") },
    Attack { shown: "python3 -c", plant: python_writes },
    Attack { shown: "O_TMPFILE + linkat", plant: tmpfile_link },
];

fn python_writes(s: &Stage) -> Result<String> {
    let code = "import sys; open(sys.argv[2], 'w').write(open(sys.argv[1]).read())";
    let mut python = Command::new("python3");
    Ok(run(python.args(["-c", code]).arg(s.source()?).arg(&s.evil), COMMAND_LIMIT)?.outcome())
}

fn tmpfile_link(s: &Stage) -> Result<String> {
    let plant = || -> io::Result<()> {
        let mut file = File::options().write(true).custom_flags(OFlag::O_TMPFILE.bits()).mode(0o644).open(&s.site)?;
        file.write_all(s.payload().as_bytes())?;
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        nix::unistd::linkat(AT_FDCWD, name.as_str(), AT_FDCWD, &s.evil, AtFlags::AT_SYMLINK_FOLLOW)?;
        Ok(())
    };
    Ok(match plant() {
        Ok(()) => "success".into(),
        Err(error) if error.raw_os_error() == Some(nix::libc::EPERM) => "EPERM".into(),
        Err(error) => error.to_string(),
    })
}
