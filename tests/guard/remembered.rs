//! Who is gone when a rename is noticed, and was seen shortly before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Config, Guard, SOON, field};
use crate::site::{Place, Venv, run, wait_for};

const SED: &str = "exe = [\"/usr/bin/sed\"]\nuid = \"any\"";

/// What became of one `sed -i`: the new line is readable, or the old file is back.
fn edit(guard: &Guard, file: &Path, round: usize) -> bool {
    let line = format!("import sys; sys.pthguard_victim = {round}");
    let before = guard.quarantine().len();
    let done = run(Command::new("/usr/bin/sed").args(["-i", &format!("$c{line}")]).arg(file));
    done.result().unwrap_or_else(|error| panic!("sed -i: {error}"));
    wait_for(&format!("the end of edit {round} of {file:?}"), SOON, || {
        if guard.quarantine().len() > before {
            return Some(false);
        }
        fs::read_to_string(file).ok().filter(|text| text.contains(&line)).map(|_| true)
    })
}

fn obeyed(venv: &Venv, round: usize) -> bool {
    let code = "import sys; sys.exit(getattr(sys, 'pthguard_victim', None) != int(sys.argv[1]))";
    run(Command::new(&venv.python).args(["-E", "-s", "-c", code]).arg(round.to_string())).status.success()
}

/// GNU sed writes `sedXXXXXX` in the same directory, renames it and ends at once.
#[test]
fn sed_in_place_is_known_though_it_is_gone() {
    const ROUNDS: usize = 50;
    let place = Place::new();
    let venv = &place.venvs[0];
    let mut guard = Config::new(&place).allow("sed", SED).start();
    let file = venv.site.join("victim.pth");
    let mut refused = 0;
    for round in 101..=100 + ROUNDS {
        if edit(&guard, &file, round) {
            assert!(obeyed(venv, round), "round {round}: approved and not obeyed");
        } else {
            refused += 1;
            wait_for("the old file is back", SOON, || fs::read(&file).ok());
        }
    }
    println!("{refused} of {ROUNDS} edits went to quarantine");
    assert_eq!(refused, 0, "of {ROUNDS} edits by a permitted sed");
    guard.assert_alive();
}

/// In audit mode the same is decided, and nothing is touched.
#[test]
fn audit_mode_knows_sed_too() {
    let place = Place::new();
    let mut guard = Config::new(&place).audit().allow("sed", SED).start();
    let file = place.venvs[0].site.join("victim.pth");
    for round in 101..=120 {
        assert!(edit(&guard, &file, round), "audit mode moves nothing");
        assert!(obeyed(&place.venvs[0], round));
        guard.wait_record("allow", &["rename"], Some("victim.pth"));
    }
    let renames = || -> Vec<_> {
        guard.records().into_iter().filter(|record| field(record, "event.action") == "rename").collect()
    };
    let renames = wait_for("a record of each rename", SOON, || Some(renames()).filter(|renames| renames.len() == 20));
    for record in &renames {
        assert_eq!(field(record, "pthguard.verdict"), "allow", "{record}");
        assert_eq!(field(record, "process.executable"), "/usr/bin/sed", "{record}");
    }
    assert_eq!(guard.quarantine(), Vec::<PathBuf>::new());
    guard.assert_alive();
}

/// Whoever opens and lists nothing in the directory was never at the gate. If it is gone, nobody knows who it was, and a
/// rule that names it does not help: what it brought goes to quarantine.
#[test]
fn who_was_never_at_the_gate_stays_unknown() {
    const ROUNDS: usize = 20;
    let place = Place::new();
    let site = &place.venvs[0].site;
    let rule = "exe = [\"/usr/bin/mv\", \"/usr/bin/ln\"]\nuid = \"any\"";
    let mut guard = Config::new(&place).allow("coreutils", rule).start();
    let mut known = 0;
    for round in 0..ROUNDS {
        let (source, name) = (place.outside.join("source"), format!("new{round}.pth"));
        fs::write(&source, format!("# {round}\n")).unwrap();
        let mut command = Command::new(if round % 2 == 0 { "/usr/bin/mv" } else { "/usr/bin/ln" });
        run(command.arg(&source).arg(site.join(&name))).result().unwrap();
        let record = wait_for("a record of the newcomer", SOON, || {
            let is_it = |record: &Value| {
                ["rename", "link"].contains(&field(record, "event.action"))
                    && field(record, "file.path").ends_with(&name)
            };
            guard.records().into_iter().find(is_it)
        });
        assert!(!field(&record, "pthguard.message").contains("seen"), "{record}");
        match field(&record, "pthguard.verdict") {
            "allow" => known += 1,
            _ => assert_eq!(field(&record, "event.reason"), "unresolved-arrival", "{record}"),
        }
        if round % 2 == 1 {
            fs::remove_file(&source).unwrap();
        }
    }
    println!("{known} of {ROUNDS} were still there when they were looked at");
    guard.assert_alive();
}

/// Thousands that come to the gate and end: the table forgets the oldest, and nothing is kept of them.
#[test]
fn ten_thousand_makers_leave_nothing_behind() {
    const MAKERS: &str = "
import os, sys
for i in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        os.close(os.open(f'{sys.argv[1]}/junk{i % 7}_{os.getpid()}', os.O_WRONLY | os.O_CREAT))
        os._exit(0)
    os.waitpid(pid, 0)
for name in os.listdir(sys.argv[1]):
    if name.startswith('junk'):
        os.unlink(f'{sys.argv[1]}/{name}')
";
    let place = Place::new();
    let venv = &place.venvs[0];
    let mut guard = Config::new(&place).allow("sed", SED).start();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", guard.pid())).unwrap().count();
    let before = descriptors();
    let script = ["-I", "-S", "-c", MAKERS];
    run(Command::new(&venv.interpreter.exe).args(script).arg(&venv.site).arg("10000")).result().unwrap();
    // One descriptor of each remembered process, and a few that are on their way.
    assert!(descriptors() < before + 256 + 64, "{} descriptors, {before} before", descriptors());
    assert!(edit(&guard, &venv.site.join("victim.pth"), 101), "sed is still known");
    guard.assert_alive();
}

