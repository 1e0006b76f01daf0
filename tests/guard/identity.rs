//! A rule speaks of a program. Who is it? Names, paths that were true once, files that others can change; and processes
//! that are hard to look at.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::harness::{Config, SOON};
use crate::site::{run, wait_for};
use crate::stage::{EVERYBODY, RULE, Stage, USER, as_root, as_user, own, set_mode, system_python};
use crate::sys::{self, PidFd};

const CP: &str = "exe = [\"/usr/bin/cp\"]\nuid = \"any\"";

/// A rule for one file, whoever owns it: the tests' own programs lie where an ordinary user's would.
fn rule_for(exe: &Path) -> String {
    format!("exe = [{exe:?}]\nuid = \"any\"\nowner = \"any\"")
}

/// What a process says of itself.
#[test]
fn names_prove_nothing() {
    let stage = Stage::new();
    let forger = stage.forger(&stage.home.join("forger"));
    let same_name = stage.forger(&stage.home.join("usr/bin/cp"));
    let trial = stage.guard(CP);
    trial.honest("root's cp", &mut as_root("/usr/bin/cp"));
    trial.honest("the user's cp", &mut as_user("/usr/bin/cp"));
    for as_whom in EVERYBODY {
        trial.refused("comm", &["no-rule"], as_whom(&forger).args(["comm=cp", "write"]));
        trial.refused("comm, a package manager's", &["no-rule"], as_whom(&forger).args(["comm=dnf", "write"]));
        trial.refused("argv[0]", &["no-rule"], as_whom(&forger).arg0("/usr/bin/cp").arg("write"));
        trial.refused("argv rewritten", &["no-rule"], as_whom(&forger).args(["argv=/usr/bin/cp|a|b", "write"]));
        trial.refused("base name", &["no-rule"], as_whom(&same_name).arg("write"));
        trial.undone("comm, rename", &["no-rule"], as_whom(&forger).args(["comm=cp", "rename"]));
    }
    trial.finish();
}

/// The running executable is not the file that now has its path.
#[test]
fn an_executable_that_is_not_at_its_path() {
    let stage = Stage::new();
    let tool = stage.path("bin/tool");
    let deleted = stage.path("bin/tool (deleted)");
    let install = |to: &Path| {
        let fresh = stage.forger(&stage.path("fresh"));
        fs::rename(fresh, to).unwrap();
    };
    stage.dir("bin");
    install(&tool);
    let subject = format!("exe = [{tool:?}, \"/memfd:tool*\"]\nuid = \"any\"\nowner = \"any\"");
    let trial = stage.guard(&subject);
    trial.honest("the tool", as_root(&tool).arg("write"));
    // The guard has seen it there: a package manager that upgrades itself goes on without a name.
    trial.honest("deleted, and known", as_root(&tool).args(["unlink", "write"]));
    install(&tool);
    trial.refused("deleted", &["not-at-path"], as_root(&tool).args(["unlink", "write"]));
    install(&tool);
    install(&deleted);
    let words = ["not-at-path", "no-rule"];
    trial.refused("called (deleted)", &words, as_root(&deleted).arg("write"));
    trial.refused("called (deleted), and deleted", &words, as_root(&deleted).args(["unlink", "write"]));
    for honest in ["a copy", "the very file, linked"] {
        install(&tool);
        let evil = stage.forger(&stage.path("bin/genuine"));
        fs::rename(&tool, stage.path("genuine")).unwrap();
        fs::rename(evil, &tool).unwrap();
        let replace = format!("replace={}", stage.path("genuine").display());
        trial.refused(&format!("replaced with {honest}"), &["not-at-path"], as_root(&tool).args([&replace, "write"]));
    }
    install(&tool);
    trial.honest("the tool again", as_root(&tool).arg("write"));
    let moved = format!("move={}", stage.path("bin/old").display());
    trial.refused("moved away", &words, as_root(&tool).args([&moved, "write"]));
    install(&tool);
    trial.refused("a memfd", &["not-at-path"], as_root(&tool).args(["memfd=tool", "write"]));
    trial.refused("a memfd, by a user", &["not-at-path"], as_user(&tool).args(["memfd=tool", "write"]));
    install(&tool);
    trial.undone("deleted, rename", &["not-at-path"], as_root(&tool).args(["unlink", "rename"]));
    trial.finish();
}

