//! What the command line says.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: tests/bench/run [--short] [--rounds N] [--only WORKLOAD] [--json FILE] [--plot FILE]
  --short           every workload a few times, one round: it only has to run through
  --rounds N        how often each contestant is measured; 5 if not given
  --only TEXT       workloads whose name contains this; may be given several times
  --against NAME    contestants, instead of all: none, null, audit, enforce, fapolicyd, clamonacc; may be given several times
  --json FILE       keep the raw numbers
  --plot FILE       draw the latencies of the approved open (SVG)
  --program PATH    the guard; target/release/pthguard if not given";

/// How long everything may take, whatever hangs.
const LIMIT: Duration = Duration::from_secs(90 * 60);
const SHORT_LIMIT: Duration = Duration::from_secs(4 * 60);

/// What is to be measured.
pub(crate) struct Options {
    pub(crate) program: PathBuf,
    pub(crate) short: bool,
    pub(crate) rounds: usize,
    only: Vec<String>,
    against: Vec<String>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) plot: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Options> {
        let mut options = Options {
            program: "target/release/pthguard".into(),
            short: false,
            rounds: 0,
            only: Vec::new(),
            against: Vec::new(),
            json: None,
            plot: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value\n{USAGE}"));
            match argument.as_str() {
                "--short" => options.short = true,
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--only" => options.only.push(value()?.clone()),
                "--against" => options.against.push(value()?.clone()),
                "--json" => options.json = Some(value()?.into()),
                "--plot" => options.plot = Some(value()?.into()),
                "--program" => options.program = value()?.into(),
                _ => bail!("{argument}: not known\n{USAGE}"),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.short { 1 } else { 5 };
        }
        let program = options.program.display();
        options.program = options.program.canonicalize().with_context(|| format!("the guard, {program}"))?;
        Ok(options)
    }

    pub(crate) fn limit(&self) -> Duration {
        if self.short { SHORT_LIMIT } else { LIMIT }
    }

    /// Whether a workload of that name is wanted.
    pub(crate) fn wants(&self, workload: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| workload.contains(text.as_str()))
    }

    /// Whether a contestant of that name is wanted.
    pub(crate) fn invites(&self, contestant: &str) -> bool {
        self.against.is_empty() || self.against.iter().any(|name| name == contestant)
    }
}
