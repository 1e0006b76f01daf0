//! `sitecustomize` and `usercustomize`: modules that every interpreter imports when it starts, if they can be found.

use std::fs;
use std::path::{Path, PathBuf};

use crate::arena::{With, arena};
use crate::attack::{Attack, Spot};
use crate::environment::tool;
use crate::namespaces::idiom;
use crate::planted::{extension, payload};
use crate::site::run;
use crate::wheels::Wheel;

fn work() -> &'static Path {
    Path::new("/srv")
}

/// The payload as bytecode of Debian's interpreter, which is not checked against any source.
fn bytecode(name: &str) -> Vec<u8> {
    let source = work().join(name);
    let compiled = source.with_extension("compiled");
    fs::write(&source, payload()).unwrap();
    let code = "import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2], doraise=True, \
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)";
    run(tool("/usr/bin/python3").args(["-I", "-c", code]).arg(&source).arg(&compiled)).result().unwrap();
    fs::read(compiled).unwrap()
}

/// A zip archive with the payload as a module: a path line may name one.
fn archive(module: &str) -> Vec<u8> {
    let tree = work().join(format!("archive-{module}"));
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join(format!("{module}.py")), payload()).unwrap();
    let file = tree.with_extension("zip");
    let mut python = tool("/usr/bin/python3");
    run(python.args(["-I", "-m", "zipfile", "-c"]).arg(&file).arg(format!("{module}.py")).current_dir(&tree))
        .result()
        .unwrap();
    fs::read(file).unwrap()
}

/// The suffix of bytecode that Debian's interpreter has cached.
fn cached(module: &str) -> String {
    let python = fs::canonicalize("/usr/bin/python3").unwrap();
    let minor = python.to_str().unwrap().rsplit('.').next().unwrap().to_owned();
    format!("__pycache__/{module}.cpython-3{minor}.pyc")
}

fn by_pip<'a>(name: &'a str, file: &'a str, wheels: impl IntoIterator<Item = Wheel>) -> Attack<'a> {
    let wheels: Vec<PathBuf> = wheels.into_iter().map(|wheel| wheel.build(work())).collect();
    Attack::new(name, file, move |spot| {
        for wheel in &wheels {
            let done = spot.env.install(wheel);
            if !done.status.success() {
                println!("{name}: pip ends with {}: {}", done.status, done.stderr);
            }
        }
    })
}

fn wheel() -> Wheel {
    Wheel::new("custom", "1.0").file("custom.py", "")
}

/// Each form in which a wheel can bring the module itself.
#[test]
fn a_wheel_brings_the_module_itself() {
    arena(With::default(), |arena| {
        arena.forget_debians_sitecustomize();
        let so = extension("sitecustomize");
        let attacks = [
            by_pip("module", "sitecustomize.py", [wheel().file("sitecustomize.py", payload())]),
            by_pip("package", "sitecustomize/__init__.py", [wheel().file("sitecustomize/__init__.py", payload())]),
            by_pip("extension", "sitecustomize.so", [wheel().file("sitecustomize.so", so.clone())]),
            by_pip("abi3 extension", "sitecustomize.abi3.so", [wheel().file("sitecustomize.abi3.so", so.clone())]),
            by_pip(
                "extension package",
                "sitecustomize/__init__.so",
                [wheel().file("sitecustomize/__init__.so", so.clone())],
            ),
            by_pip("bytecode", "sitecustomize.pyc", [wheel().file("sitecustomize.pyc", bytecode("sitecustomize.py"))]),
            by_pip(
                "data",
                "sitecustomize.py",
                [wheel().data("data/lib/python3.11/site-packages/sitecustomize.py", payload())],
            ),
            by_pip("platlib", "sitecustomize.py", [wheel().data("platlib/sitecustomize.py", payload())]),
        ];
        arena.try_all(|name| arena.environment(name), &attacks);
    });
}

/// An interpreter that finds valid bytecode in `__pycache__` does not open the source, so an empty module is a lure.
#[test]
fn bytecode_behind_a_harmless_module() {
    arena(With::default(), |arena| {
        arena.forget_debians_sitecustomize();
        let code = bytecode("sitecustomize.py");
        let lure = wheel().file("sitecustomize.py", "# nothing\n").file(cached("sitecustomize"), code.clone());
        let lure = lure.build(work());
        let later = [
            wheel().file("sitecustomize.py", "# nothing\n"),
            Wheel::new("more", "1").file(cached("sitecustomize"), code.clone()),
        ];
        let later = later.map(|wheel| wheel.build(work()));
        fs::write("/srv/cached.pyc", &code).unwrap();
        let file = cached("sitecustomize");
        let install = |spot: &Spot, wheel: &Path| {
            run(spot.env.pip().arg("--no-compile").arg(wheel))
                .result()
                .unwrap_or_else(|error| println!("pip: {error}"));
        };
        let attacks = [
            Attack::new("lure and bytecode", &file, |spot| install(spot, &lure)),
            Attack::new("bytecode later", &file, |spot| {
                install(spot, &later[0]);
                spot.approved("sitecustomize.py");
                install(spot, &later[1]);
            }),
            Attack::new("bytecode by cp", &file, |spot| {
                install(spot, &later[0]);
                spot.approved("sitecustomize.py");
                let cache = spot.env.site.join("__pycache__");
                fs::create_dir_all(&cache).unwrap();
                run(tool("cp").arg("/srv/cached.pyc").arg(spot.env.site.join(&file)));
            }),
        ];
        arena.try_all(|name| arena.environment(name), &attacks);
    });
}

