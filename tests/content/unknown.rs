//! An executable line that nobody knows.

use std::time::Instant;

use crate::arena::{With, arena, line};
use crate::harness::field;
use crate::wheels::Wheel;

/// pip works, the line stays inert, and once somebody has looked at it and approved it, it runs.
#[test]
fn an_unknown_line_is_held_until_it_is_approved() {
    arena(With::default(), |arena| {
        let begin = Instant::now();
        let [open, env] = ["open", "guarded"].map(|name| arena.environment(name));
        println!("environments {:.1?}", begin.elapsed());
        let wheel = Wheel::new("hooked", "1.2").file("hooked.pth", line()).file("hooked.py", "").build("/srv".as_ref());
        open.install(&wheel).result().unwrap();
        assert!(open.runs(), "without a guard the line runs");
        println!("control {:.1?}", begin.elapsed());

        let guarded = arena.guard();
        println!("guard {:.1?}", begin.elapsed());
        env.install(&wheel).result().expect("pip goes on working");
        println!("installed {:.1?}", begin.elapsed());
        let file = env.site.join("hooked.pth");
        match guarded.holds(&file) {
            Ok(record) => {
                println!("{record}");
                let text = record.to_string();
                for word in ["hooked", "import os"] {
                    arena.check(&format!("the record does not say {word:?}: {text}"), text.contains(word));
                }
            }
            Err(problem) => arena.problem(problem),
        }
        let starts = env.start(100);
        arena.check(&format!("the line ran in {} of 100 starts", starts.ran), starts.ran == 0);
        arena.check(&format!("the interpreter complained: {}", starts.said), starts.said.is_empty());
        println!("starts {:.1?}", begin.elapsed());

        match guarded.held() {
            Ok(items) => {
                let listed = items.iter().any(|item| field(item, "path") == file.to_str().unwrap());
                arena.check(&format!("approvals --held does not list it: {items:?}"), listed);
            }
            Err(problem) => arena.problem(problem),
        }
        match guarded.approve(&file) {
            Ok(()) => arena.check("approved, the line runs", env.runs()),
            Err(problem) => arena.problem(problem),
        }
    });
}
