//! Another policy, another mode, while the guard runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Config, SOON, field, records_in};
use crate::keeper::Keeper;
use crate::site::{Done, Place, run, wait_for};

struct Stage {
    keeper: Keeper,
    place: Place,
    config: Config,
}

impl Stage {
    fn new() -> Stage {
        let place = Place::new();
        let config = Config::new(&place).sites(vec![place.venvs[0].site.clone()]);
        let mut keeper = Keeper::new(&config);
        keeper.start(config.command());
        Stage { place, keeper, config }
    }

    /// Have the guard read another policy file, and wait until it is done with that.
    fn reload(&mut self, config: Config) {
        self.config = config;
        self.config.write();
        self.hang_up();
    }

    fn hang_up(&mut self) {
        self.keeper.signal(libc::SIGHUP);
        self.keeper.wait_for("RELOADING=1");
        self.keeper.wait_for("READY=1");
    }

    /// `cp`, which a rule may let in.
    fn copies(&self, site: &Path, name: &str) -> bool {
        let source = self.place.outside.join("source");
        fs::write(&source, "# nothing\n").unwrap();
        run(Command::new("/bin/cp").arg(&source).arg(site.join(name))).status.success()
    }

    fn pthguard(&self, words: &[&str]) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
        run(command.args(words).arg("--config").arg(self.config.home_dir().join("pthguard.toml")))
    }

    fn messages(&self, action: &str) -> Vec<String> {
        let records = records_in(&self.config.events());
        let of_it = records.iter().filter(|record| field(record, "event.action") == action);
        of_it.map(|record| field(record, "pthguard.message").to_owned()).collect()
    }

    fn wait_message(&self, action: &str, word: &str) {
        wait_for(&format!("a record {action} with {word:?}"), SOON, || {
            self.messages(action).iter().any(|message| message.contains(word)).then_some(())
        });
    }
}

fn config(place: &Place) -> Config {
    Config::new(place).sites(vec![place.venvs[0].site.clone()])
}

#[test]
fn rules_are_exchanged_while_it_runs() {
    let mut stage = Stage::new();
    let (pid, site) = (stage.keeper.pid(), stage.place.venvs[0].site.clone());
    assert!(!stage.copies(&site, "a.pth"));
    let allowing = config(&stage.place).allow("cp", "exe = [\"/bin/cp\", \"/usr/bin/cp\"]");
    stage.reload(allowing);
    assert!(stage.copies(&site, "a.pth"));
    let denying = config(&stage.place);
    stage.reload(denying);
    assert!(!stage.copies(&site, "b.pth"));
    assert_eq!(stage.keeper.pid(), pid);
    wait_for("two records of it", SOON, || (stage.messages("reload").len() == 2).then_some(()));
    assert!(stage.messages("takeover").is_empty(), "it need not be executed anew for that");
}

#[test]
fn a_policy_with_faults_changes_nothing() {
    let mut stage = Stage::new();
    let site = stage.place.venvs[0].site.clone();
    let file = stage.config.write();
    for (fault, word) in [
        ("mode = \"enforced\"\n", "enforced"),
        ("[state]\ndir = \"/elsewhere\"\n", "state.dir"),
        ("[log]\njson = \"/dev/null/x\"\n[state]\ndir = \"STATE\"\n", "/dev/null"),
        ("no_rule = \"allow\"\nmode = \"enforce\"\n", "no_rule"),
        ("\u{0}", "toml"),
    ] {
        let text = fault.replace("STATE", stage.config.state().to_str().unwrap());
        fs::write(&file, text).unwrap();
        stage.hang_up();
        wait_for(word, SOON, || {
            stage.messages("failure").iter().any(|message| message.contains(word) || word == "toml").then_some(())
        });
        assert!(!stage.copies(&site, "a.pth"), "{fault}");
        let said = stage.keeper.messages.last().unwrap().clone();
        assert!(said.contains("STATUS=reload: "), "{said}");
    }
    stage.config.write();
    stage.hang_up();
    assert!(!stage.copies(&site, "a.pth"));
}

/// Other directories: the program executes itself anew, and those of before stay guarded meanwhile.
#[test]
fn directories_are_added_and_left_out() {
    let mut stage = Stage::new();
    let Some(second) = stage.place.venvs.get(1).map(|venv| venv.site.clone()) else {
        panic!("blocked: two interpreters are needed");
    };
    let (pid, first) = (stage.keeper.pid(), stage.place.venvs[0].site.clone());
    assert!(stage.copies(&second, "a.pth"));
    let both = Config::new(&stage.place);
    stage.reload(both);
    assert_eq!(stage.keeper.pid(), pid);
    assert!(!stage.copies(&first, "b.pth") && !stage.copies(&second, "b.pth"));
    stage.wait_message("takeover", "took over 6 groups");
    let start = stage.place.start(&stage.place.venvs[0]);
    assert!(start.keep && start.victim && start.clean, "{start:?}");
    let other = Config::new(&stage.place).sites(vec![second.clone()]);
    stage.reload(other);
    assert!(stage.copies(&first, "c.pth") && !stage.copies(&second, "c.pth"));
    assert!(stage.copies(&first, "keep.pth"), "a file of a directory that is guarded no longer");
}

#[test]
fn audit_for_a_while_and_back_by_itself() {
    let mut stage = Stage::new();
    let site = stage.place.venvs[0].site.clone();
    for (words, why) in [(&["mode", "audit"][..], "how long"), (&["mode", "audit", "--for", "0s"], "from 1s")] {
        let done = stage.pthguard(words);
        assert_eq!(done.status.code(), Some(2));
        assert!(done.stderr.contains(why), "{}", done.stderr);
    }
    let begin = Instant::now();
    let done = stage.pthguard(&["mode", "audit", "--for", "2s"]);
    assert!(done.status.success(), "{}", done.stderr);
    assert!(stage.copies(&site, "a.pth"));
    // A policy that is read meanwhile does not end it.
    stage.hang_up();
    assert!(stage.copies(&site, "b.pth"));
    wait_for("it enforces again", SOON, || (!stage.copies(&site, "c.pth")).then_some(()));
    assert!(begin.elapsed() >= Duration::from_secs(2));
    stage.wait_message("mode", "audit for 2 s, then enforce again");
    stage.wait_message("mode", "enforce again, the time of the switch is over");
    // Or by a command.
    assert!(stage.pthguard(&["mode", "audit", "--for", "1h"]).status.success());
    assert!(stage.copies(&site, "d.pth"));
    assert!(stage.pthguard(&["mode", "enforce"]).status.success());
    assert!(!stage.copies(&site, "e.pth"));
    // What came meanwhile is approved by nobody.
    assert!(fs::read(site.join("a.pth")).is_err());
}

#[test]
fn a_mode_needs_a_guard_that_runs() {
    let mut stage = Stage::new();
    stage.keeper.end(libc::SIGTERM);
    stage.keeper.kept.clear();
    let done = stage.pthguard(&["mode", "enforce"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(done.stderr.contains("no guard runs"), "{}", done.stderr);
}