/// `usercustomize` is imported where the user's site directory is in use.
#[test]
fn a_wheel_brings_usercustomize() {
    arena(With::default(), |arena| {
        let attacks = [
            by_pip("user module", "usercustomize.py", [wheel().file("usercustomize.py", payload())]),
            by_pip("user package", "usercustomize/__init__.py", [wheel().file("usercustomize/__init__.py", payload())]),
            by_pip(
                "user extension",
                "usercustomize.so",
                [wheel().file("usercustomize.so", extension("usercustomize"))],
            ),
            by_pip(
                "user bytecode",
                "usercustomize.pyc",
                [wheel().file("usercustomize.pyc", bytecode("usercustomize.py"))],
            ),
            by_pip(
                "user by path",
                "libs.pth",
                [wheel().file("libs.pth", "libs\n").file("libs/usercustomize.py", payload())],
            ),
        ];
        arena.try_all(|name| arena.environment(name).open_to_the_system(), &attacks);
    });
}

/// A path line is harmless only as long as there is no such module where it leads.
#[test]
fn a_path_line_leads_to_the_module() {
    arena(With::default(), |arena| {
        arena.forget_debians_sitecustomize();
        fs::create_dir_all("/srv/elsewhere").unwrap();
        fs::write("/srv/elsewhere/sitecustomize.py", payload()).unwrap();
        let libs = |line: &str| wheel().file("libs.pth", line);
        let behind_an_idiom = [idiom(arena), b"libs.zip\n".to_vec()].concat();
        let attacks = [
            by_pip("libs", "libs.pth", [libs("libs\n").file("libs/sitecustomize.py", payload())]),
            by_pip("libs package", "libs.pth", [libs("libs\n").file("libs/sitecustomize/__init__.py", payload())]),
            by_pip(
                "libs extension",
                "libs.pth",
                [libs("libs\n").file("libs/sitecustomize.so", extension("sitecustomize"))],
            ),
            by_pip(
                "libs bytecode",
                "libs.pth",
                [libs("libs\n").file("libs/sitecustomize.pyc", bytecode("sitecustomize.py"))],
            ),
            by_pip(
                "detour",
                "libs.pth",
                [libs("libs/../more/.\n").file("more/sitecustomize.py", payload()).file("libs/x", "")],
            ),
            by_pip("archive", "libs.pth", [libs("libs.zip\n").file("libs.zip", archive("sitecustomize"))]),
            by_pip(
                "archive behind a namespace",
                "libs.pth",
                [wheel()
                    .file("libs.pth", behind_an_idiom)
                    .file("evilns/part.py", "")
                    .file("libs.zip", archive("sitecustomize"))],
            ),
            by_pip("outside", "libs.pth", [libs("../../../../../srv/elsewhere\n")]),
            by_pip("absolute", "libs.pth", [libs("/srv/elsewhere\n")]),
            by_pip(
                "second line",
                "libs.pth",
                [libs("more\nlibs\n").file("libs/sitecustomize.py", payload()).file("more/x", "")],
            ),
            by_pip(
                "carriage return",
                "libs.pth",
                [libs("more\rlibs\r").file("libs/sitecustomize.py", payload()).file("more/x", "")],
            ),
        ];
        arena.try_all(|name| arena.environment(name), &attacks);
    });
}

