//! The exact bytes of files that the list of known files names, brought by others than their owners.

use std::fs;
use std::path::{Path, PathBuf};

use crate::arena::{Arena, With, arena};
use crate::attack::{Attack, Spot};
use crate::environment::{Env, tool, unpack};
use crate::harness::field;
use crate::planted::payload;
use crate::site::run;
use crate::wheels::{Recorded, Wheel};

const PRECEDENCE: &str = "distutils-precedence.pth";
const REAL: &str = "setuptools==84.2.1";

/// What setuptools really ships.
fn precedence(arena: &Arena) -> Vec<u8> {
    let tree = Path::new("/srv/setuptools");
    if !tree.exists() {
        unpack(&arena.wheel(REAL), tree);
    }
    fs::read(tree.join(PRECEDENCE)).unwrap()
}

/// setuptools' line, and a module of the attacker's behind it.
fn evil(arena: &Arena) -> Wheel {
    let module = format!("def add_shim():\n    {}\n", payload());
    Wheel::new("evil", "1.0").file(PRECEDENCE, precedence(arena)).file("_distutils_hack/__init__.py", module)
}

/// What claims that setuptools owns the file.
fn dist_info(arena: &Arena, version: &str) -> [(String, Vec<u8>); 3] {
    let bytes = precedence(arena);
    fs::write("/srv/bytes", &bytes).unwrap();
    let code = "import base64, hashlib, sys; \
                print(base64.urlsafe_b64encode(hashlib.sha256(open('/srv/bytes', 'rb').read()).digest()).rstrip(b'=').decode())";
    let digest = run(tool("/usr/bin/python3").args(["-I", "-S", "-c", code])).stdout;
    let info = format!("setuptools-{version}.dist-info");
    let record = format!(
        "{PRECEDENCE},sha256={},{}\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
        digest.trim(),
        bytes.len()
    );
    [
        (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: setuptools\nVersion: {version}\n").into()),
        (format!("{info}/WHEEL"), b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".into()),
        (format!("{info}/RECORD"), record.into()),
    ]
}

/// The same wheel with a forged claim on top.
fn claiming(arena: &Arena, version: &str, scheme: &str) -> Wheel {
    let files = dist_info(arena, version);
    files.into_iter().fold(evil(arena), |wheel, (path, bytes)| wheel.data(&format!("{scheme}/{path}"), bytes))
}

/// The attacks, by whatever puts a wheel into an environment.
fn attacks<'a>(arena: &Arena, install: impl Fn(&Env, &Path) + Copy + 'a) -> Vec<Attack<'a>> {
    let wheels = [
        ("bytes alone", evil(arena)),
        ("unrecorded bytes", evil(arena).recorded(Recorded::WithoutStartupFiles)),
        ("claimed, no such version", claiming(arena, "99.0", "purelib")),
        ("claimed, a real version", claiming(arena, "84.2.1", "purelib")),
        ("claimed by platlib", claiming(arena, "84.2.1", "platlib")),
        ("claimed by data", claiming(arena, "84.2.1", "data/lib/python3.11/site-packages")),
        ("claimed, not its own", claiming(arena, "84.2.1", "purelib").recorded(Recorded::WithoutStartupFiles)),
        ("claimed, its own wrong", claiming(arena, "84.2.1", "purelib").recorded(Recorded::Wrongly)),
    ];
    let built = wheels.map(|(name, wheel)| (name, wheel.build("/srv".as_ref())));
    let attack =
        |(name, wheel): (&'a str, PathBuf)| Attack::new(name, PRECEDENCE, move |spot: &Spot| install(spot.env, &wheel));
    built.into_iter().map(attack).collect()
}

/// By pip.
#[test]
fn known_bytes_of_somebody_else() {
    arena(With::default(), |arena| {
        let attacks = attacks(arena, |env, wheel| env.install(wheel).result().expect("pip goes on working"));
        arena.try_all(|name| arena.environment(name), &attacks);
    });
}

/// By uv, which writes its RECORD in another way.
#[test]
fn known_bytes_of_somebody_else_by_uv() {
    let uv = With { uv: true, ..With::default() };
    arena(uv, |arena| {
        let attacks = attacks(arena, |env, wheel| {
            let done = run(env.uv("copy", "/srv/uv-cache").arg(wheel));
            if !done.status.success() {
                println!("uv: {}{}", done.stdout, done.stderr);
            }
        });
        arena.try_all(|name| arena.environment(name), &attacks);
    });
}

/// A package is built by code of its author, who may write into the environment meanwhile: the claim comes without a
/// RECORD that lists it.
#[test]
fn a_build_forges_the_claim() {
    arena(With::default(), |arena| {
        let wheel = evil(arena).build("/srv".as_ref());
        let project = Path::new("/srv/project");
        fs::create_dir_all(project.join("claim")).unwrap();
        for (path, bytes) in dist_info(arena, "84.2.1") {
            let path = project.join("claim").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let config = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\
                      [project]\nname = \"evil\"\nversion = \"1.0\"\n";
        fs::write(project.join("pyproject.toml"), config).unwrap();
        let backend = format!(
            "import os, shutil\n\
             def build_wheel(directory, config_settings=None, metadata_directory=None):\n\
             \x20   shutil.copytree('/srv/project/claim', os.environ['SITE'], dirs_exist_ok=True)\n\
             \x20   shutil.copy({wheel:?}, directory)\n\
             \x20   return {:?}\n",
            wheel.file_name().unwrap().to_str().unwrap()
        );
        fs::write(project.join("backend.py"), backend).unwrap();
        let attack = Attack::new("build", PRECEDENCE, |spot| {
            let done = run(spot.env.pip().env("SITE", &spot.env.site).arg(project));
            done.result().expect("pip goes on working");
            assert!(spot.env.site.join("setuptools-84.2.1.dist-info/RECORD").exists(), "the claim is in its place");
        });
        arena.try_all(|name| arena.environment(name), &[attack]);
    });
}

/// The real setuptools is itself: approved when pip is done, at work at once, and in pip's build environments.
#[test]
fn the_owner_is_believed() {
    let uv = With { uv: true, ..With::default() };
    arena(uv, |arena| {
        let [pip, uv, build] = ["pip", "uv", "build"].map(|name| arena.environment(name));
        let project = Path::new("/srv/project");
        fs::create_dir_all(project.join("project")).unwrap();
        fs::write(project.join("project/__init__.py"), "").unwrap();
        let config = "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n\
                      [project]\nname = \"project\"\nversion = \"1.0\"\n";
        fs::write(project.join("pyproject.toml"), config).unwrap();

        let guarded = arena.guard();
        let real = arena.wheel(REAL);
        pip.install(&real).result().unwrap();
        let shim = pip.evaluate("any(type(f).__name__ == 'DistutilsMetaFinder' for f in sys.meta_path)");
        println!("the first start after pip: the shim is there: {shim}");
        let ways = [("copy", "/srv/uv-cache"), ("hardlink", "/srv/uv-cache"), ("symlink", "/srv/uv-cache")];
        run(uv.uv("copy", "/srv/uv-cache").arg(&real)).result().unwrap();
        for env in [&pip, &uv] {
            if let Err(problem) = guarded.approves(&env.site.join(PRECEDENCE)) {
                arena.problem(problem);
            }
            let shim = env.evaluate("any(type(f).__name__ == 'DistutilsMetaFinder' for f in sys.meta_path)");
            arena.check(&format!("{}: the line does its work: {shim}", env.root.display()), shim == "True");
        }
        for (mode, cache) in ways {
            let done = run(uv.uv(mode, cache).arg("--reinstall").arg(&real));
            arena.check(&format!("uv --link-mode {mode}: {}", done.stderr), done.status.success());
            if let Err(problem) = guarded.approves(&uv.site.join(PRECEDENCE)) {
                arena.problem(format!("uv --link-mode {mode}: {problem}"));
            }
        }

        // Isolated: pip makes an environment, installs setuptools there and starts an interpreter in it.
        let mut isolated = tool(&build.python);
        isolated.args(["-m", "pip", "install", "-q", "--no-index", "--find-links", "/srv/wheels"]).arg(project);
        let done = run(&mut isolated);
        arena.check(&format!("build isolation: {}{}", done.stdout, done.stderr), done.status.success());
        build.install(&real).result().unwrap();
        let done = run(build.pip().args(["--no-build-isolation", "--force-reinstall"]).arg(project));
        arena.check(&format!("a build at once: {}{}", done.stdout, done.stderr), done.status.success());
        let denied =
            |r: &&serde_json::Value| field(r, "pthguard.verdict") == "deny" && field(r, "event.action") == "read";
        for record in guarded.guard.records().iter().filter(denied) {
            println!("a read was denied: {} {}", field(record, "file.path"), field(record, "pthguard.reason"));
        }
    });
}

/// A limit: a line that imports a module trusts whoever can write that module. Neither pip nor uv minds one package
/// overwriting the files of another.
#[test]
fn limit_a_package_overwrites_the_module_behind_an_approved_line() {
    arena(With::default(), |arena| {
        let env = arena.environment("env");
        env.install(&arena.wheel(REAL)).result().unwrap();
        let guarded = arena.guard();
        guarded.approves(&env.site.join(PRECEDENCE)).unwrap();
        let module = format!("def add_shim():\n    {}\n", payload());
        let evil = Wheel::new("evil", "1.0").file("_distutils_hack/__init__.py", module).build("/srv".as_ref());
        env.install(&evil).result().unwrap();
        arena.check("no limit any more", env.runs());
    });
}
