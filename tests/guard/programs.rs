//! What an interpreter runs, and who started it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::harness::Config;
use crate::site::{Interpreter, Venv};
use crate::stage::{EVERYBODY, RULE, Stage, USER, as_root, as_user, own, set_mode, system_python};

const WRITE: &str = "import sys; open(sys.argv[-1], 'xb').write(open(sys.argv[-2], 'rb').read())\n";

fn rule_for(scripts: &[&Path]) -> String {
    format!("exe = [{:?}]\nscript = {scripts:?}\nuid = \"any\"", system_python())
}

/// A rule for a script lets in the script, not everything that the interpreter runs.
#[test]
fn impostors_of_a_script() {
    let stage = Stage::new();
    let python = system_python();
    let pip = stage.script(&stage.path("bin/pip"), WRITE);
    let elsewhere = stage.script(&stage.home.join("elsewhere/pip"), WRITE);
    stage.script(&stage.home.join("elsewhere/pip.py"), WRITE);
    stage.script(&stage.home.join("directory/bin/pip/__main__.py"), WRITE);
    let linked = stage.dir("linked/bin").join("pip");
    symlink(&elsewhere, &linked).unwrap();
    let (directory, glob) = (stage.home.join("directory/bin/pip"), stage.path("*/bin/pip"));
    own(&directory, USER);
    let trial = stage.guard(&rule_for(&[&pip, &glob, &directory]));
    trial.honest("root's script", as_root(&python).arg(&pip));
    trial.honest("root's script, run by the user", as_user(&python).arg(&pip));
    trial.honest(
        "by its shebang",
        &mut as_user(stage.script(&stage.path("bin/pip"), &format!("#!{}\n{WRITE}", python.display()))),
    );
    let mut relative = as_user(&python);
    trial.honest("by a relative path", relative.arg("./pip").current_dir(stage.path("bin")));

    let no_rule = ["no-rule"];
    trial.refused("-c", &no_rule, as_user(&python).args(["-c", WRITE]).arg(&pip));
    let mut stdin = as_user("sh");
    stdin.args(["-c", "exec \"$0\" - \"$@\" < \"$SCRIPT\""]).env("SCRIPT", &elsewhere).arg(&python).arg(&pip);
    trial.refused("standard input", &no_rule, &mut stdin);
    let mut device = as_user("sh");
    device.args(["-c", "exec \"$0\" /dev/stdin \"$@\" < \"$SCRIPT\""]).env("SCRIPT", &elsewhere).arg(&python);
    trial.refused("/dev/stdin", &no_rule, &mut device);
    trial.refused("the same name elsewhere", &no_rule, as_user(&python).arg(&elsewhere));
    trial.refused("a symbolic link to elsewhere", &no_rule, as_user(&python).arg(&linked));
    trial.refused(
        "a module of that name",
        &no_rule,
        as_user(&python).args(["-m", "pip"]).current_dir(elsewhere.parent().unwrap()),
    );
    let words = ["no-rule", "not-at-path", "program-writable"];
    trial.refused("a directory of that name", &words, as_user(&python).arg(&directory));
    trial.finish();
}

/// A limit: the command line that /proc shows is the process's own memory. Without an executable of its own an installer
/// can be impersonated by whoever may run its interpreter as the user that the rule names.
#[test]
fn limit_an_interpreter_shows_any_command_line() {
    // Field 48 of stat is where the arguments begin; 45 from the state on.
    const FORGE: &str = "
import sys
start = int(open('/proc/self/stat').read().rsplit(') ', 1)[1].split()[45])
with open('/proc/self/mem', 'r+b', buffering=0) as memory:
    memory.seek(start)
    memory.write(b'python3\\0' + sys.argv[1].encode() + b'\\0')
";
    let stage = Stage::new();
    let python = system_python();
    let pip = stage.script(&stage.path("bin/pip"), WRITE);
    let trial = stage.guard(&rule_for(&[&pip]));
    for as_whom in EVERYBODY {
        let mut command = as_whom(&python);
        trial.not_told_apart("-c", command.arg("-c").arg(format!("{FORGE}{WRITE}")).arg(&pip));
    }
    // The same without a word of a lie: what the command line names is looked up when the script has changed it.
    let elsewhere =
        stage.script(&stage.home.join("pip"), &format!("import os; os.chdir({:?})\n{WRITE}", pip.parent().unwrap()));
    trial.not_told_apart("a relative path", as_user(&python).arg("pip").current_dir(&stage.home));
    let turned = stage.home.join("turned");
    symlink(&elsewhere, &turned).unwrap();
    stage.script(&elsewhere, &format!("import os; os.unlink({turned:?}); os.symlink({pip:?}, {turned:?})\n{WRITE}"));
    trial.not_told_apart("a symbolic link", as_user(&python).arg(&turned));
    trial.finish();
}

