//! How often which rule decided. A policy has at most a thousand of them, and nothing else gets a counter: an attacker
//! cannot invent rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;

use super::counters::OUTCOMES;
use super::record::Outcome;

type Row = [AtomicU64; OUTCOMES.len()];

/// A row for each rule of the policy in force. It is locked for longer than a look-up only when a policy is loaded, and
/// asked for after the answer.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rows: RwLock<BTreeMap<Arc<str>, Row>>,
    /// For rules that have gone: a decision may have been made by the policy before, and what was counted is not lost.
    gone: Row,
}

impl Rules {
    pub(super) fn expect(&self, names: impl IntoIterator<Item = Arc<str>>) {
        let mut rows = self.rows.write();
        let mut before = std::mem::take(&mut *rows);
        rows.extend(names.into_iter().map(|name| {
            let row = before.remove(&name).unwrap_or_default();
            (name, row)
        }));
        for row in before.into_values() {
            for (gone, count) in self.gone.iter().zip(row) {
                gone.fetch_add(count.into_inner(), Relaxed);
            }
        }
    }

    pub(super) fn count(&self, name: &str, outcome: Outcome) {
        let rows = self.rows.read();
        let row = rows.get(name).unwrap_or(&self.gone);
        if let Some(counter) = OUTCOMES.iter().position(|known| *known == outcome).and_then(|column| row.get(column)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn all(&self) -> Vec<(Option<Arc<str>>, [u64; OUTCOMES.len()])> {
        let counts = |row: &Row| row.each_ref().map(|count| count.load(Relaxed));
        let rows = self.rows.read();
        let mut all: Vec<_> = rows.iter().map(|(name, row)| (Some(Arc::clone(name)), counts(row))).collect();
        let gone = counts(&self.gone);
        if gone != [0; OUTCOMES.len()] {
            all.push((None, gone));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<const N: usize>(names: [&str; N]) -> [Arc<str>; N] {
        names.map(Arc::from)
    }

    #[test]
    fn only_rules_of_the_policy_have_a_row() {
        let rules = Rules::default();
        rules.expect(names(["apt", "pip"]));
        rules.count("pip", Outcome::Allow);
        rules.count("pip", Outcome::Deny);
        rules.count("invented", Outcome::WouldDeny);
        let row = |name: &str, counts| (Some(Arc::from(name)), counts);
        assert_eq!(rules.all(), [row("apt", [0; 3]), row("pip", [1, 1, 0]), (None, [0, 0, 1])]);
        rules.expect(names(["pip", "uv"]));
        assert_eq!(rules.all(), [row("pip", [1, 1, 0]), row("uv", [0; 3]), (None, [0, 0, 1])]);
        rules.expect(names(["uv"]));
        assert_eq!(
            rules.all(),
            [row("uv", [0; 3]), (None, [1, 1, 1])],
            "what a rule that has gone came to is not lost"
        );
    }
}
