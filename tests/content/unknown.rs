//! An executable line that nobody knows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::arena::{Arena, With, arena};
use crate::attack::{Attack, Spot};
use crate::environment::{Env, tool};
use crate::guarded::Guarded;
use crate::harness::{SOON, field};
use crate::planted::line;
use crate::site::{run, wait_for};
use crate::sys::{self, PidFd};
use crate::wheels::Wheel;

/// pip works, the line stays inert, and once somebody has looked at it and approved it, it runs.
#[test]
fn an_unknown_line_is_held_until_it_is_approved() {
    arena(With::default(), |arena| {
        let [open, env, other] = ["open", "guarded", "other"].map(|name| arena.environment(name));
        let wheel = hooked();
        open.install(&wheel).result().unwrap();
        assert!(open.runs(), "without a guard the line runs");

        let guarded = arena.guard();
        env.install(&wheel).result().expect("pip goes on working");
        let file = env.site.join("hooked.pth");
        match guarded.holds(&file) {
            Ok(record) => {
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

        match guarded.held() {
            Ok(items) => {
                let listed = items.iter().any(|item| field(item, "path") == file.to_str().unwrap());
                arena.check(&format!("approvals --held does not list it: {items:?}"), listed);
            }
            Err(problem) => arena.problem(problem),
        }
        match guarded.approve(&file) {
            Ok(()) => {
                arena.check("approved, it is not read", fs::read(&file).is_ok());
                arena.check("approved, the line does not run", env.runs());
            }
            Err(problem) => arena.problem(problem),
        }
        // The approval is for this place.
        other.install(&wheel).result().expect("pip goes on working");
        if let Err(problem) = guarded.holds(&other.site.join("hooked.pth")) {
            arena.problem(format!("elsewhere: {problem}"));
        }
        arena.check("approved in one place, it runs in another", !other.runs());
    });
}

/// uv has four ways to put a file into place. `clone` needs a file system that can, and is a copy elsewhere.
#[test]
fn an_unknown_line_by_uv() {
    arena(With { uv: true, ..With::default() }, |arena| {
        let modes = [
            ("hardlink", "hardlink", "/srv"),
            ("copy", "copy", "/srv"),
            ("symlink", "symlink", "/srv"),
            ("clone", "clone", "/srv"),
            ("hardlink from afar", "hardlink", "/run"),
        ];
        let attacks = modes.map(|(name, mode, near)| {
            Attack::new(name, "hooked.pth", move |spot: &Spot| {
                let cache = format!("{near}/cache-{}", spot.env.root.file_name().unwrap().display());
                let done = run(spot.env.uv(mode, &cache).arg(hooked()));
                arena.check(&format!("uv --link-mode {mode}: {}{}", done.stdout, done.stderr), done.status.success());
            })
        });
        arena.try_all(|name| arena.environment(name), &attacks);
    });
}

/// What uv links is its cache's file: that one environment's is held keeps nobody from installing it into another.
#[test]
fn a_held_file_does_not_spoil_the_cache() {
    arena(With { uv: true, ..With::default() }, |arena| {
        let modes = ["hardlink", "symlink"].into_iter().flat_map(|first| [first, "copy"].map(|second| (first, second)));
        let places: Vec<_> = modes
            .map(|(first, second)| {
                let env = |word| arena.environment(&format!("{first}-{second}-{word}"));
                (first, second, env("first"), env("second"))
            })
            .collect();
        let wheel = hooked();
        let guarded = arena.guard();
        for (first, second, one, two) in &places {
            let cache = format!("/srv/cache-{first}-{second}");
            for (mode, env) in [(first, one), (second, two)] {
                let done = run(env.uv(mode, &cache).arg(&wheel));
                let what = format!("{mode}, the cache used by {first} before: {}", done.stderr);
                arena.check(&what, done.status.success());
                // On a busy machine uv may have gone before it is known who linked: then the file is in quarantine.
                let file = env.site.join("hooked.pth");
                if file.symlink_metadata().is_ok()
                    && let Err(problem) = guarded.holds(&file)
                    && file.symlink_metadata().is_ok()
                {
                    arena.problem(format!("{mode} after {first}: {problem}"));
                }
                arena.check(&format!("{mode} after {first}: ran"), env.start(3).ran == 0);
            }
        }
    });
}

/// A package with a line that nobody knows.
fn hooked() -> PathBuf {
    Wheel::new("hooked", "1.2").file("hooked.pth", line()).file("hooked.py", "").build("/srv".as_ref())
}

/// uv links into its cache: who writes there writes into every environment, under a name that is no startup file's
/// directory. The bytes that were approved are not these.
#[test]
fn a_cache_behind_an_approved_file() {
    arena(With { uv: true, ..With::default() }, |arena| {
        fs::create_dir("/srv/extra").unwrap();
        fs::write("/srv/payload", line()).unwrap();
        let wheel = Wheel::new("linked", "1.0").file("linked.pth", "/srv/extra\n").build("/srv".as_ref());
        let ways = [
            ("written", "cat /srv/payload > \"$1\""),
            ("replaced", "cp /srv/payload /srv/uv-x && mv /srv/uv-x \"$1\""),
            (
                "truncated",
                "python3 -S -c 'import os, sys; os.truncate(sys.argv[1], 0)' \"$1\"; cat /srv/payload >> \"$1\"",
            ),
        ];
        let cases = ["hardlink", "symlink"].into_iter().flat_map(|mode| ways.map(|(way, script)| (mode, way, script)));
        let attacks: Vec<(String, &str, &str)> =
            cases.map(|(mode, way, script)| (format!("{mode} {way}"), mode, script)).collect();
        // Replacing the cache's name leaves a hard link as it is: no attack.
        let attacks: Vec<Attack> = attacks
            .iter()
            // And a link that leads to another file is looked at below.
            .filter(|(name, _, _)| !name.ends_with("replaced"))
            .map(|(name, mode, script)| {
                let wheel = wheel.clone();
                Attack::new(name, "linked.pth", move |spot: &Spot| {
                    let cache = format!("{}-cache", spot.env.root.display());
                    run(spot.env.uv(mode, &cache).arg(&wheel)).result().expect("uv goes on working");
                    spot.approved("linked.pth");
                    let cached = run(tool("find").arg(&cache).args(["-name", "linked.pth"])).stdout;
                    let done = run(tool("sh").args(["-c", script, "sh", cached.trim()]));
                    println!("{name}: {} {}", done.status, done.stderr.trim());
                })
            })
            .collect();
        arena.try_all(|name| arena.environment(name), &attacks);
    });
}

/// Where an approved name is a link into uv's cache, another file takes the place of the one that it leads to: the link
/// goes, and the approved bytes stand in its place.
#[test]
fn a_link_leads_to_what_takes_the_place_of_its_target() {
    arena(With { uv: true, ..With::default() }, |arena| {
        fs::create_dir("/srv/extra").unwrap();
        fs::write("/srv/payload", line()).unwrap();
        let wheel = Wheel::new("linked", "1.0").file("linked.pth", "/srv/extra\n").build("/srv".as_ref());
        let env = arena.environment("env");
        let guarded = arena.guard();
        run(env.uv("symlink", "/srv/cache").arg(&wheel)).result().unwrap();
        let file = env.site.join("linked.pth");
        guarded.approves(&file).unwrap();
        let cached = run(tool("find").args(["/srv/cache", "-name", "linked.pth"])).stdout;
        fs::copy("/srv/payload", "/srv/uv-x").unwrap();
        fs::rename("/srv/uv-x", cached.trim()).unwrap();
        arena.check("what took the target's place runs", env.start(5).ran == 0);
        if let Err(problem) = guarded.approves(&file) {
            arena.problem(problem);
        }
        arena.check("the approved bytes are not back", fs::read(&file).is_ok_and(|bytes| bytes == b"/srv/extra\n"));
    });
}

/// A startup file first, then more files than can be written in a moment: the installer is killed between them.
fn interrupted(env: &Env, name: &str, bytes: Vec<u8>, guarded: &Guarded) {
    const FILES: usize = 4000;
    let mut wheel = Wheel::new("interrupted", "1.0").file(name, bytes);
    for number in 0..FILES {
        wheel = wheel.file(format!("interrupted/{number}.txt"), "");
    }
    let wheel = wheel.build("/srv".as_ref());
    let mut pip = env.pip();
    pip.arg("--no-compile").arg(wheel).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = sys::die_with_parent(&mut pip).spawn().unwrap();
    let handle = PidFd::open(child.id()).unwrap();
    // The next file is there, so this one is written and closed.
    let next = env.site.join("interrupted/0.txt");
    wait_for("pip has begun with what comes after the startup file", SOON, || next.exists().then_some(()));
    handle.signal(libc::SIGKILL);
    child.wait().unwrap();
    assert!(env.site.join(name).symlink_metadata().is_ok(), "pip was killed too soon");
    let last = env.site.join(format!("interrupted/{}.txt", FILES - 1));
    assert!(!last.exists(), "pip was killed too late");
    assert!(
        guarded.settled(&env.site.join(name)),
        "nobody judged what was left{}",
        guarded.about(&env.site.join(name))
    );
}

/// What an installer leaves that was killed is judged when it has ended: by its content, and as nobody's.
#[test]
fn what_a_killed_installer_leaves_is_judged() {
    arena(With::default(), |arena| {
        let names = ["code", "path", "known"];
        let [code, path, known] = names.map(|name| arena.environment(name));
        fs::create_dir("/srv/extra").unwrap();
        crate::environment::unpack(&arena.wheel("setuptools==84.2.1"), "/srv/setuptools".as_ref());
        let precedence = fs::read("/srv/setuptools/distutils-precedence.pth").unwrap();
        let guarded = arena.guard();

        interrupted(&code, "left.pth", line().into_bytes(), &guarded);
        if let Err(problem) = guarded.holds(&code.site.join("left.pth")) {
            arena.problem(problem);
        }
        arena.check("what a killed pip left runs", code.start(5).ran == 0);

        interrupted(&path, "left.pth", b"/srv/extra\n".to_vec(), &guarded);
        if let Err(problem) = guarded.approves(&path.site.join("left.pth")) {
            arena.problem(problem);
        }
        arena.check("a path line of a killed pip is not obeyed", path.evaluate("'/srv/extra' in sys.path") == "True");

        // The bytes are known, but no RECORD tells whose they are.
        interrupted(&known, "distutils-precedence.pth", precedence, &guarded);
        if let Err(problem) = guarded.holds(&known.site.join("distutils-precedence.pth")) {
            arena.problem(problem);
        }
    });
}

/// An upgrade from a harmless file to one that is not: the new one is held, and the next upgrade, harmless again, works.
#[test]
fn an_upgrade_turns_bad_and_good_again() {
    arena(With::default(), |arena| {
        for version in ["1.0", "3.0"] {
            fs::create_dir(format!("/srv/extra-{version}")).unwrap();
        }
        let build = |version: &str, text: String| {
            Wheel::new("tool", version).file("tool.pth", text).file("tool.py", "").build("/srv".as_ref())
        };
        let wheels =
            [build("1.0", "/srv/extra-1.0\n".into()), build("2.0", line()), build("3.0", "/srv/extra-3.0\n".into())];
        let env = arena.environment("env");
        let file = env.site.join("tool.pth");
        let guarded = arena.guard();
        env.install(&wheels[0]).result().unwrap();
        arena.check("1.0 is obeyed", obeyed(arena, &guarded, &env, &file, "/srv/extra-1.0"));
        env.install(&wheels[1]).result().unwrap();
        if let Err(problem) = guarded.holds(&file) {
            arena.problem(format!("2.0: {problem}"));
        }
        arena.check("2.0 runs", env.start(5).ran == 0);
        env.install(&wheels[2]).result().unwrap();
        arena.check("3.0 is obeyed", obeyed(arena, &guarded, &env, &file, "/srv/extra-3.0"));
        match guarded.held() {
            Ok(items) => arena.check(&format!("still listed as held: {items:?}"), items.is_empty()),
            Err(problem) => arena.problem(problem),
        }
        run(tool(&env.python).args(["-m", "pip", "uninstall", "-q", "-y", "tool"])).result().unwrap();
        arena.check("pip cannot uninstall", file.symlink_metadata().is_err());
    });
}

fn obeyed(arena: &Arena, guarded: &Guarded, env: &Env, file: &Path, dir: &str) -> bool {
    if let Err(problem) = guarded.approves(file) {
        arena.problem(problem);
    }
    env.evaluate(&format!("{dir:?} in sys.path")) == "True"
}

/// One after the other, quickly: none is forgotten between its arrival and the end of its installer.
#[test]
fn each_of_many_is_judged() {
    arena(With { uv: true, ..With::default() }, |arena| {
        let envs: Vec<Env> = (0..20).map(|number| arena.environment(&format!("many{number}"))).collect();
        let wheel = hooked();
        let guarded = arena.guard();
        for (number, env) in envs.iter().enumerate() {
            let mode = ["symlink", "hardlink"][number % 2];
            run(env.uv(mode, &format!("/srv/cache-{number}")).arg(&wheel)).result().expect("uv goes on working");
        }
        for env in &envs {
            let file = env.site.join("hooked.pth");
            arena.check(&format!("forgotten: {}{}", file.display(), guarded.about(&file)), guarded.settled(&file));
        }
    });
}
