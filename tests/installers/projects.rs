//! The programs that keep an environment for a project or for a tool.

use std::fs;
use std::path::Path;

use crate::matrix::{Case, End, Matrix};
use crate::tools::{Tools, prepare, target, tool, version};

pub(crate) fn operations(matrix: &mut Matrix, tools: &Tools) {
    matrix.group("poetry", |matrix| poetry(matrix, tools));
    matrix.group("pdm", |matrix| pdm(matrix, tools));
    matrix.group("hatch", |matrix| hatch(matrix, tools));
    matrix.group("pipx", |matrix| pipx(matrix, tools));
}

fn project<'a>(dir: &'a str, text: &str) -> &'a Path {
    let dir = Path::new(dir);
    fs::create_dir_all(dir.join("app")).unwrap();
    fs::write(dir.join("app/__init__.py"), "").unwrap();
    fs::write(dir.join("pyproject.toml"), text).unwrap();
    dir
}

fn poetry(matrix: &mut Matrix, tools: &Tools) {
    let text = |wheel: &Path| {
        format!(
            "[project]\nname = \"app\"\nversion = \"1.0\"\nrequires-python = \">=3.8\"\n[tool.poetry.dependencies]\n\
             demo = {{ path = {wheel:?} }}\n[build-system]\nrequires = [\"poetry-core\"]\n\
             build-backend = \"poetry.core.masonry.api\"\n"
        )
    };
    let program = "/opt/poetry/bin/poetry";
    let poetry = version(tool(program).arg("--version"));
    let run_in = |dir: &Path, arguments: &[&str]| {
        let mut command = tool(program);
        command.args(["-q", "-n"]).args(arguments).env("POETRY_VIRTUALENVS_IN_PROJECT", "true").current_dir(dir);
        command
    };

    let dir = project("/opt/poetry-unknown", &text(&tools.unknown));
    let target = tools.bare(dir.join(".venv"));
    prepare(&mut run_in(dir, &["lock"]));
    let case = Case::held("poetry", &poetry, "install, an unknown line of code", &target);
    matrix.run(&case, &mut run_in(dir, &["install", "--no-root"]));

    let dir = project("/opt/poetry-project", &text(&tools.wheel));
    let target = tools.bare(dir.join(".venv"));
    let run = |arguments: &[&str]| run_in(dir, arguments);
    prepare(&mut run(&["lock"]));
    matrix.run(&Case::honest("poetry", &poetry, "install, a wheel", &target), &mut run(&["install", "--no-root"]));
    let case = Case {
        name: "app.pth",
        end: End::Obeyed("/opt/poetry-project"),
        ..Case::honest("poetry", &poetry, "install, the project itself", &target)
    };
    matrix.run(&case, &mut run(&["install"]));
}

fn pdm(matrix: &mut Matrix, tools: &Tools) {
    let program = "/opt/pdm/bin/pdm";
    let pdm = version(tool(program).arg("--version"));
    const UNKNOWN: &str = "install, an unknown line of code";
    let ways = [
        ("install", "pdm-project", None),
        (UNKNOWN, "pdm-unknown", None),
        ("install, cache, symlink", "pdm-symlink", Some("symlink")),
        ("install, cache, hardlink", "pdm-hardlink", Some("hardlink")),
    ];
    for (operation, name, cache) in ways.into_iter().take(if tools.all { 4 } else { 2 }) {
        let wheel = if operation == UNKNOWN { &tools.unknown } else { &tools.wheel };
        let text = format!(
            "[project]\nname = \"app\"\nversion = \"1.0\"\nrequires-python = \">=3.8\"\n\
             dependencies = [\"demo @ file://{}\"]\n[tool.pdm]\ndistribution = false\n",
            wheel.display()
        );
        let dir = format!("/opt/{name}");
        let dir = project(&dir, &text);
        let target = tools.bare(dir.join(".venv"));
        let run = |arguments: &[&str]| {
            let mut command = tool(program);
            command.args(arguments).env("PDM_CHECK_UPDATE", "0").current_dir(dir);
            command
        };
        prepare(run(&["use", "-q", "-f"]).arg(&target.python));
        if let Some(method) = cache {
            prepare(&mut run(&["config", "--local", "install.cache", "true"]));
            prepare(&mut run(&["config", "--local", "install.cache_method", method]));
        }
        prepare(&mut run(&["lock", "-q"]));
        let make = if operation == UNKNOWN { Case::held } else { Case::honest };
        matrix.run(&make("pdm", &pdm, operation, &target), &mut run(&["install", "-q"]));
    }
}

/// hatch runs pip in the environment.
fn hatch(matrix: &mut Matrix, tools: &Tools) {
    let text = |dependencies: &str| {
        format!(
            "[build-system]\nrequires = [\"hatchling\"]\nbuild-backend = \"hatchling.build\"\n\
             [project]\nname = \"app\"\nversion = \"1.0\"\n[tool.hatch.metadata]\nallow-direct-references = true\n\
             [tool.hatch.envs.default]\nskip-install = true\npath = \".venv\"\ndependencies = [{dependencies}]\n"
        )
    };
    let dir = project("/opt/hatch-project", &text(""));
    let program = "/opt/hatch/bin/hatch";
    let hatch = version(tool(program).arg("--version"));
    let run = || {
        let mut command = tool(program);
        command.args(["-q", "run", "true"]).current_dir(dir);
        command
    };
    prepare(&mut run());
    let target = target(&dir.join(".venv"));
    fs::write(dir.join("pyproject.toml"), text(&format!("\"demo @ file://{}\"", tools.wheel.display()))).unwrap();
    matrix.run(&Case::honest("hatch", &hatch, "run, a new dependency", &target), &mut run());
}

/// pipx makes an environment and lets pip work in it.
fn pipx(matrix: &mut Matrix, tools: &Tools) {
    let program = "/opt/pipx/bin/pipx";
    let pipx = version(tool(program).arg("--version"));
    let run = |arguments: &[&str]| {
        let mut command = tool(program);
        command.args(arguments).env("PIPX_DEFAULT_PYTHON", &tools.python).env("PIPX_DEFAULT_BACKEND", "pip");
        command
    };
    prepare(run(&["install", "-q"]).arg(&tools.wheel));
    let target = target(Path::new("/root/.local/share/pipx/venvs/demo"));
    matrix.run(
        &Case::honest("pipx", &pipx, "install --force", &target),
        run(&["install", "-q", "--force"]).arg(&tools.wheel),
    );
    let case = Case { end: End::Obeyed("/srv/demo-2.0"), ..Case::honest("pipx", &pipx, "runpip", &target) };
    matrix.run(&case, run(&["runpip", "demo", "install", "-q", "--no-index"]).arg(&tools.wheel2));
}
