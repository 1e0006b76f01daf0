//! `x.pth` and `x.start`, with a real CPython 3.15: a `.start` file, even an empty one, switches the `import` lines of the
//! `.pth` of the same name off, and one that cannot be opened counts as absent, which switches them on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::arena::{Arena, With, arena};
use crate::environment::{Env, tool};
use crate::guarded::Guarded;
use crate::harness::{SOON, field};
use crate::planted::payload;
use crate::site::{run, wait_for};
use crate::wheels::Wheel;

const PYTHON315: With = With { python315: true, uv: false };

/// What the line of `sensor.pth` leaves behind.
const SENSOR: &str = "getattr(sys, 'sensor', 0)";

/// An environment with a startup file that somebody relies on.
fn with_sensor(arena: &Arena, name: &str) -> Env {
    let env = arena.environment315(name);
    fs::write(env.site.join("sensor.pth"), "import sys; sys.sensor = 1\n").unwrap();
    fs::write(env.site.join("planted.py"), format!("def run():\n    {}\n", payload())).unwrap();
    env
}

/// One way to bring `sensor.start`, with these bytes.
type Bring = fn(&Env, &str);

fn by_sh(env: &Env, text: &str) {
    run(tool("sh").args(["-c", "printf %s \"$1\" > sensor.start", "sh", text]).current_dir(&env.site));
}

fn outside(env: &Env, text: &str) -> PathBuf {
    let file = env.root.join("source");
    fs::write(&file, text).unwrap();
    file
}

fn by_mv(env: &Env, text: &str) {
    run(tool("mv").arg(outside(env, text)).arg(env.site.join("sensor.start")));
}

fn by_ln(env: &Env, text: &str) {
    run(tool("ln").arg(outside(env, text)).arg(env.site.join("sensor.start")));
}

fn by_symlink(env: &Env, text: &str) {
    run(tool("ln").arg("-s").arg(outside(env, text)).arg(env.site.join("sensor.start")));
}

/// A wheel of another package, which pip may install.
fn by_pip(env: &Env, text: &str) {
    let wheel = Wheel::new("other", "1.0").file("sensor.start", text).build("/srv".as_ref());
    let done = run(env.pip().arg("--no-compile").arg(wheel));
    if !done.status.success() {
        println!("pip: {}", done.stderr);
    }
}

const WAYS: &[(&str, Bring)] = &[("sh", by_sh), ("mv", by_mv), ("ln", by_ln), ("symlink", by_symlink), ("pip", by_pip)];

/// Neither an entry point nor an empty file, whoever brings it: it does not run, and what was approved goes on.
#[test]
fn an_unapproved_start_neither_runs_nor_switches_off() {
    arena(PYTHON315, |arena| {
        let texts = [("entry", "planted:run\n"), ("empty", ""), ("comment", "# nothing\n")];
        let cases: Vec<_> = WAYS.iter().flat_map(|way| texts.map(|text| (*way, text))).collect();
        for (word, text) in texts {
            let env = with_sensor(arena, &format!("open-{word}"));
            arena.check("the sensor works", env.evaluate(SENSOR) == "1");
            by_sh(&env, text);
            arena.check(&format!("without a guard {word} switches off"), env.evaluate(SENSOR) == "0");
            arena.check(&format!("without a guard {word} runs"), env.runs() == (word == "entry"));
        }
        let place = |(way, _): (&str, Bring), (word, _): (&str, &str)| with_sensor(arena, &format!("{way}-{word}"));
        let places: Vec<Env> = cases.iter().map(|(way, text)| place(*way, *text)).collect();
        let mut guarded = arena.guard();
        for (((way, bring), (word, text)), env) in cases.into_iter().zip(&places) {
            bring(env, text);
            let soon = env.evaluate(SENSOR);
            guarded.settled(&env.site.join("sensor.start"));
            let (later, starts) = (env.evaluate(SENSOR), env.start(3));
            let about = guarded.about(&env.site.join("sensor.start"));
            arena.check(&format!("{word} by {way} ran{about}"), starts.ran == 0);
            arena.check(&format!("{word} by {way} switched off: {soon}, {later}{about}"), later == "1");
            if soon != "1" {
                println!("{word} by {way}: switched off until it was noticed");
            }
        }
        guarded.guard.assert_alive();
    });
}

