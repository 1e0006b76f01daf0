//! Any sequence of changes, with restarts in between, against what a few maps say.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Approve(u8, u8, u8),
    Revoke(u8, u8),
    Hold(u8, u8, u8),
    Release(u8, u8),
    Everywhere(u8, u8),
    Nowhere(u8, Option<u8>),
    Restart,
    /// Half a line at the end, as a loss of power leaves it.
    Cut,
}

fn act() -> impl Strategy<Value = Act> {
    let few = || 0..3_u8;
    prop_oneof![
        4 => (few(), few(), few()).prop_map(|(at, name, bytes)| Act::Approve(at, name, bytes)),
        2 => (few(), few()).prop_map(|(at, name)| Act::Revoke(at, name)),
        4 => (few(), few(), few()).prop_map(|(at, name, bytes)| Act::Hold(at, name, bytes)),
        1 => (few(), few()).prop_map(|(at, name)| Act::Release(at, name)),
        2 => (few(), few()).prop_map(|(name, bytes)| Act::Everywhere(name, bytes)),
        1 => (few(), proptest::option::of(few())).prop_map(|(name, bytes)| Act::Nowhere(name, bytes)),
        1 => Just(Act::Restart),
        1 => Just(Act::Cut),
    ]
}

#[derive(Debug, Default)]
struct Model {
    approved: BTreeMap<(u8, u8), u8>,
    held: BTreeMap<(u8, u8), u8>,
    everywhere: BTreeSet<(u8, u8)>,
}

fn name(number: u8) -> OsString {
    // One of them is not UTF-8.
    OsStr::from_bytes([b"a.pth".as_slice(), b"\xff.pth", b"c.start"][usize::from(number)]).to_owned()
}

fn place(number: u8) -> Directory {
    Directory { path: format!("/srv/{number}").into(), handle: format!("1:{number:02x}") }
}

impl Model {
    fn apply(&mut self, act: &Act) {
        match *act {
            Act::Approve(at, name, bytes) => {
                self.approved.insert((at, name), bytes);
                self.held.remove(&(at, name));
            }
            Act::Revoke(at, name) => _ = self.approved.remove(&(at, name)),
            Act::Hold(at, name, bytes) => _ = self.held.insert((at, name), bytes),
            Act::Release(at, name) => _ = self.held.remove(&(at, name)),
            Act::Everywhere(name, bytes) => {
                if self.everywhere.insert((name, bytes)) {
                    self.held.retain(|(_, held), what| (*held, *what) != (name, bytes));
                }
            }
            Act::Nowhere(name, bytes) => {
                self.everywhere.retain(|(known, what)| *known != name || bytes.is_some_and(|bytes| *what != bytes));
            }
            Act::Restart | Act::Cut => {}
        }
    }

    fn check(&self, store: &Approvals) {
        assert_eq!(store.len(), self.approved.len() + self.everywhere.len());
        assert_eq!(store.list().len(), store.len());
        assert_eq!(store.held().len(), self.held.len());
        for (at, number, bytes) in (0..27).map(|all: u8| (all / 9, all / 3 % 3, all % 3)) {
            let (id, sha256) = (store.directory(&place(at)), Sha256::of(&[bytes]));
            let is_here = self.approved.get(&(at, number)) == Some(&bytes);
            let is_everywhere = self.everywhere.contains(&(number, bytes));
            assert_eq!(store.is_approved(id, &name(number), sha256), is_here || is_everywhere);
            assert_eq!(store.is_approved_everywhere(&name(number), sha256), is_everywhere);
            let is_anywhere = (0..3).any(|at| self.approved.get(&(at, number)) == Some(&bytes));
            assert_eq!(store.is_approved_anywhere(&name(number), sha256), is_anywhere || is_everywhere);
            let held = store.get_held(id, &name(number)).and_then(|held| held.sha256);
            assert_eq!(held, self.held.get(&(at, number)).map(|bytes| Sha256::of(&[*bytes])));
            if is_here {
                assert_eq!(store.bytes(sha256).unwrap(), [bytes]);
            }
        }
    }
}

fn carry_out(mut store: Approvals, state: &Path, act: &Act) -> Approvals {
    let id = |store: &Approvals, at| store.directory(&place(at));
    match *act {
        Act::Approve(at, number, bytes) => {
            store.approve(id(&store, at), &name(number), &[bytes], approval(&[bytes])).unwrap();
        }
        Act::Revoke(at, number) => _ = store.revoke(id(&store, at), &name(number)).unwrap(),
        Act::Hold(at, number, bytes) => _ = store.hold(id(&store, at), &name(number), held(&[bytes])).unwrap(),
        Act::Release(at, number) => _ = store.release(id(&store, at), &name(number)).unwrap(),
        Act::Everywhere(number, bytes) => {
            store.approve_everywhere(&name(number), Sha256::of(&[bytes]), Origin::Found).unwrap();
        }
        Act::Nowhere(number, bytes) => {
            store.revoke_everywhere(&name(number), bytes.map(|bytes| Sha256::of(&[bytes]))).unwrap();
        }
        Act::Restart | Act::Cut => {
            drop(store);
            if matches!(act, Act::Cut) {
                let path = state.join("approvals.ndjson");
                let mut text = fs::read(&path).unwrap();
                text.extend(b"{\"approve\":{\"file\"");
                fs::write(&path, text).unwrap();
            }
            store = Approvals::open(state).unwrap();
        }
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn memory_and_disk_say_what_was_done(acts in proptest::collection::vec(act(), 0..40)) {
        let (_dir, state) = state();
        prepare_directory(&state).unwrap();
        let mut store = Approvals::open(&state).unwrap();
        store.baseline_complete().unwrap();
        let mut model = Model::default();
        for act in &acts {
            store = carry_out(store, &state, act);
            model.apply(act);
            model.check(&store);
        }
        drop(store);
        model.check(&Approvals::open(&state).unwrap());
    }
}
