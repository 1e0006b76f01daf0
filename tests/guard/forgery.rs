//! Identities that are forged in the kernel itself, by anybody who may make a user namespace.

use crate::stage::{Stage, as_root, as_user, system_python};

const CP: &str = "exe = [\"/usr/bin/cp\"]\nuid = \"any\"";

/// A user namespace comes with all capabilities in a mount namespace of one's own: /proc/PID/exe reads `/usr/bin/cp`,
/// and another file runs.
#[test]
fn another_file_bound_over_the_program() {
    let stage = Stage::new();
    let forger = stage.forger(&stage.path("forger"));
    let trial = stage.guard(CP);
    trial.honest("cp", &mut as_user("/usr/bin/cp"));
    let bind = |action| format!("mount --bind {} /usr/bin/cp && exec /usr/bin/cp {action} \"$@\"", forger.display());
    let (write, rename) = (bind("write"), bind("rename"));
    let words = ["user-namespace", "not-at-path"];
    trial.refused("bind", &words, as_user("unshare").args(["-Urm", "sh", "-c", &write, "sh"]));
    // Between the last program that it executed and the rename the queue is not always empty: then it is not known what it
    // was when it renamed, and that is denied, too.
    let or_doubt = [&words[..], &["unresolved-arrival"]].concat();
    trial.undone("bind, rename", &or_doubt, as_user("unshare").args(["-Urm", "sh", "-c", &rename, "sh"]));
    trial.refused("bind, as root", &["not-at-path"], as_root("unshare").args(["-m", "sh", "-c", &write, "sh"]));
    trial.finish();
}

/// PR_SET_MM_MAP changes what /proc/PID/exe *is*, device and inode included; CAP_SYS_ADMIN in a user namespace of one's
/// own suffices.
#[test]
fn the_programs_own_inode_put_on() {
    let stage = Stage::new();
    let forger = stage.forger(&stage.path("forger"));
    let trial = stage.guard(CP);
    trial.honest("cp", &mut as_user("/usr/bin/cp"));
    let forge = |option: &str, action: &str| {
        let mut command = as_user(&forger);
        command.args(["userns", "exe=/usr/bin/cp", option, action]);
        command
    };
    let words = ["user-namespace"];
    trial.refused("inode", &words, &mut forge("comm=cp", "write"));
    trial.refused("inode and command line", &words, &mut forge("argv=cp|-a|x", "write"));
    trial.refused("inode, in a thread", &words, &mut forge("thread", "write"));
    trial.undone("inode, rename", &words, &mut forge("comm=cp", "rename"));
    trial.refused("inode, for real users only", &["no-rule"], as_user(&forger).args(["argv=/usr/bin/cp", "write"]));
    trial.finish();
}

/// With an interpreter's inode the command line decides, and that is nobody's but the process's own.
#[test]
fn an_interpreter_and_its_command_line_put_on() {
    let stage = Stage::new();
    let python = system_python();
    let forger = stage.forger(&stage.path("forger"));
    let trial = stage.guard(&format!("exe = [{python:?}]\nmodule = [\"pip\"]\nuid = \"any\""));
    let mut command = as_user(&forger);
    command.arg("userns").arg(format!("exe={}", python.display())).args(["argv=python3|-m|pip", "write"]);
    trial.refused("python3 -m pip", &["user-namespace"], &mut command);
    trial.finish();
}

/// The same in the namespace of a rule that asks for another user: nothing of a namespace makes a process root.
#[test]
fn root_of_a_user_namespace_is_not_root() {
    let stage = Stage::new();
    let forger = stage.forger(&stage.path("forger"));
    let trial = stage.guard("exe = [\"/usr/bin/cp\"]\nuid = [0]");
    trial.honest("root's cp", &mut as_root("/usr/bin/cp"));
    trial.refused("cp", &["no-rule"], as_user("unshare").args(["-Ur", "/usr/bin/cp"]));
    trial.refused("inode", &["no-rule"], as_user(&forger).args(["userns", "exe=/usr/bin/cp", "write"]));
    trial.finish();
}

/// An honest program in a user namespace cannot be told from a forged one, and is refused; unless the rule says that it
/// is meant for containers.
#[test]
fn rules_for_containers() {
    let stage = Stage::new();
    let unshare = |options: &str| {
        let mut command = as_user("unshare");
        command.args([options, "/usr/bin/cp"]);
        command
    };
    let trial = stage.guard(CP);
    trial.refused("user namespace", &["user-namespace"], &mut unshare("-Ur"));
    trial.refused("user and mount namespace", &["user-namespace"], &mut unshare("-Urm"));
    // Services have one (PrivateTmp=); the file at the path is the same.
    trial.honest("mount namespace", as_root("unshare").args(["-m", "/usr/bin/cp"]));
    trial.finish();

    let stage = Stage::new();
    let trial = stage.guard(&format!("{CP}\ncontainers = true"));
    trial.honest("containers, user namespace", &mut unshare("-Ur"));
    trial.honest("containers, user and mount namespace", &mut unshare("-Urm"));
    trial.finish();
}

/// A limit: root in the first user namespace needs no other one for it, and /proc shows nothing else. Root that knows
/// of the guard is out of scope (`docs/threat-model.md`); this says when that changes.
#[test]
fn limit_root_can_put_on_any_identity() {
    let stage = Stage::new();
    let forger = stage.forger(&stage.path("forger"));
    let trial = stage.guard(CP);
    trial.not_told_apart("root with cp's inode", as_root(&forger).args(["exe=/usr/bin/cp", "write"]));
    trial.finish();
}

/// The executable belongs to the memory, the user namespace to the process. A child that shares the memory may change
/// the one from within the other, and the parent never leaves the first user namespace; but its code shows.
#[test]
fn an_identity_put_on_by_a_child() {
    let stage = Stage::new();
    let forger = stage.forger(&stage.path("forger"));
    let lend = || {
        let mut command = as_user(&forger);
        command.args(["lend=/usr/bin/cp", "write"]);
        command
    };
    let trial = stage.guard(CP);
    trial.honest("cp", &mut as_user("/usr/bin/cp"));
    trial.refused("cp's inode", &["foreign-code"], &mut lend());
    trial.finish();

    let stage = Stage::new();
    let trial = stage.guard("exe = [\"/usr/bin/cp\"]\nuid = [0]");
    trial.refused("cp's inode, in a rule for root", &["no-rule"], &mut lend());
    trial.finish();
}

/// A limit: with `containers = true` a rule believes the paths of every namespace, and everybody can make one. What shows
/// is code that is not root's, so root's other programs remain to be bound over the one.
#[test]
fn limit_a_rule_for_containers_believes_every_namespace() {
    let stage = Stage::new();
    let forger = stage.forger(&stage.path("forger"));
    let trial = stage.guard(&format!("{CP}\ncontainers = true"));
    // Root's file in root's directory, and yet the user's choice.
    let bind = "mount --bind /bin/bash /usr/bin/cp && exec /usr/bin/cp -c 'cat \"$1\" > \"$2\"' cp \"$@\"";
    trial.not_told_apart("bind", as_user("unshare").args(["-Urm", "sh", "-c", bind, "sh"]));
    trial.refused("inode", &["foreign-code"], as_user(&forger).args(["userns", "exe=/usr/bin/cp", "write"]));
    trial.finish();
}
