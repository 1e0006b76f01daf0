//! Attacks, each tried without a guard first.

use crate::arena::Arena;
use crate::environment::Env;
use crate::guarded::Guarded;

/// Interpreter starts after an attack, before everything is judged and once more behind that.
const STARTS: usize = 5;

/// A way to plant code.
pub(crate) struct Attack<'a> {
    pub(crate) name: &'a str,
    /// The file that somebody has to hold, deny or take away, below the site directory.
    pub(crate) file: &'a str,
    pub(crate) plant: Box<dyn Fn(&Spot) + 'a>,
}

impl<'a> Attack<'a> {
    pub(crate) fn new(name: &'a str, file: &'a str, plant: impl Fn(&Spot) + 'a) -> Attack<'a> {
        Attack { name, file, plant: Box::new(plant) }
    }
}

/// Where an attack happens.
pub(crate) struct Spot<'a> {
    pub(crate) env: &'a Env,
    guarded: Option<&'a Guarded>,
}

impl Spot<'_> {
    /// Wait until a file that the attack begins with is approved; without a guard there is nothing to wait for.
    pub(crate) fn approved(&self, file: &str) {
        if let Some(Err(problem)) = self.guarded.map(|guarded| guarded.approves(&self.env.site.join(file))) {
            println!("not what the attack begins with: {problem}");
        }
    }
}

impl Arena {
    /// Try each attack twice, in an environment of its own: without a guard, where the code has to run, and under one that
    /// enforces, where it must not: neither at once nor when everything has been judged.
    pub(crate) fn try_all(&self, make: impl Fn(&str) -> Env, attacks: &[Attack]) {
        let place = |attack: &Attack, kind: &str| make(&format!("{}-{kind}", attack.name.replace([' ', '/'], "-")));
        for attack in attacks {
            let env = place(attack, "open");
            (attack.plant)(&Spot { env: &env, guarded: None });
            let starts = env.start(1);
            self.check(&format!("{}: does not run without a guard: {}", attack.name, starts.said), starts.ran == 1);
        }
        let places: Vec<Env> = attacks.iter().map(|attack| place(attack, "guarded")).collect();
        let mut guarded = self.guard();
        for (attack, env) in attacks.iter().zip(&places) {
            let file = env.site.join(attack.file);
            (attack.plant)(&Spot { env, guarded: Some(&guarded) });
            let soon = env.start(STARTS);
            let settled = guarded.settled(&file);
            let later = env.start(STARTS);
            let about = guarded.about(&file);
            if soon.ran + later.ran > 0 {
                self.problem(format!("{}: RAN {} + {} times{about}", attack.name, soon.ran, later.ran));
            } else if !settled {
                self.problem(format!("{}: did not run, but no record tells why{about}", attack.name));
            }
            if soon.failed + later.failed > 0 {
                self.problem(format!("{}: no interpreter starts any more: {}{}", attack.name, soon.said, later.said));
            }
            if !later.said.is_empty() {
                println!("{}: the interpreter says: {}", attack.name, later.said.trim());
            }
        }
        guarded.guard.assert_alive();
    }
}