/// A script is as good as those who can change it.
#[test]
fn scripts_that_others_can_change() {
    let stage = Stage::new();
    let python = system_python();
    let make = |name: &str| stage.script(&stage.path(name), WRITE);
    let (root, users, open) = (make("root/bin/tool"), make("users/bin/tool"), make("open/bin/tool"));
    own(&users, USER);
    set_mode(&open, 0o666);
    let below = make("below/bin/tool");
    set_mode(&stage.path("below"), 0o777);
    let linked = stage.dir("linked/bin").join("tool");
    symlink(&users, &linked).unwrap();
    let glob = stage.path("*/bin/tool");
    let table =
        [("the user's", &users), ("everybody's", &open), ("below everybody's directory", &below), ("linked", &linked)];

    let trial = stage.guard(&rule_for(&[&glob]));
    trial.honest("root's", as_root(&python).arg(&root));
    for (what, script) in table {
        trial.refused(what, &["program-writable"], as_root(&python).arg(script));
    }
    trial.finish();

    let stage = Stage::new();
    let trial = stage.guard(&format!("{}\nowner = \"any\"", rule_for(&[&glob])));
    for (what, script) in table {
        trial.honest(&format!("any owner, {what}"), as_root(&python).arg(script));
    }
    trial.finish();
}

/// An environment of the user's own: its pip is his, its site directory too.
#[test]
fn a_users_own_environment() {
    let mut stage = Stage::new();
    let exe = system_python();
    let minor = exe.to_str().unwrap().rsplit('.').next().unwrap().parse().expect("python3.N");
    let venv = Venv::make(&stage.home.join("venv"), &Interpreter { exe: exe.clone(), version: (3, minor) });
    let pip = stage.script(&venv.root.join("bin/pip"), &format!("#!{}\n{WRITE}", venv.python.display()));
    own_all(&venv.root);
    stage.site = venv.site;
    let subject = rule_for(&[&stage.home.join("*/bin/pip")]);
    let trial = stage.guard(&subject);
    trial.honest("the environment's pip, by its shebang", &mut as_user(&pip));
    trial.honest("the environment's pip", as_user(&venv.python).arg(&pip));
    trial.refused("-c", &["no-rule"], as_user(&venv.python).args(["-c", WRITE]).arg(&pip));
    let strangers = stage.script(&stage.home.join("other/bin/pip"), WRITE);
    own(&strangers, USER + 1);
    trial.refused("a stranger's", &["program-writable"], as_user(&venv.python).arg(&strangers));
    trial.finish();
}

fn own_all(path: &Path) {
    let file = fs::symlink_metadata(path).unwrap();
    if !file.is_symlink() {
        own(path, USER);
    }
    for entry in file.is_dir().then(|| fs::read_dir(path).unwrap()).into_iter().flatten().flatten() {
        own_all(&entry.path());
    }
}

/// Starts `python -c` to write, waits for it or not, and says what became of it; or of a child that it does
/// not know of.
const MAKER: &str = "
import os, subprocess, sys
child = [sys.executable, '-c', sys.argv[1], *sys.argv[-2:]]
if sys.argv[2] == 'wait':
    sys.exit(subprocess.call(child))
elif sys.argv[2] == 'leave':
    subprocess.Popen(child)
else:
    sys.exit(os.wait()[1] != 0)
";

