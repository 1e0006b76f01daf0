//! The public tests of the technique (Atomic Red Team, T1546.018), re-enacted for Linux: a `.pth` in the site directory
//! of a virtual environment, written by a shell; `usercustomize.py` in the user's site directory. Beside them the ways
//! that their descriptions also cover: Python as the writer, the system's directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arena::{Arena, With, arena};
use crate::attack::{Attack, Spot};
use crate::environment::{Env, tool};
use crate::planted::{line, payload};
use crate::site::run;

/// Write what the environment variable `CODE` holds to the file, in one of the ways of the tests.
fn write(with: &str, code: &str, file: &Path) {
    let mut command: Command = match with {
        "sh" => tool("sh"),
        "python" => tool("/usr/bin/python3"),
        other => panic!("no writer {other}"),
    };
    match with {
        "sh" => command.args(["-c", "echo \"$CODE\" > \"$1\"", "sh"]),
        _ => command.args(["-S", "-c", "import os, sys; open(sys.argv[1], 'w').write(os.environ['CODE'])"]),
    };
    let done = run(command.arg(file).env("CODE", code));
    println!("{with}: {} {}", done.status, done.stderr.trim());
}

#[test]
fn hook_in_a_virtual_environment() {
    arena(With::default(), |arena| {
        let plant = |with: &'static str, name| {
            Attack::new(name, "atomic_hook.pth", move |spot: &Spot| {
                write(with, &line(), &spot.env.site.join("atomic_hook.pth"));
            })
        };
        arena.try_all(|name| arena.environment(name), &[plant("sh", "hook by sh"), plant("python", "hook by python")]);
    });
}

/// Directories that all interpreters of the system share, and the user's own.
fn shared(arena: &Arena, sites: &[PathBuf], file: &str, code: &str) {
    for site in sites {
        fs::create_dir_all(site).unwrap();
    }
    let system = Env { root: "/usr".into(), python: "/usr/bin/python3".into(), site: "/".into() };
    for site in sites {
        let file = site.join(file);
        write("sh", code, &file);
        arena.check(&format!("{} does not run without a guard", file.display()), system.runs());
        fs::remove_file(file).unwrap();
    }
    let guarded = arena.guard();
    for (site, with) in sites.iter().flat_map(|site| [(site, "sh"), (site, "python")]) {
        let file = site.join(file);
        write(with, code, &file);
        let starts = system.start(5);
        let what = format!("{} by {with}", file.display());
        arena.check(&format!("{what} ran{}", guarded.about(&file)), starts.ran == 0);
        arena.check(&format!("{what}: {}", starts.said), starts.failed == 0);
        arena.check(&format!("{what} was left"), file.symlink_metadata().is_err());
    }
}

#[test]
fn hook_in_the_systems_and_the_users_directories() {
    arena(With::default(), |arena| {
        let sites = [
            "/usr/lib/python3/dist-packages",
            "/usr/local/lib/python3.11/dist-packages",
            "/root/.local/lib/python3.11/site-packages",
        ];
        shared(arena, &sites.map(PathBuf::from), "atomic_hook.pth", &line());
    });
}

#[test]
fn usercustomize_in_the_users_directory() {
    arena(With::default(), |arena| {
        let sites = ["/root/.local/lib/python3.11/site-packages", "/usr/lib/python3/dist-packages"];
        shared(arena, &sites.map(PathBuf::from), "usercustomize.py", &format!("import os; {}", payload()));
    });
}

#[test]
fn sitecustomize_in_the_systems_directories() {
    arena(With::default(), |arena| {
        arena.forget_debians_sitecustomize();
        let sites = ["/usr/local/lib/python3.11/dist-packages", "/usr/lib/python3/dist-packages"];
        shared(arena, &sites.map(PathBuf::from), "sitecustomize.py", &payload());
    });
}