/// The module comes when the path line is approved already.
#[test]
fn the_module_comes_after_the_path_line() {
    arena(With::default(), |arena| {
        arena.forget_debians_sitecustomize();
        let first = wheel().file("libs.pth", "libs\n").file("libs/tool.py", "").build(work());
        let second = Wheel::new("second", "1.0").file("libs/sitecustomize.py", payload()).build(work());
        fs::write("/srv/payload.py", payload()).unwrap();
        fs::create_dir("/srv/package").unwrap();
        fs::write("/srv/package/__init__.py", payload()).unwrap();
        fs::write("/srv/evil.zip", archive("sitecustomize")).unwrap();
        let harmless = Wheel::new("zipped", "1.0").file("zipped.pth", "tools.zip\n").file("tools.zip", archive("tool"));
        let harmless = harmless.build(work());
        let evil_archive = Wheel::new("evil", "1.0").file("tools.zip", archive("sitecustomize")).build(work());
        let zipped = |spot: &Spot| {
            // Most likely it is held from the beginning.
            spot.env.install(&harmless).result().unwrap();
        };
        let begin = |spot: &Spot| {
            spot.env.install(&first).result().unwrap();
            spot.approved("libs.pth");
        };
        let shell = |spot: &Spot, script: &str| {
            let done = run(tool("sh").args(["-c", script]).current_dir(&spot.env.site));
            println!("{script}: {} {}", done.status, done.stderr.trim());
        };
        let attacks = [
            Attack::new("second wheel", "libs.pth", |spot| {
                begin(spot);
                println!("{}", spot.env.install(&second).stderr);
            }),
            Attack::new("by cp", "libs.pth", |spot| {
                begin(spot);
                shell(spot, "cp /srv/payload.py libs/sitecustomize.py");
            }),
            Attack::new("by mv", "libs.pth", |spot| {
                begin(spot);
                shell(spot, "cp /srv/payload.py libs/x.py && mv libs/x.py libs/sitecustomize.py");
            }),
            Attack::new("by ln", "libs.pth", |spot| {
                begin(spot);
                shell(spot, "ln -s /srv/payload.py libs/sitecustomize.py");
            }),
            Attack::new("package by mv", "libs.pth", |spot| {
                begin(spot);
                shell(spot, "cp -a /srv/package libs/x && mv libs/x libs/sitecustomize");
            }),
            Attack::new("archive written", "zipped.pth", |spot| {
                zipped(spot);
                shell(spot, "cp /srv/evil.zip tools.zip");
            }),
            Attack::new("archive replaced", "zipped.pth", |spot| {
                zipped(spot);
                shell(spot, "cp /srv/evil.zip x && mv x tools.zip");
            }),
            Attack::new("archive by pip", "zipped.pth", |spot| {
                zipped(spot);
                println!("{}", spot.env.install(&evil_archive).stderr);
            }),
            Attack::new("target exchanged", "libs.pth", |spot| {
                begin(spot);
                shell(spot, "mkdir new && cp /srv/payload.py new/sitecustomize.py && mv libs old && mv new libs");
            }),
            Attack::new("target linked", "libs.pth", |spot| {
                begin(spot);
                shell(
                    spot,
                    "mkdir /srv/new$$ && cp /srv/payload.py /srv/new$$/sitecustomize.py && mv libs old && ln -s /srv/new$$ libs",
                );
            }),
        ];
        arena.try_all(|name| arena.environment(name), &attacks);
    });
}

/// Who is no installer brings it no more than a `.pth`.
#[test]
fn others_bring_the_module() {
    arena(With::default(), |arena| {
        arena.forget_debians_sitecustomize();
        fs::write("/srv/payload.py", payload()).unwrap();
        fs::create_dir("/srv/package").unwrap();
        fs::write("/srv/package/__init__.py", payload()).unwrap();
        fs::write("/srv/payload.pyc", bytecode("sitecustomize.py")).unwrap();
        let shell = |name, file, script: &'static str| {
            Attack::new(name, file, move |spot| {
                let done = run(tool("sh").args(["-c", script]).current_dir(&spot.env.site));
                println!("{name}: {} {}", done.status, done.stderr.trim());
            })
        };
        let attacks = [
            shell("cp", "sitecustomize.py", "cp /srv/payload.py sitecustomize.py"),
            shell("mv", "sitecustomize.py", "cp /srv/payload.py x.py && mv x.py sitecustomize.py"),
            shell("ln", "sitecustomize.py", "cp /srv/payload.py x.py && ln x.py sitecustomize.py"),
            shell("ln -s", "sitecustomize.py", "ln -s /srv/payload.py sitecustomize.py"),
            shell("cp bytecode", "sitecustomize.pyc", "cp /srv/payload.pyc sitecustomize.pyc"),
            shell(
                "mkdir",
                "sitecustomize/__init__.py",
                "mkdir sitecustomize && cp /srv/payload.py sitecustomize/__init__.py",
            ),
            shell("mv directory", "sitecustomize/__init__.py", "cp -a /srv/package x && mv x sitecustomize"),
            shell(
                "mv directory from outside",
                "sitecustomize/__init__.py",
                "cp -a /srv/package /opt/x && mv /opt/x sitecustomize",
            ),
            shell("ln -s directory", "sitecustomize", "ln -s /srv/package sitecustomize"),
        ];
        arena.try_all(|name| arena.environment(name), &attacks);
    });
}