/// The real coverage, and a wheel that would blind it.
#[test]
fn another_packages_empty_start_does_not_blind_coverage() {
    arena(PYTHON315, |arena| {
        let coverage = "coverage==7.17.3";
        let wheel = arena.wheel_for(coverage, "cp315");
        let evil = Wheel::new("other", "1.0").file("a1_coverage.start", "").build("/srv".as_ref());
        let [open, env] = ["open", "env"].map(|name| arena.environment315(name));
        let measured = |env: &Env| {
            let code = "import sys; print('coverage' in sys.modules)";
            let mut python = tool(&env.python);
            run(python.env("COVERAGE_PROCESS_START", "/dev/null").current_dir("/srv").args(["-c", code])).stdout
        };
        open.install(&wheel).result().unwrap();
        arena.check("coverage measures", measured(&open).contains("True"));
        open.install(&evil).result().unwrap();
        arena.check("without a guard it is blinded", measured(&open).contains("False"));

        let guarded = arena.guard();
        env.install(&wheel).result().unwrap();
        if let Err(problem) = guarded.approves(&env.site.join("a1_coverage.pth")) {
            arena.problem(problem);
        }
        arena.check("coverage measures under the guard", measured(&env).contains("True"));
        env.install(&evil).result().unwrap();
        guarded.settled(&env.site.join("a1_coverage.start"));
        let about = guarded.about(&env.site.join("a1_coverage.start"));
        arena.check(&format!("coverage is blinded: {}{about}", measured(&env)), measured(&env).contains("True"));
    });
}

/// An environment with a pair: CPython 3.15 is meant to use the entry point only, the line is for older ones. Here the line
/// is what must not run.
fn with_pair(arena: &Arena, name: &str) -> Env {
    let env = arena.environment315(name);
    fs::write(env.site.join("pair.pth"), format!("import os; {}\n", payload())).unwrap();
    fs::write(env.site.join("pair.start"), "honest:run\n").unwrap();
    fs::write(env.site.join("honest.py"), "import sys\ndef run():\n    sys.honest = 1\n").unwrap();
    env
}

/// What takes the `.start` file out of the way, for an interpreter of root's; and whether the guard puts it back. What
/// is changed in place or built over stays unreadable, and so does the `.pth` beside it.
const REMOVALS: &[(&str, &str, bool)] = &[
    ("unlink", "rm pair.start", true),
    ("rename", "mv pair.start pair.gone", true),
    ("rename out", "mv pair.start ../pair.start", true),
    ("replace", "printf 'nothing:nothing\\n' > x && mv x pair.start", true),
    ("link over", "ln -sf /nonexistent pair.start", true),
    ("truncate", "/usr/bin/python3 -S -c 'import os; os.truncate(\"pair.start\", 0)'", false),
    ("directory", "rm pair.start && mkdir pair.start", false),
];

#[test]
fn an_approved_start_that_goes_comes_back() {
    arena(PYTHON315, |arena| {
        for (name, script, _) in REMOVALS {
            let env = with_pair(arena, &format!("open {name}").replace(' ', "-"));
            arena.check(&format!("{name}: the line is switched off"), env.start(1).ran == 0);
            run(tool("sh").args(["-c", script]).current_dir(&env.site));
            let ran = env.start(1).ran;
            println!("{name}: without a guard the line runs {ran} times");
        }
        let places: Vec<Env> =
            REMOVALS.iter().map(|(name, ..)| with_pair(arena, &format!("guarded {name}").replace(' ', "-"))).collect();
        let mut guarded = arena.guard();
        for ((name, script, comes_back), env) in REMOVALS.iter().zip(&places) {
            removed(arena, &guarded, (name, script, *comes_back), env);
        }
        guarded.guard.assert_alive();
    });
}

