//! Replicas of what was found in the wild, with payloads that only make a mark.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::arena::{Arena, With, arena};
use crate::attack::{Attack, Spot};
use crate::environment::{Env, tool};
use crate::harness::SOON;
use crate::planted::{line, payload};
use crate::site::{run, wait_for};
use crate::sys::{self, PidFd};
use crate::wheels::Wheel;

/// The size of the file that litellm 1.82.8 brought.
const LITELLM: usize = 34_628;

/// Python code, as the argument of `base64.b64decode`.
fn encoded(code: &str) -> String {
    let encode = "import base64, sys; print(base64.b64encode(sys.argv[1].encode()).decode())";
    run(tool("/usr/bin/python3").args(["-I", "-S", "-c", encode, code])).stdout.trim().to_owned()
}

/// One line that starts an interpreter with a payload of base64 in base64, padded to the size of the original. Unlike
/// it, this one waits, and does not start itself over and over again.
fn litellm() -> Vec<u8> {
    let before = "import os, subprocess, sys; subprocess.run([sys.executable, '-I', '-S', '-c', \"import base64; \
                  exec(base64.b64decode('";
    let behind = "'))\"])\n";
    let inner = encoded(&payload());
    let outer = format!("import base64; exec(base64.b64decode('{inner}'))");
    // Padding goes into a comment of the innermost code: four characters for three.
    let room = LITELLM - before.len() - behind.len();
    let comment = format!("\n#{}", "x".repeat(room / 4 * 3 - outer.len() - 2));
    let mut text = format!("{before}{}{behind}", encoded(&(outer + &comment)));
    text.insert_str(text.len() - 1, &" ".repeat(LITELLM - text.len()));
    assert_eq!(text.len(), LITELLM);
    text.into_bytes()
}

/// A single line of `exec`, which does nothing the second time.
fn hades() -> Vec<u8> {
    format!("import os; exec(\"\"\"if not os.path.exists('/srv/.ran'):\\n    {}\"\"\")\n", payload()).into_bytes()
}

/// The packages of these campaigns, and the same bytes under the same name in a package that has nothing to do with it.
#[test]
fn malicious_wheels() {
    arena(With::default(), |arena| {
        let wheels = [
            (
                "litellm",
                "litellm_init.pth",
                Wheel::new("litellm", "1.82.8").file("litellm/__init__.py", "").file("litellm_init.pth", litellm()),
            ),
            (
                "litellm's bytes elsewhere",
                "litellm_init.pth",
                Wheel::new("innocent", "1.0").file("litellm_init.pth", litellm()),
            ),
            (
                "pyphetools",
                "pyphetools-setup.pth",
                Wheel::new("pyphetools", "0.9.120")
                    .file("pyphetools/__init__.py", "")
                    .file("pyphetools-setup.pth", hades()),
            ),
            (
                "its bytes elsewhere",
                "pyphetools-setup.pth",
                Wheel::new("innocent", "1.0").file("pyphetools-setup.pth", hades()),
            ),
            (
                "under a trusted name",
                "distutils-precedence.pth",
                Wheel::new("setuptools", "84.2.1").file("distutils-precedence.pth", hades()),
            ),
            (
                "data scheme",
                "evil.pth",
                Wheel::new("evil", "1.0").data("data/lib/python3.11/site-packages/evil.pth", line()),
            ),
            ("platlib scheme", "evil.pth", Wheel::new("evil", "1.0").data("platlib/evil.pth", line())),
            (
                "as a script",
                "evil.pth",
                Wheel::new("evil", "1.0").data("data/bin/../lib/python3.11/site-packages/evil.pth", line()),
            ),
        ];
        let attacks: Vec<Attack> = wheels
            .into_iter()
            .map(|(name, file, wheel)| {
                let wheel = wheel.build("/srv".as_ref());
                Attack::new(name, file, move |spot: &Spot| {
                    let done = spot.env.install(&wheel);
                    arena.check(&format!("{name}: pip: {}", done.stderr), done.status.success());
                })
            })
            .collect();
        arena.try_all(|name| arena.environment(&name.replace('\'', "")), &attacks);
    });
}