/// Who could have changed the program decides what it is, whatever it does today.
#[test]
fn a_program_that_others_can_change() {
    let stage = Stage::new();
    let make = |name: &str| stage.forger(&stage.path(name));
    let (root, sticky) = (make("root/bin/tool"), make("sticky/bin/tool"));
    set_mode(&stage.path("sticky"), 0o1777);
    let users = make("users/bin/tool");
    own(&users, USER);
    let for_all = make("mode/bin/tool");
    set_mode(&for_all, 0o757);
    let for_group = make("group/bin/tool");
    set_mode(&for_group, 0o775);
    own_group(&for_group);
    // The mode looks as if root's group could write it.
    let listed = make("list/bin/tool");
    give_access(&listed);
    let in_open_dir = make("open/bin/tool");
    set_mode(in_open_dir.parent().unwrap(), 0o777);
    let in_users_dir = make("dir/bin/tool");
    own(in_users_dir.parent().unwrap(), USER);
    let below_users_dir = make("above/bin/tool");
    own(&stage.path("above"), USER);
    // As in /tmp: the directory belongs to root, what lies in it to anybody.
    let in_tmp = make("tmp/bin/tool");
    set_mode(in_tmp.parent().unwrap(), 0o1777);
    own(&in_tmp, USER);
    let linked = stage.dir("link/bin").join("tool");
    fs::hard_link(&root, &linked).unwrap();
    own(linked.parent().unwrap(), USER);
    let table = [
        ("the user's file", &users),
        ("a file that everybody may write", &for_all),
        ("a file that a group may write", &for_group),
        ("a file with an access list", &listed),
        ("in a directory that everybody may write", &in_open_dir),
        ("in the user's directory", &in_users_dir),
        ("below the user's directory", &below_users_dir),
        ("the user's, in a sticky directory", &in_tmp),
        ("root's, by another link in the user's directory", &linked),
    ];
    let glob = format!("exe = [\"{}/*/bin/tool\"]\nuid = \"any\"", stage.place.path().display());

    let trial = stage.guard(&glob);
    trial.honest("root's", as_root(&root).arg("write"));
    trial.honest("root's, run by the user", as_user(&root).arg("write"));
    trial.honest("root's, in a sticky directory", as_root(&sticky).arg("write"));
    for (what, tool) in table {
        trial.refused(what, &["program-writable"], as_root(tool).arg("write"));
    }
    trial.undone("the user's file, rename", &["program-writable"], as_root(&users).arg("rename"));
    trial.finish();
}

/// An access list (acl(5)) that lets the user write.
fn give_access(path: &Path) {
    const GIVE: &str = "
import os, struct, sys
entries = [(1, 7, -1), (2, 7, int(sys.argv[2])), (4, 5, -1), (16, 7, -1), (32, 5, -1)]
text = struct.pack('<I', 2) + b''.join(struct.pack('<HHi', *entry) for entry in entries)
os.setxattr(sys.argv[1], 'system.posix_acl_access', text)
";
    run(as_root(system_python()).args(["-c", GIVE]).arg(path).arg(USER.to_string()))
        .result()
        .expect("blocked: no access lists on the file system for temporary files");
}

/// A group that is not root's.
fn own_group(path: &Path) {
    std::os::unix::fs::chown(path, Some(0), Some(USER)).unwrap();
}

/// Whose site directory it is may bring a program of his own; `owner` says otherwise.
#[test]
fn whose_program_may_write_whose_directory() {
    let stage = Stage::new();
    own(&stage.site, USER);
    let make = |name: &str| stage.forger(&stage.path(name));
    let root = make("root/bin/tool");
    let (users, strangers, open) = (make("users/bin/tool"), make("strangers/bin/tool"), make("open/bin/tool"));
    for path in [&users, users.parent().unwrap()] {
        own(path, USER);
    }
    own(&strangers, USER + 1);
    set_mode(open.parent().unwrap(), 0o777);
    let glob = format!("exe = [\"{}/*/bin/tool\"]\nuid = \"any\"", stage.place.path().display());
    let words = ["program-writable"];
    let table: [(&str, [bool; 4]); 4] = [
        ("", [true, true, false, false]),
        ("owner = \"user\"", [true, true, false, false]),
        ("owner = \"root\"", [true, false, false, false]),
        ("owner = \"any\"", [true, true, true, true]),
    ];
    for (number, (owner, allowed)) in table.into_iter().enumerate() {
        let config = Config::new(&stage.place).home(&format!("guard-{number}"));
        let trial = stage.guard_with(config.allow(RULE, &format!("{glob}\n{owner}")));
        for (tool, allowed) in [&root, &users, &strangers, &open].into_iter().zip(allowed) {
            let what = format!("{owner} {}", tool.display());
            match allowed {
                true => trial.honest(&what, as_user(tool).arg("write")),
                false => trial.refused(&what, &words, as_user(tool).arg("write")),
            }
        }
        trial.finish();
        clear(&stage.site);
    }
}

