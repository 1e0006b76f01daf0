//! setuptools' namespace lines are known by their form: they run no Python code. But they load what has the namespace's
//! name, and an extension module is code.

use std::fs;
use std::path::{Path, PathBuf};

use crate::arena::{Arena, With, arena};
use crate::attack::{Attack, Spot};
use crate::environment::{tool, unpack};
use crate::planted::extension;
use crate::site::run;
use crate::wheels::Wheel;

const FILE: &str = "evil-nspkg.pth";

/// A published namespace line, for the namespace `evilns`.
pub(crate) fn idiom(arena: &Arena) -> Vec<u8> {
    let tree = Path::new("/srv/zope.event");
    unpack(&arena.wheel("zope.event==4.6"), tree);
    let text = fs::read_to_string(tree.join("zope.event-4.6-py3.9-nspkg.pth")).unwrap();
    assert_eq!(text.matches("'zope'").count(), 5, "{text}");
    text.replace("'zope'", "'evilns'").into_bytes()
}

#[test]
fn a_namespace_that_is_an_extension_module() {
    arena(With::default(), |arena| {
        let line = idiom(arena);
        let so = extension("evilns");
        fs::write("/srv/evilns.so", &so).unwrap();
        let build = |wheel: Wheel| wheel.build("/srv".as_ref());
        let wheel = || Wheel::new("evil", "1.0").file(FILE, line.clone()).file("evilns/part.py", "");
        let first = build(wheel());
        let second = build(Wheel::new("second", "1.0").file("evilns/__init__.so", so.clone()));
        let beside = build(Wheel::new("second", "1.0").file("evilns.abi3.so", so.clone()));
        let by_pip = |name: &'static str, wheels: Vec<PathBuf>| {
            Attack::new(name, FILE, move |spot: &Spot| {
                for (number, wheel) in wheels.iter().enumerate() {
                    let done = spot.env.install(wheel);
                    println!("{name}: {} {}", done.status, done.stderr);
                    if number == 0 && wheels.len() > 1 {
                        spot.approved(FILE);
                    }
                }
            })
        };
        let attacks = [
            by_pip("package", vec![build(wheel().file("evilns/__init__.so", so.clone()))]),
            by_pip(
                "package first",
                vec![build(Wheel::new("evil", "1.0").file("evilns/__init__.so", so.clone()).file(FILE, line.clone()))],
            ),
            by_pip(
                "module",
                vec![build(Wheel::new("evil", "1.0").file(FILE, line.clone()).file("evilns.so", so.clone()))],
            ),
            by_pip("package later", vec![first.clone(), second]),
            by_pip(
                "module later",
                vec![build(Wheel::new("evil", "1.0").file(FILE, line.clone()).file("x.py", "")), beside],
            ),
            Attack::new("package by cp", FILE, |spot: &Spot| {
                spot.env.install(&first).result().unwrap();
                spot.approved(FILE);
                run(tool("cp").args(["/srv/evilns.so", "evilns/__init__.so"]).current_dir(&spot.env.site));
            }),
        ];
        arena.try_all(|name| arena.environment(name), &attacks);
    });
}