/// The program that planted UPSTYLE: a script of root's, which writes the file, and writes it again when it is told to end
/// and finds it gone.
struct Upstyle {
    child: Child,
    handle: PidFd,
}

impl Upstyle {
    fn start(target: &Path) -> Upstyle {
        let inner = encoded(&format!("import os, sys\n{}\n", payload()));
        let code = format!("import base64;exec(base64.b64decode(b'{inner}'))\n");
        let script = format!(
            "import os, signal, sys, time\n\
             target, ready, again = sys.argv[1:]\n\
             def plant():\n\
             \x20   try:\n\
             \x20       with open(target, 'wb') as file:\n\
             \x20           file.write({code:?}.encode())\n\
             \x20   except OSError as error:\n\
             \x20       print(error, file=sys.stderr)\n\
             def restore(*_):\n\
             \x20   for _ in range(200):\n\
             \x20       if not os.path.exists(target):\n\
             \x20           plant()\n\
             \x20   open(again, 'w').close()\n\
             \x20   sys.exit()\n\
             plant()\n\
             signal.signal(signal.SIGTERM, restore)\n\
             open(ready, 'w').close()\n\
             while True:\n\
             \x20   signal.pause()\n"
        );
        fs::write("/srv/update.py", script).unwrap();
        for file in ["/srv/ready", "/srv/again"] {
            if Path::new(file).exists() {
                fs::remove_file(file).unwrap();
            }
        }
        let mut python: Command = tool("/usr/bin/python3");
        python.args(["-S", "/srv/update.py"]).arg(target).args(["/srv/ready", "/srv/again"]);
        python.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create("/srv/update.stderr").unwrap());
        let child = sys::die_with_parent(&mut python).spawn().unwrap();
        let handle = PidFd::open(child.id()).unwrap();
        wait_for("the script has planted its file, or tried", SOON, || Path::new("/srv/ready").exists().then_some(()));
        Upstyle { child, handle }
    }

    /// Tell it to end: it plants once more.
    fn terminate(mut self) {
        self.handle.signal(libc::SIGTERM);
        wait_for("the script has planted again, or tried", SOON, || Path::new("/srv/again").exists().then_some(()));
        self.child.wait().unwrap();
    }
}

#[test]
fn upstyle() {
    arena(With::default(), |arena| {
        let site = PathBuf::from("/usr/lib/python3/dist-packages");
        let system = Env { root: "/usr".into(), python: "/usr/bin/python3".into(), site: site.clone() };
        let file = site.join("system.pth");
        let script = Upstyle::start(&file);
        assert!(system.runs(), "without a guard the line runs");
        fs::remove_file(&file).unwrap();
        script.terminate();
        assert!(system.runs(), "it came back");
        fs::remove_file(&file).unwrap();

        let guarded = arena.guard();
        let script = Upstyle::start(&file);
        arena.check("it runs", system.start(5).ran == 0);
        arena.check("it is there", file.symlink_metadata().is_err());
        script.terminate();
        let starts = system.start(5);
        arena.check("it runs after SIGTERM", starts.ran == 0 && starts.failed == 0);
        arena.check("it is there after SIGTERM", file.symlink_metadata().is_err());
        let said = fs::read_to_string("/srv/update.stderr").unwrap();
        let denied = said.lines().filter(|line| line.contains("Operation not permitted")).count();
        arena.check(&format!("each of 201 attempts is denied: {denied}"), denied == 201);
        drop(guarded);
        planted_before(arena, &system);
    });
}

/// What was there before the guard's first start is its baseline, but nothing is found in its absence.
fn planted_before(arena: &Arena, system: &Env) {
    let file = system.site.join("system.pth");
    let guarded = arena.guard();
    let home = guarded.stop();
    Upstyle::start(&file).terminate();
    let guarded = arena.guard_again(home);
    arena.check("planted while the guard was away, it runs", system.start(5).ran == 0);
    arena.check("planted while the guard was away, it is readable", fs::read(&file).is_err());
    drop(guarded);
}