/// The next guard shall find nothing of the last one's.
fn clear(site: &Path) {
    for entry in fs::read_dir(site).unwrap().flatten() {
        if entry.file_name().as_bytes().starts_with(b"attempt") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// The thread that opens is asked for, its process is what the rule speaks of.
#[test]
fn threads_of_a_program() {
    let stage = Stage::new();
    let (tool, other) = (stage.forger(&stage.path("bin/tool")), stage.forger(&stage.path("bin/other")));
    let trial = stage.guard(&rule_for(&tool));
    for as_whom in EVERYBODY {
        trial.honest("a thread", as_whom(&tool).args(["thread", "write"]));
        trial.honest("a thread with another name", as_whom(&tool).args(["comm=other", "thread", "write"]));
        // /proc/PID/exe of the process is empty by now, that of the thread is not.
        trial.honest("a thread that survives main", as_whom(&tool).args(["orphan", "write"]));
        trial.refused("another's thread", &["no-rule"], as_whom(&other).args(["comm=tool", "thread", "write"]));
        trial.refused(
            "another's that survives main",
            &["no-rule"],
            as_whom(&other).args(["comm=tool", "orphan", "write"]),
        );
    }
    trial.finish();
}

/// A killed opener leaves nothing behind, and whoever runs next, under whatever process id, is judged by what it is.
#[test]
fn openers_that_are_killed_while_they_wait() {
    let stage = Stage::new();
    let other = stage.forger(&stage.path("bin/other"));
    let trial = stage.guard(CP);
    let (source, target) = (stage.place.outside.join("payload"), stage.site.join("killed.pth"));
    for (program, action) in [(Path::new("/usr/bin/cp"), "-f"), (other.as_path(), "write")] {
        trial.guard.pause();
        let mut command = as_root(program);
        let mut opener = command.arg(action).arg(&source).arg(&target).stderr(Stdio::null()).spawn().unwrap();
        // The entry is made before the kernel asks.
        wait_for("the opener has come to the open", SOON, || target.symlink_metadata().ok());
        opener.kill().unwrap();
        let ended = PidFd::open(opener.id()).unwrap().ends_within(SOON);
        trial.guard.signal(libc::SIGCONT);
        assert!(ended, "{program:?} could not be killed while it waited");
        opener.wait().unwrap();
        trial.honest("cp, after a killed opener", &mut as_root("/usr/bin/cp"));
        trial.refused("an impostor, after a killed opener", &["no-rule"], as_root(&other).args(["comm=cp", "write"]));
        assert!(!fs::read(&target).is_ok_and(|bytes| !bytes.is_empty()), "a killed opener has written");
        if target.symlink_metadata().is_ok() {
            fs::remove_file(&target).unwrap();
        }
    }
    trial.finish();
}

/// With `hidepid` others' directories in /proc are invisible, but not to the guard.
#[test]
fn proc_that_hides_other_users() {
    sys::with_private_mounts(|| {
        sys::mount(Some(Path::new("proc")), Path::new("/proc"), Some("proc"), 0, "hidepid=invisible")?;
        let stage = Stage::new();
        let forger = stage.forger(&stage.path("forger"));
        let trial = stage.guard(CP);
        let hidden = run(as_user("ls").arg(format!("/proc/{}", trial.guard.pid())));
        assert!(!hidden.status.success(), "nothing is hidden, this tests nothing");
        trial.honest("root's cp", &mut as_root("/usr/bin/cp"));
        trial.honest("the user's cp", &mut as_user("/usr/bin/cp"));
        trial.refused("another program", &["no-rule"], as_user(&forger).args(["comm=cp", "write"]));
        trial.finish();
        Ok(())
    })
    .unwrap();
}

/// Any bytes but NUL can stand in a process's name and command line.
#[test]
fn names_of_any_bytes() {
    let stage = Stage::new();
    let (tool, other) = (stage.forger(&stage.path("bin/tool")), stage.forger(&stage.path("bin/other")));
    let trial = stage.guard(&rule_for(&tool));
    let names: [&[u8]; 5] = [b"\xff\xfe", b"a) Z 1 2 3 (", b"\nUid:\t0\t0\t0\t0", b"\nTracerPid:\t7", b"\x1b[2J\r\n{}"];
    for name in names {
        let what = String::from_utf8_lossy(name);
        let comm = [b"comm=", name].concat();
        let hostile = |program: &PathBuf| {
            let mut command = as_user(program);
            command.arg0(OsStr::from_bytes(name)).arg(OsStr::from_bytes(&comm)).arg(OsStr::from_bytes(name));
            command.arg("\n{\"pthguard\":{\"verdict\":\"allow\"}}\n").arg("write");
            command
        };
        trial.honest(&format!("{what:?}"), &mut hostile(&tool));
        trial.honest(&format!("{what:?}, in a thread"), hostile(&tool).env("X", OsStr::from_bytes(name)));
        trial.refused(&format!("{what:?}, another's"), &["no-rule"], &mut hostile(&other));
    }
    // Parses every line.
    trial.guard.records();
    trial.finish();
}
