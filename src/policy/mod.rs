//! The decision: a request held against the rules, the first that matches answers.
//!
//! * Owns: the compiled rules and what it means for one to match.
//! * Must not: do I/O, look at the clock, allocate for a decision. Which rules are *sensible* is for `config` to say.
//! * Hands to: whoever asks, a [`Decision`] with the rule's name and the reason.
//!
//! ```text
//! special file ──▶ deny        whatever the rules say
//! rule 1, 2, 3 … ──▶ its verdict   access, file, uid, exe, script or module, sites, scope, parent must all match;
//!                                  for an allow rule the process must also be what it seems to be
//! none ──▶ deny
//! ```

#![forbid(unsafe_code)]

mod access;
mod explain;
mod glob;
mod rule;
mod shadow;
#[cfg(test)]
mod tests;
mod trust;

pub use self::access::AccessSet;
pub use self::glob::{GlobError, PathGlob};
pub use self::rule::{Mismatch, Place, Rule, Scope, UidSet};
pub use self::shadow::{Shadow, shadows};
pub use self::trust::{Environment, Owner};

use std::sync::Arc;

use self::rule::Paths;
use crate::model::{Access, ContentSet, Decision, Reason, Request, Verdict};

/// The rules, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// A policy of these rules; the first that matches decides.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Policy { rules }
    }

    /// The rules, in the order in which they are asked.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The globs of all executables that rules name.
    #[must_use]
    pub fn executables(&self) -> Vec<String> {
        self.rules.iter().flat_map(|rule| &rule.exe).map(|glob| glob.as_str().to_owned()).collect()
    }

    /// What a rule lets its writers bring; nothing, if there is no such rule.
    #[must_use]
    pub fn content_of(&self, rule: &str) -> ContentSet {
        self.rules.iter().find(|known| &*known.name == rule).map_or(ContentSet::EMPTY, |rule| rule.content)
    }

    /// Whether some rule asks what started a process.
    #[must_use]
    pub fn asks_for_parents(&self) -> bool {
        self.rules.iter().any(|rule| !rule.parent.is_empty())
    }

    /// Every rule with the first of its conditions that the request does not meet; `None` for one that it meets.
    pub fn checked<'a>(&'a self, request: &Request<'a>) -> impl Iterator<Item = (&'a Rule, Option<Mismatch>)> {
        let paths = Paths::of(request);
        let request = *request;
        self.rules.iter().map(move |rule| (rule, rule.check(&request, &paths, &self.rules).err()))
    }

    /// Decides. What no rule speaks about is denied, and so is every special file; deleting and listing are not
    /// for rules to allow, who asks for them gets the answer "no rule".
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        if request.access == Access::Special {
            return Decision { verdict: Verdict::Deny, rule: None, reason: Reason::SpecialFile };
        }
        let mut decision = Decision { verdict: Verdict::Deny, rule: None, reason: Reason::NoRule };
        for (rule, mismatch) in self.checked(request) {
            let name = || Some(Arc::clone(&rule.name));
            match mismatch {
                None => return Decision { verdict: rule.verdict, rule: name(), reason: Reason::Rule },
                Some(Mismatch::Distrust(distrust)) if decision.reason == Reason::NoRule => {
                    decision = Decision { rule: name(), reason: Reason::Distrusted(distrust), ..decision };
                }
                Some(_) => {}
            }
        }
        decision
    }
}
