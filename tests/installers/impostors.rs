//! Programs that only look like one that the policy names.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::matrix::{Case, Matrix};
use crate::packages;
use crate::tools::{Tools, prepare, tool};

/// A Python program that writes a startup file.
const WRITE: &str = "import sys; open(sys.argv[1], 'w').write('/srv/demo-1.0\\n')";

pub(crate) fn operations(matrix: &mut Matrix, tools: &Tools) {
    let dir = Path::new("/srv/impostors");
    fs::create_dir_all(dir.join("bin")).unwrap();
    for name in ["dpkg", "uv"] {
        prepare(tool("sh").args(["-c", "cp $(command -v \"$1\") /srv/impostors/bin/", "sh", name]));
    }
    for name in ["pip", "dnf", "poetry"] {
        fs::write(dir.join("bin").join(name), WRITE).unwrap();
    }
    let distribution =
        crate::matrix::Target { site: "/usr/lib/python3/dist-packages".into(), python: tools.python.clone(), uid: 0 };
    let target = tools.bare("/opt/impostors");
    let file = target.site.join("demo.pth");
    let deb = packages::deb(dir, "1.0", "/srv/demo-1.0");
    let mut as_denied = |name: &str, what: &str, target: &crate::matrix::Target, command: &mut Command| {
        matrix.run(&Case::denied(name, "-", what, target), command);
    };

    as_denied("dpkg", "impostor: a copy elsewhere", &distribution, tool(dir.join("bin/dpkg")).arg("-i").arg(&deb));
    let forged = "exec -a \"$1\" sh -c ': > \"$1\"' \"$1\" \"$2\"";
    let mut argv0 = |name: &str, path: &str| {
        as_denied(name, "impostor: argv[0]", &target, tool("bash").args(["-c", forged, "bash", path]).arg(&file));
    };
    argv0("dpkg", "/usr/bin/dpkg");
    argv0("uv", "/usr/local/bin/uv");
    let python = "exec -a /usr/bin/dnf python3 -c \"$1\" \"$2\"";
    let mut dnf = tool("bash");
    as_denied("dnf 4", "impostor: argv[0]", &target, dnf.args(["-c", python, "bash", WRITE]).arg(&file));
    let mut install = tool(dir.join("bin/uv"));
    install.args(["pip", "install", "-q", "--no-index", "--python"]).arg(&target.python).arg(&tools.wheel);
    as_denied("uv", "impostor: a copy elsewhere", &target, &mut install);
    for name in ["pip", "dnf", "poetry"] {
        let shown = if name == "dnf" { "dnf 4" } else { name };
        let script = dir.join("bin").join(name);
        as_denied(
            shown,
            "impostor: a script of the same name elsewhere",
            &target,
            tool(&target.python).arg(script).arg(&file),
        );
        let real = if name == "poetry" { "/opt/poetry/bin/poetry".to_owned() } else { format!("/usr/bin/{name}") };
        let mut behind = tool(&target.python);
        as_denied(
            shown,
            "impostor: its name behind python -c",
            &target,
            behind.args(["-c", WRITE]).arg(&file).arg(real),
        );
    }
    let mut module = tool(&target.python);
    module.args(["-c", WRITE]).arg(&file).args(["-m", "pip", "install"]);
    as_denied("pip", "impostor: -m pip behind python -c", &target, &mut module);
    // pip itself, but another environment's.
    let other = tools.with_pip("/opt/impostors-other");
    let mut install = tool(&other.python);
    install.args(["-m", "pip", "install", "-q", "--no-index", "--prefix", "/opt/impostors"]).arg(&tools.wheel);
    as_denied("pip", "another environment's, --prefix", &target, &mut install);
}
