//! Rules that can never decide, because an earlier one takes everything that they speak about.

#![forbid(unsafe_code)]

use super::{PathGlob, Pattern, Rule, Scope};
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
        && list_covers(&wide.exe, &narrow.exe, Pattern::covers)
        && list_covers(&wide.path, &narrow.path, Pattern::covers)
        && programs_cover(wide, narrow)
        && list_covers(&wide.sites, &narrow.sites, PathGlob::covers)
        && words_cover(&wide.file, &narrow.file)
        && words_cover(&wide.extension, &narrow.extension)
        && words_cover(&wide.os, &narrow.os)
        && wide.except.iter().all(|except| narrow.except.contains(except))
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
fn list_covers<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_empty() || (!narrow.is_empty() && each_covered(wide, narrow, covers))
}

/// Scripts and modules are one condition: either satisfies it.
fn programs_cover(wide: &Rule, narrow: &Rule) -> bool {
    let unconditional = |rule: &Rule| rule.script.is_empty() && rule.module.is_empty() && !rule.command;
    unconditional(wide)
        || (!unconditional(narrow)
            && each_covered(&wide.script, &narrow.script, PathGlob::covers)
            && narrow.module.iter().all(|module| wide.module.contains(module))
            && (wide.command || !narrow.command))
}

fn each_covered<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    narrow.iter().all(|one| wide.iter().any(|candidate| covers(candidate, one)))
}
