//! The decision: a request held against the rules, the first that matches answers.
//!
//! * Owns: the compiled rules and what it means for one to match.
//! * Must not: do I/O, look at the clock, allocate for a decision. Which rules are *sensible* is for `config` to say.
//! * Hands to: whoever asks, a [`Decision`] with the rule's name and the reason.
//!
//! ```text
//! special file ──▶ deny        whatever the rules say
//! rule 1, 2, 3 … ──▶ its verdict   access, file, extension, path, os, uid, exe, script or module, sites, scope, parent
//!                                  must all match, for a deny rule none of its exceptions;
//!                                  for an allow rule the process must also be what it seems to be
//! none ──▶ deny, or `no_rule` of a policy that only reports
//! ```

#![forbid(unsafe_code)]

mod access;
mod explain;
mod glob;
mod pattern;
#[cfg(test)]
mod reporting_tests;
mod rule;
mod shadow;
#[cfg(test)]
mod tests;
mod trust;

pub use self::access::AccessSet;
pub use self::glob::{GlobError, PathGlob, is_interpreter};
pub use self::pattern::{Pattern, PatternError};
pub use self::rule::{Except, Mismatch, Place, Rule, Scope, UidSet};
pub use self::shadow::{Shadow, shadows};
pub use self::trust::{Environment, Owner};

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use self::rule::Paths;
use crate::model::{Access, ContentSet, Decision, Program, Reason, Request, Verdict};

/// The rules, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    no_rule: NoRule,
}

/// What is answered where no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRule {
    /// Deny: who is not named is not let in.
    Deny,
    /// Allow: what deny rules name is reported, nothing else. Such a policy protects nobody and cannot be enforced.
    Allow,
}

impl NoRule {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NoRule::Deny => "deny",
            NoRule::Allow => "allow",
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            NoRule::Deny => Verdict::Deny,
            NoRule::Allow => Verdict::Allow,
        }
    }
}

/// Rules name the same programs again and again (`[programs]`; of 379 globs with wildcards in the built-in policy 89 are
/// different ones): what is equal is kept once.
fn share_globs(rules: &mut [Rule]) {
    let mut known: HashMap<Box<str>, PathGlob> = HashMap::new();
    for rule in rules {
        let globs = rule.exe.iter_mut().chain(&mut rule.path).filter_map(Pattern::glob_mut);
        for glob in globs.chain(&mut rule.script).chain(&mut rule.sites) {
            *glob = known.entry(glob.as_str().into()).or_insert_with(|| glob.clone()).clone();
        }
    }
}

impl Policy {
    /// A policy of these rules; the first that matches decides.
    #[must_use]
    pub fn new(mut rules: Vec<Rule>) -> Self {
        share_globs(&mut rules);
        Policy { rules, no_rule: NoRule::Deny }
    }

    /// The same rules, with another answer where none matches.
    #[must_use]
    pub fn otherwise(self, no_rule: NoRule) -> Self {
        Policy { no_rule, ..self }
    }

    /// What is answered where no rule matches.
    #[must_use]
    pub fn no_rule(&self) -> NoRule {
        self.no_rule
    }

    /// The rules, in the order in which they are asked.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The globs of all executables that rules name, each once.
    #[must_use]
    pub fn executables(&self) -> Vec<String> {
        let globs = self.rules.iter().flat_map(|rule| &rule.exe).filter_map(Pattern::glob);
        let globs: BTreeSet<&str> = globs.map(PathGlob::as_str).collect();
        globs.into_iter().map(str::to_owned).collect()
    }

    /// What a rule lets its writers bring. Of those whom no rule names: nothing, unless they are let in all the same.
    #[must_use]
    pub fn content_of(&self, rule: &str) -> ContentSet {
        let unnamed = match self.no_rule {
            NoRule::Deny => ContentSet::EMPTY,
            NoRule::Allow => ContentSet::ANY,
        };
        self.rules.iter().find(|known| &*known.name == rule).map_or(unnamed, |rule| rule.content)
    }

    /// The number of a rule: its place among those that are asked, from 1 on, which `pthguard check` prints; 0 for none.
    #[must_use]
    pub fn number_of(&self, rule: &str) -> u32 {
        let place = self.rules.iter().position(|known| &*known.name == rule);
        place.and_then(|place| u32::try_from(place + 1).ok()).unwrap_or(0)
    }

    /// Whether some rule that may speak about a process of this program asks what started it.
    #[must_use]
    pub fn asks_for_parent_of(&self, exe: &Program) -> bool {
        self.rules.iter().any(|rule| !rule.parent.is_empty() && rule.may_name(exe))
    }

    /// Every rule with the first of its conditions that the request does not meet; `None` for one that it meets.
    pub fn checked<'a>(&'a self, request: &Request<'a>) -> impl Iterator<Item = (&'a Rule, Option<Mismatch>)> {
        let paths = Paths::of(request);
        let request = *request;
        self.rules.iter().map(move |rule| (rule, rule.check(&request, &paths, &self.rules).err()))
    }

    /// Decides. What no rule speaks about is denied, and so is every special file, unless the policy only reports; deleting
    /// and listing are not for rules to allow, who asks for them gets the answer "no rule".
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        if request.access == Access::Special && self.no_rule == NoRule::Deny {
            return Decision { verdict: Verdict::Deny, rule: None, reason: Reason::SpecialFile };
        }
        let mut decision = Decision { verdict: self.no_rule.verdict(), rule: None, reason: Reason::NoRule };
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