/// Runs a program, and adopts what it leaves behind: the children's exit status is this one's.
const ADOPT: &str = "
import ctypes, os, sys
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
if os.fork() == 0:
    os.execv(sys.argv[1], sys.argv[1:])
failed = 0
while True:
    try:
        failed |= os.wait()[1]
    except ChildProcessError:
        sys.exit(failed != 0)
";

/// As [`WRITE`], once the parent has ended.
const WRITE_AS_ORPHAN: &str = "
import os, sys, time
def parent_is_maker():
    with open('/proc/%d/cmdline' % os.getppid(), 'rb') as line:
        words = line.read().split(b'\\0')
        return len(words) < 2 or b'maker' in words[1]  # it has none while it ends
deadline = time.monotonic() + 10
while parent_is_maker():
    assert time.monotonic() < deadline
    time.sleep(0.002)
open(sys.argv[-1], 'xb').write(open(sys.argv[-2], 'rb').read())
";

/// Has a child first and becomes the maker afterwards; the child then does as [`WRITE`].
const FORK_THEN_EXEC: &str = "
import os, sys, time
python, maker, write = sys.executable, sys.argv[1], sys.argv[2]
parent = os.getpid()
if os.fork():
    os.execv(python, [python, maker, '', 'idle', *sys.argv[-2:]])
deadline = time.monotonic() + 10
while True:
    with open('/proc/%d/cmdline' % parent, 'rb') as line:
        if b'idle' in line.read().split(b'\\0'):
            break
    assert time.monotonic() < deadline
    time.sleep(0.002)
os.execv(python, [python, '-c', write, *sys.argv[-2:]])
";

/// Installers run `python -c`; it is theirs only while they are its parents.
#[test]
fn children_of_a_program() {
    let stage = Stage::new();
    let python = system_python();
    let maker = stage.script(&stage.path("bin/maker"), MAKER);
    let impostor = stage.script(&stage.home.join("maker"), MAKER);
    let child = format!("exe = [{python:?}]\nscript = [\"-c\"]\nparent = [{RULE:?}]\nuid = \"any\"");
    let config = Config::new(&stage.place).allow(RULE, &rule_for(&[&maker])).allow("child-of-the-tool", &child);
    let trial = stage.guard_with(config);
    let run = |script: &Path, code: &str, how: &str| -> Command {
        let mut command = as_user(&python);
        command.arg(script).args([code, how]);
        command
    };
    let adopted = |script: &Path, code: &str| -> Command {
        let mut command = as_user(&python);
        command.args(["-c", ADOPT]).arg(&python).arg(script).args([code, "leave"]);
        command
    };
    trial.honest("a child", &mut run(&maker, WRITE, "wait"));
    let grandchild =
        format!("import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {WRITE:?}, *sys.argv[-2:]]))");
    let no_rule = ["no-rule"];
    // Whatever else an installer starts, a package's build script say, is not the installer.
    trial.refused("a grandchild", &no_rule, &mut run(&maker, &grandchild, "wait"));
    trial.refused("no such parent", &no_rule, as_user(&python).args(["-c", WRITE]));
    trial.refused("an impostor's child", &no_rule, &mut run(&impostor, WRITE, "wait"));
    trial.refused("an orphan", &no_rule, &mut adopted(&maker, WRITE_AS_ORPHAN));
    trial.refused("an impostor's orphan", &no_rule, &mut adopted(&impostor, WRITE_AS_ORPHAN));
    trial.finish();
}

/// A limit: a process stays the parent of its children when it turns into another program.
#[test]
fn limit_a_parent_can_become_the_program_afterwards() {
    let stage = Stage::new();
    let python = system_python();
    let maker = stage.script(&stage.path("bin/maker"), MAKER);
    let child = format!("exe = [{python:?}]\nscript = [\"-c\"]\nparent = [{RULE:?}]\nuid = \"any\"");
    let config = Config::new(&stage.place).allow(RULE, &rule_for(&[&maker])).allow("child-of-the-tool", &child);
    let trial = stage.guard_with(config);
    let mut command = as_user(&python);
    trial.not_told_apart("fork, then exec", command.args(["-c", FORK_THEN_EXEC]).arg(&maker).arg(WRITE));
    trial.finish();
}
