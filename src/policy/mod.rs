//! The decision: a request held against the rules, the first that matches answers.
//!
//! * Owns: the compiled rules and what it means for one to match.
//! * Must not: do I/O, look at the clock, allocate for a decision. Which rules are *sensible* is for `config` to say.
//! * Hands to: whoever asks, a [`Decision`] with the rule's name and the reason.
//!
//! ```text
//! special file ──▶ deny        whatever the rules say
//! rule 1, 2, 3 … ──▶ its verdict   access, uid, exe, script or module, sites, scope must all match
//! none ──▶ deny
//! ```

#![forbid(unsafe_code)]

mod glob;
mod rule;
mod shadow;
#[cfg(test)]
mod tests;

pub use self::glob::{GlobError, PathGlob};
pub use self::rule::{AccessSet, Place, Rule, Scope, UidSet};
pub use self::shadow::{Shadow, shadows};

use std::sync::Arc;

use self::rule::Paths;
use crate::model::{Access, Decision, Reason, Request, Verdict};

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

    /// The rule that answers the request, for those who want to explain a decision.
    #[must_use]
    pub fn rule_for(&self, request: &Request<'_>) -> Option<&Rule> {
        if request.access == Access::Special {
            return None;
        }
        let paths = Paths::of(request);
        self.rules.iter().find(|rule| rule.matches(request, &paths))
    }

    /// Decides. What no rule speaks about is denied, and so is every special file; deleting and listing are not
    /// for rules to allow, who asks for them gets the answer "no rule".
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        if request.access == Access::Special {
            return Decision { verdict: Verdict::Deny, rule: None, reason: Reason::SpecialFile };
        }
        match self.rule_for(request) {
            Some(rule) => Decision { verdict: rule.verdict, rule: Some(Arc::clone(&rule.name)), reason: Reason::Rule },
            None => Decision { verdict: Verdict::Deny, rule: None, reason: Reason::NoRule },
        }
    }
}
