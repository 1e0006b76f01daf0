//! What was answered, and why.

use std::sync::Arc;

use super::{Failure, Verdict};

/// Why a decision is what it is. The words are part of the audit record's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A rule of the policy matched.
    Rule,
    /// No rule matched, and what no rule allows is denied.
    NoRule,
    /// A rule speaks about this program, and the process may not be that program.
    Distrusted(Distrust),
    /// The bytes are approved under that name in that directory.
    Approved,
    /// The bytes are not approved under that name in that directory.
    NotApproved,
    /// A permitted writer brought them, but they go beyond what its rule lets in: they wait for an approval.
    Held,
    /// The file is larger than `protect.max_size` and is never approved.
    TooLarge,
    /// A permitted writer, or one that cannot be ruled out, still has the file open: its content is not final.
    NotFinal,
    /// FIFO, socket or device under a startup name.
    SpecialFile,
    /// Symbolic links or special files that nobody approved came to the directory a moment ago: nobody lists it.
    Unrest,
    /// No decision could be made; the configured action for that failure was taken.
    Failure(Failure),
}

impl Reason {
    /// Every reason, for tables and counters.
    pub const ALL: [Reason; 9 + Distrust::ALL.len() + Failure::ALL.len()] = {
        let mut all = [Reason::Rule; 9 + Distrust::ALL.len() + Failure::ALL.len()];
        all[1] = Reason::NoRule;
        all[2] = Reason::Approved;
        all[3] = Reason::NotApproved;
        all[4] = Reason::Held;
        all[5] = Reason::TooLarge;
        all[6] = Reason::NotFinal;
        all[7] = Reason::SpecialFile;
        all[8] = Reason::Unrest;
        let mut at = 0;
        while at < Distrust::ALL.len() {
            all[9 + at] = Reason::Distrusted(Distrust::ALL[at]);
            at += 1;
        }
        at = 0;
        while at < Failure::ALL.len() {
            all[9 + Distrust::ALL.len() + at] = Reason::Failure(Failure::ALL[at]);
            at += 1;
        }
        all
    };

    /// Whether the policy itself has spoken about the process: not the state of a file, and not that something could not
    /// be found out.
    #[must_use]
    pub fn is_judgement(self) -> bool {
        match self {
            Reason::Rule | Reason::NoRule | Reason::Distrusted(_) | Reason::SpecialFile => true,
            Reason::Approved
            | Reason::NotApproved
            | Reason::Held
            | Reason::TooLarge
            | Reason::NotFinal
            | Reason::Unrest
            | Reason::Failure(_) => false,
        }
    }

    /// The word used in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Rule => "rule",
            Reason::NoRule => "no-rule",
            Reason::Distrusted(distrust) => distrust.as_str(),
            Reason::Approved => "approved",
            Reason::NotApproved => "not-approved",
            Reason::Held => "held",
            Reason::TooLarge => "too-large",
            Reason::NotFinal => "not-final",
            Reason::SpecialFile => "special-file",
            Reason::Unrest => "unrest",
            Reason::Failure(failure) => failure.as_str(),
        }
    }
}

/// Why a process does not count as the program that it seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distrust {
    /// Its executable or script is not the file of that path in the daemon's mount namespace.
    NotAtPath,
    /// It lives in another user namespace.
    UserNamespace,
    /// Another process traces it.
    Traced,
    /// Its executable or script could have been written by somebody who has no say in the site directory.
    ProgramWritable,
    /// Its environment loads code from outside of the program.
    LoaderEnvironment,
    /// Code is mapped in it that somebody could have written who has no say in the site directory.
    ForeignCode,
}

impl Distrust {
    /// All of them.
    pub const ALL: [Distrust; 6] = [
        Distrust::NotAtPath,
        Distrust::UserNamespace,
        Distrust::Traced,
        Distrust::ProgramWritable,
        Distrust::LoaderEnvironment,
        Distrust::ForeignCode,
    ];

    /// The word used in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Distrust::NotAtPath => "not-at-path",
            Distrust::UserNamespace => "user-namespace",
            Distrust::Traced => "traced",
            Distrust::ProgramWritable => "program-writable",
            Distrust::LoaderEnvironment => "loader-environment",
            Distrust::ForeignCode => "foreign-code",
        }
    }

    /// The same as a clause.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Distrust::NotAtPath => "its executable or script is not the file of that path in the daemon's namespace",
            Distrust::UserNamespace => "it lives in another user namespace",
            Distrust::Traced => "another process traces it",
            Distrust::ProgramWritable => {
                "somebody else than root or the site directory's owner can change its executable or script"
            }
            Distrust::LoaderEnvironment => "its environment (LD_PRELOAD, PYTHONPATH or the like) brings other code in",
            Distrust::ForeignCode => "code runs in it that is not root's nor the site directory's owner's",
        }
    }
}

/// Verdict, rule and reason.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// The rule that matched, by name; with [`Reason::Distrusted`], the one that would have.
    pub rule: Option<Arc<str>>,
    /// Why.
    pub reason: Reason,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: HashSet<&str> = Reason::ALL.into_iter().map(Reason::as_str).collect();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
