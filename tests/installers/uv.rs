//! uv, by each of its ways to put a file into place.

use std::fs;
use std::path::Path;

use crate::environments::pyenv;
use crate::matrix::{Case, End, Matrix};
use crate::tools::{Tools, bare, prepare, target, tool, version};

pub(crate) fn operations(matrix: &mut Matrix, tools: &Tools) {
    let uv = version(tool("uv").arg("--version"));
    link_modes(matrix, tools, &uv);
    project(matrix, tools, &uv);
    tool_install(matrix, tools, &uv);
    venv(matrix, &uv);
}

/// Without `clone`: the root's file system cannot, and uv then finds out with whichever file comes first. The operations
/// after this one name a mode for the same reason.
fn link_modes(matrix: &mut Matrix, tools: &Tools, uv: &str) {
    for (number, (operation, mode, cache)) in [
        ("pip install --link-mode hardlink", "hardlink", "/srv/uv-cache"),
        ("pip install --link-mode copy", "copy", "/srv/uv-cache"),
        ("pip install --link-mode hardlink, cache on another file system", "hardlink", "/run/uv-cache"),
        ("pip install --link-mode symlink", "symlink", "/srv/uv-cache"),
    ]
    .into_iter()
    .enumerate()
    {
        let target = tools.bare(format!("/opt/uv-mode{number}"));
        let mut command = tool("uv");
        command.env("UV_CACHE_DIR", cache).args(["pip", "install", "-q", "--no-index", "--link-mode", mode]);
        let case = Case::honest("uv", uv, operation, &target);
        matrix.run(&case, command.arg("--python").arg(&target.python).arg(&tools.wheel));
    }
    let target = target(Path::new("/opt/uv-mode0"));
    let case = Case { end: End::Absent, ..Case::honest("uv", uv, "pip uninstall", &target) };
    matrix.run(&case, tool("uv").args(["pip", "uninstall", "-q", "--python"]).arg(&target.python).arg("demo"));
    let unknown = Case::held("uv", uv, "pip install, an unknown line of code", &target);
    let mut command = tool("uv");
    command.args(["pip", "install", "-q", "--no-index", "--link-mode", "hardlink", "--python"]).arg(&target.python);
    matrix.run(&unknown, command.arg(&tools.unknown));
}

fn project(matrix: &mut Matrix, tools: &Tools, uv: &str) {
    let project = Path::new("/opt/uv-project");
    fs::create_dir(project).unwrap();
    let text = format!(
        "[project]\nname = \"app\"\nversion = \"1.0\"\nrequires-python = \">=3.8\"\ndependencies = [\"demo\"]\n\
         [tool.uv]\npackage = false\n[tool.uv.sources]\ndemo = {{ path = {:?} }}\n",
        tools.wheel
    );
    fs::write(project.join("pyproject.toml"), text).unwrap();
    let target = tools.bare(project.join(".venv"));
    let case = Case::honest("uv", uv, "sync", &target);
    matrix.run(&case, tool("uv").args(["sync", "-q", "--offline", "--link-mode", "hardlink"]).current_dir(project));
}

fn tool_install(matrix: &mut Matrix, tools: &Tools, uv: &str) {
    let install = |more: &[&str], wheel: &Path| {
        let mut command = tool("uv");
        command
            .args(["tool", "install", "-q", "--offline", "--link-mode", "hardlink"])
            .args(more)
            .arg(wheel)
            .args(["--python"]);
        command.arg(&tools.python);
        command
    };
    prepare(&mut install(&[], &tools.wheel));
    let target = target(Path::new("/root/.local/share/uv/tools/demo"));
    let case =
        Case { end: End::Obeyed("/srv/demo-2.0"), ..Case::honest("uv", uv, "tool install --reinstall", &target) };
    matrix.run(&case, &mut install(&["--reinstall"], &tools.wheel2));
}

/// For Python up to 3.9 uv adds a startup file of its own.
fn venv(matrix: &mut Matrix, uv: &str) {
    let Some(python) = pyenv(8) else {
        panic!("blocked: no CPython 3.8 in /root/.pyenv/versions");
    };
    let root = Path::new("/opt/uv-venv");
    let target = bare(&python, root);
    let operation = "venv --allow-existing, CPython 3.8";
    let case = Case { name: "_virtualenv.pth", end: End::Readable, ..Case::honest("uv", uv, operation, &target) };
    matrix.run(&case, tool("uv").args(["venv", "-q", "--allow-existing", "--python"]).arg(&python).arg(root));
}
