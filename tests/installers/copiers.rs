//! Programs that put files where they are told: denied, until somebody allows one of them for one directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::matrix::{Case, End, Matrix, Target};
use crate::tools::{Tools, prepare, tool, version};

/// A program, its version option, and what it does with `$S` (a file to copy, an archive of it, a repository), `$D` (the
/// site directory).
struct Copier {
    name: &'static str,
    version: &'static str,
    /// How to call it; `$S` and `$D` are in its environment.
    script: &'static str,
    /// It changes a file that is there already.
    edits: bool,
    access: &'static str,
}

const COPIERS: &[Copier] = &[
    Copier {
        name: "rsync",
        version: "--version",
        script: "rsync $S/demo.pth $D/demo.pth",
        edits: false,
        access: "rename",
    },
    Copier { name: "tar", version: "--version", script: "tar -C $D -xf $S/demo.tar", edits: false, access: "write" },
    Copier { name: "cp", version: "--version", script: "cp $S/demo.pth $D/", edits: false, access: "write" },
    Copier {
        name: "mv",
        version: "--version",
        script: "cp $S/demo.pth $S/moved && mv $S/moved $D/demo.pth",
        edits: false,
        access: "rename",
    },
    Copier { name: "ln", version: "--version", script: "ln $S/demo.pth $D/demo.pth", edits: false, access: "link" },
    Copier {
        name: "sed",
        version: "--version",
        script: "sed -i s/2.0/1.0/ $D/demo.pth",
        edits: true,
        access: "rename",
    },
    Copier {
        name: "git",
        version: "--version",
        script: "git -C $S/repo --work-tree=$D checkout -q -f main",
        edits: false,
        access: "write",
    },
    Copier {
        name: "vim.tiny",
        version: "--version",
        script: "vim.tiny -es -c %s/2.0/1.0/ -c wq! $D/demo.pth",
        edits: true,
        access: "write",
    },
];

pub(crate) fn operations(matrix: &mut Matrix, tools: &Tools) {
    let source = Path::new("/srv/source");
    fs::create_dir_all(source).unwrap();
    fs::write(source.join("demo.pth"), "/srv/demo-1.0\n").unwrap();
    let pack = "cd /srv/source && tar -cf demo.tar demo.pth && git init -q -b main repo && cp demo.pth repo/ && cd repo && \
                git add . && git -c user.name=n -c user.email=n@example.org commit -q -m n";
    prepare(tool("sh").args(["-c", pack]));
    for copier in COPIERS {
        let release = version(tool(copier.name).arg(copier.version));
        let run = |target: &Target| {
            let mut command: Command = tool("sh");
            command.args(["-c", copier.script]).env("S", source).env("D", &target.site);
            command
        };
        let place = |suffix: &str| {
            let target = tools.bare(format!("/opt/{}-{suffix}", copier.name));
            if copier.edits {
                fs::write(target.site.join("demo.pth"), "/srv/demo-2.0\n").unwrap();
            }
            target
        };
        let shown = copier.script.replace("$S/", "").replace("$D/", "SITE/").replace("$D", "SITE");
        let shown = shown.rsplit("&& ").next().unwrap();
        let target = place("denied");
        let end = if copier.edits { End::Old("/srv/demo-2.0") } else { End::Absent };
        let case = Case { end, ..Case::denied(copier.name, &release, shown, &target) };
        matrix.run(&case, &mut run(&target));

        // What these do is noticed when it is done, and they have often ended by then. Others have made a file in the
        // directory before; these have never been at the gate, and a rule would help by chance only.
        if matches!(copier.name, "mv" | "ln") {
            continue;
        }
        let target = place("allowed");
        let exe = prepare(tool("sh").args(["-c", "readlink -f $(command -v \"$1\")", "sh", copier.name]));
        let rules = format!(
            "[[allow]]\nname = \"deploy\"\nexe = [{:?}]\nuid = [0]\nsites = [\"/opt/*-allowed/lib/python3*/site-packages\"]\n\
             access = [{:?}]\ncontent = \"any\"\n",
            exe.trim(),
            copier.access
        );
        let operation = format!("{shown}, allowed by a rule");
        let case = Case { rules: &rules, ..Case::honest(copier.name, &release, &operation, &target) };
        matrix.run(&case, &mut run(&target));
    }
}
