//! Rules that can never decide, because an earlier one takes everything that they speak about.

#![forbid(unsafe_code)]

use super::{PathGlob, Rule, Scope};
use crate::model::Verdict;

/// A rule and the earlier one that covers it, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The rule that never decides.
    pub rule: usize,
    /// The first rule that covers it.
    pub by: usize,
}

/// Finds the rules that a single earlier rule covers. What several earlier rules cover only together is not found.
#[must_use]
pub fn shadows(rules: &[Rule]) -> Vec<Shadow> {
    rules
        .iter()
        .enumerate()
        .filter_map(|(position, rule)| {
            let by = rules.iter().take(position).position(|earlier| covers(earlier, rule))?;
            Some(Shadow { rule: position, by })
        })
        .collect()
}

/// Whether `wide` matches every request that `narrow` matches (of those with paths in UTF-8).
fn covers(wide: &Rule, narrow: &Rule) -> bool {
    wide.access.covers(narrow.access)
        && wide.uid.covers(&narrow.uid)
        && (wide.scope == Scope::Any || wide.scope == narrow.scope)
        && globs_cover(&wide.exe, &narrow.exe)
        && programs_cover(wide, narrow)
        && globs_cover(&wide.sites, &narrow.sites)
        && words_cover(&wide.file, &narrow.file)
        && words_cover(&wide.parent, &narrow.parent)
        && (wide.containers || !narrow.containers)
        && trust_covers(wide, narrow)
}

/// Whether `wide` takes a process for what it seems to be wherever `narrow` does.
fn trust_covers(wide: &Rule, narrow: &Rule) -> bool {
    match (wide.verdict, narrow.verdict) {
        (Verdict::Deny, _) => true,
        (Verdict::Allow, Verdict::Deny) => false,
        (Verdict::Allow, Verdict::Allow) => wide.owner >= narrow.owner && wide.environment >= narrow.environment,
    }
}

/// An empty list is no condition.
fn words_cover<T: PartialEq>(wide: &[T], narrow: &[T]) -> bool {
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|word| wide.contains(word)))
}

/// An empty list is no condition.
fn globs_cover(wide: &[PathGlob], narrow: &[PathGlob]) -> bool {
    wide.is_empty() || (!narrow.is_empty() && each_covered(wide, narrow))
}

/// Scripts and modules are one condition: either satisfies it.
fn programs_cover(wide: &Rule, narrow: &Rule) -> bool {
    let unconditional = |rule: &Rule| rule.script.is_empty() && rule.module.is_empty() && !rule.command;
    unconditional(wide)
        || (!unconditional(narrow)
            && each_covered(&wide.script, &narrow.script)
            && narrow.module.iter().all(|module| wide.module.contains(module))
            && (wide.command || !narrow.command))
}

fn each_covered(wide: &[PathGlob], narrow: &[PathGlob]) -> bool {
    narrow.iter().all(|glob| wide.iter().any(|candidate| candidate.covers(glob)))
}
