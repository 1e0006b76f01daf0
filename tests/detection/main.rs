//! What public detection rules say of startup files, asked of the engines that such rules are written for, and held
//! against the policies that stand for the rules and against our own detection content.
//!
//! - `engines`: `engines.py` in an environment of its own, with the rules of `published.json`
//! - `examples`: events written by hand, with what each rule has to say of them
//! - `events`: generated events; `parity`: the engines and `pthguard replay` on the same events
//! - `records`: what a guard writes of every planting that is known, before the engines and `pthguard replay`
//! - `coverage`: `docs/coverage.md`, with `fapolicyd` beside the rules; `document`: tables that are written or held to
//! - `content`: the rules in `docs/detection/` on pthguard's records

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the numbers are the result")]
#![allow(dead_code, reason = "the modules are shared with the other tests")]

/// The planting matrix has its own tests in `tests/guard/`.
macro_rules! each_way {
    ($($name:ident)*) => {};
}

#[path = "../guard/harness.rs"]
mod harness;
#[path = "../guard/plant.rs"]
mod plant;
#[path = "../race/seed.rs"]
mod seed;
#[path = "../guard/site.rs"]
mod site;
#[path = "../guard/sys.rs"]
mod sys;
#[path = "../guard/ways.rs"]
mod ways;

mod content;
mod coverage;
mod document;
mod engines;
mod events;
mod examples;
mod fapolicyd;
mod parity;
mod records;
mod replay;