fn removed(arena: &Arena, guarded: &Guarded, (name, script, comes_back): (&str, &str, bool), env: &Env) {
    let file = env.site.join("pair.start");
    let honest = "getattr(sys, 'honest', 0)";
    arena.check(&format!("{name}: the pair works"), env.evaluate(honest) == "1" && env.start(1).ran == 0);
    for round in 0..5 {
        let done = run(tool("sh").args(["-c", script]).current_dir(&env.site));
        if round == 0 {
            println!("{name}: {} {}", done.status, done.stderr.trim());
        }
        let starts = env.start(3);
        if starts.ran > 0 {
            arena.problem(format!("{name}: the line RAN {} times{}", starts.ran, guarded.about(&file)));
            return;
        }
        if !comes_back {
            let later = env.start(10);
            arena.check(&format!("{name}: the line ran {} times later", later.ran), later.ran == 0);
            return;
        }
        let deadline = std::time::Instant::now() + SOON / 2;
        while fs::read(&file).ok().as_deref() != Some(b"honest:run\n") {
            if std::time::Instant::now() > deadline {
                arena.problem(format!("{name}: the file did not come back{}", guarded.about(&file)));
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    // Links that come again and again have the directory's listing refused for a while.
    let deadline = std::time::Instant::now() + 3 * SOON;
    while env.evaluate(honest) != "1" && std::time::Instant::now() < deadline {}
    arena.check(&format!("{name}: the pair works again"), env.evaluate(honest) == "1" && env.start(1).ran == 0);
}

/// An ordinary user's interpreter counts a file that it may not open as absent. Who may change the mode need not write.
#[test]
fn a_mode_does_not_switch_on_what_was_off() {
    arena(PYTHON315, |arena| {
        use std::os::unix::process::CommandExt;
        let user = |env: &Env| {
            env.start_with(3, |python| {
                python.uid(61_234).gid(61_234).env("HOME", "/nonexistent");
            })
        };
        run(tool("chmod").args(["1777", "/srv"])).result().unwrap();
        let [open, env] = ["open", "env"].map(|name| with_pair(arena, name));
        let hide = |env: &Env| run(tool("chmod").arg("000").arg(env.site.join("pair.start"))).result().unwrap();
        arena.check("the line is switched off", user(&open).ran == 0);
        hide(&open);
        arena.check("without a guard the line runs", user(&open).ran > 0);
        let guarded = arena.guard();
        hide(&env);
        let soon = user(&env);
        arena.check(&format!("the line ran{}", guarded.about(&env.site.join("pair.start"))), soon.ran == 0);
    });
}

/// What its installer takes away stays away.
#[test]
fn an_installer_takes_a_pair_away() {
    arena(PYTHON315, |arena| {
        let wheel = arena.wheel("autowrapt==2.0.0");
        let env = arena.environment315("env");
        let guarded = arena.guard();
        env.install(&wheel).result().unwrap();
        let files = ["autowrapt-init.pth", "autowrapt-init.start"].map(|name| env.site.join(name));
        for file in &files {
            if let Err(problem) = guarded.approves(file) {
                arena.problem(problem);
            }
        }
        let mut pip = tool(&env.python);
        run(pip.args(["-m", "pip", "uninstall", "-q", "-y", "autowrapt"])).result().unwrap();
        for file in &files {
            let path = file.to_str().unwrap();
            wait_for(&format!("the record of the deletion of {path}"), SOON, || {
                let deleted =
                    |r: &serde_json::Value| field(r, "event.action") == "deletion" && field(r, "file.path") == path;
                guarded.guard.records().iter().any(deleted).then_some(())
            });
        }
        let back = |file: &Path| file.symlink_metadata().is_ok();
        arena.check("a pair that pip removed came back", !files.iter().any(|file| back(file)));
    });
}