/// The number of a permitted process that has ended is given to an attacker, whose rename is noticed when it is gone,
/// too. Numbers can be chosen only in a pid namespace of one's own, so everybody moves there.
#[test]
fn a_number_that_was_given_away_proves_nothing() {
    const ROUNDS: usize = 12;
    const ATTACK: &str = "
import os, subprocess, sys, time
site, evil, payload, pause = sys.argv[1:]
tee = subprocess.Popen(['/usr/bin/tee', site + '/tool.pth'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
tee.communicate(b'# a tool\\n')
time.sleep(float(pause)) # longer than numbers are believed: 8 ms where they end at 32,768, 1 s at 4,194,304
with open(evil, 'w') as file:
    file.write(payload)
with open('/proc/sys/kernel/ns_last_pid', 'w') as last:
    last.write(str(tee.pid - 1))
pid = os.fork()
if pid == 0:
    os.rename(evil, site + '/evil.pth')
    os._exit(0)
os.waitpid(pid, 0)
sys.exit(pid != tee.pid)
";
    let place = Place::new();
    let venv = &place.venvs[0];
    let config = Config::new(&place).allow("tee", "exe = [\"/usr/bin/tee\"]\nuid = \"any\"");
    let inner = config.command();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(inner.get_program()).args(inner.get_args());
    command.env_remove("WATCHDOG_USEC");
    let mut guard = config.start_with(&mut command);
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", guard.pid())).unwrap();
    let (mut done, mut gone) = (0, 0);
    for round in 0..ROUNDS {
        let mut attack = Command::new("nsenter");
        attack.args(["--target", children.trim(), "--pid", "--mount"]).arg(&venv.interpreter.exe);
        attack.args(["-I", "-S", "-c", ATTACK]).arg(&venv.site).arg(place.outside.join("evil"));
        let payload = String::from_utf8(place.payload()).unwrap();
        let attacked = run(attack.arg(format!("{payload}# {round}\n")).arg("1.5"));
        attacked.result().expect("blocked: numbers cannot be chosen (CONFIG_CHECKPOINT_RESTORE)");
        let judged = || -> Vec<Value> {
            let is_it = |record: &Value| {
                field(record, "event.action") == "rename" && field(record, "file.path").ends_with("evil.pth")
            };
            guard.records().into_iter().filter(is_it).collect()
        };
        done += 1;
        let records = wait_for("a record of the rename", SOON, || Some(judged()).filter(|all| all.len() >= done));
        let record = records.last().unwrap();
        assert_eq!(field(record, "pthguard.verdict"), "deny", "{record}");
        assert_ne!(field(record, "process.executable"), "/usr/bin/tee", "{record}");
        gone += usize::from(field(record, "event.reason") == "unresolved-arrival");
        wait_for("evil.pth is gone", SOON, || fs::symlink_metadata(venv.site.join("evil.pth")).err());
    }
    assert!(!place.start(venv).canary);
    println!("{gone} of {ROUNDS} attackers were gone when the rename was noticed");
    assert!(gone > 0, "nobody was gone: nothing was tested");
    guard.assert_alive();
}

/// Renames, then becomes a permitted program and stays: whoever looks at it then sees the permitted program, its inode,
/// its owner, its command line. Once with a permitted program before, too.
#[test]
fn who_becomes_a_permitted_program_after_the_rename_is_not_it() {
    const BECOME: &str = "
import os, sys
source, target, again = sys.argv[1:]
if again == 'before':
    os.execv('/usr/bin/env', ['env', sys.executable, '-S', '-c', os.environ['CODE'], source, target, 'after'])
os.rename(source, target)
os.execv('/usr/bin/tail', ['tail', '-f', '/dev/null'])
";
    let place = Place::new();
    let rules = "exe = [\"/usr/bin/tail\", \"/usr/bin/mv\"]\nuid = \"any\"";
    let guard = Config::new(&place).allow("tool", rules).start();
    let venv = &place.venvs[0];
    let mut doubted = 0;
    for (round, again) in ["after", "before"].iter().cycle().take(20).enumerate() {
        let (source, target) = (place.outside.join("evil.txt"), venv.site.join(format!("evil{round}.pth")));
        fs::write(&source, place.payload()).unwrap();
        let mut command = Command::new(&venv.interpreter.exe);
        command.args(["-S", "-c", BECOME]).env("CODE", BECOME).arg(&source).arg(&target).arg(again);
        let mut process = command.spawn().unwrap();
        wait_for("the newcomer is gone", SOON, || (guard.quarantine().len() > round).then_some(()));
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(target.symlink_metadata().is_err());
        let record = guard.wait_record("deny", &["rename"], Some(&format!("evil{round}.pth")));
        // Seen before it became the program, or after.
        let reason = field(&record, "pthguard.reason");
        assert!(matches!(reason, "no-rule" | "unresolved-arrival"), "{record:#}");
        doubted += usize::from(reason == "unresolved-arrival");
    }
    assert!(doubted > 0, "nobody was looked at too late: nothing was tested");
}
