//! What is found, for a person or a program.

use std::io::{self, Write};

use serde::Serialize;

use super::{Check, State};

/// What all of it comes to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing fails.
    Fine,
    /// Something does.
    Fails,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "FAIL",
        }
    }
}

pub(super) fn write(checks: &[Check], json: bool, out: &mut impl Write) -> io::Result<Outcome> {
    if json {
        write_json(checks, out)?;
    } else {
        write_text(checks, out)?;
    }
    out.flush()?;
    let fails = checks.iter().any(|check| check.state == State::Fail);
    Ok(if fails { Outcome::Fails } else { Outcome::Fine })
}

fn write_json(checks: &[Check], out: &mut impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        version: u32,
        items: &'a [Check],
    }
    serde_json::to_writer_pretty(&mut *out, &Document { version: 1, items: checks })?;
    writeln!(out)
}

fn write_text(checks: &[Check], out: &mut impl Write) -> io::Result<()> {
    let width = checks.iter().map(|check| check.check.len()).max().unwrap_or(0);
    for Check { check, state, found, advice } in checks {
        writeln!(out, "{:<4}  {check:<width$}  {found}", state.as_str())?;
        if let Some(advice) = advice {
            writeln!(out, "{:<4}  {:<width$}  → {advice}", "", "")?;
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    writeln!(out, "\n{} ok, {} warnings, {} failures", count(State::Ok), count(State::Warn), count(State::Fail))
}

#[cfg(test)]
mod tests {
    use super::super::Question;
    use super::*;

    #[test]
    fn only_failures_are_a_finding_and_advice_stands_below() {
        let written = |checks: &[Check]| {
            let mut out = Vec::new();
            let outcome = write(checks, false, &mut out).unwrap();
            (outcome, String::from_utf8(out).unwrap())
        };
        let kernel = Question("kernel").ok("Linux 6.18");
        let log = Question("log").warn("no /dev/log", "start one");
        let (outcome, text) = written(&[kernel.clone(), log]);
        assert_eq!(outcome, Outcome::Fine);
        assert_eq!(
            text,
            "ok    kernel  Linux 6.18\nwarn  log     no /dev/log\n              → start one\n\n1 ok, 1 warnings, 0 failures\n"
        );
        assert_eq!(written(&[kernel, Question("policy").fail("x", "y")]).0, Outcome::Fails);
    }
}
