//! Published startup files, if there is a collection of them: `PTHGUARD_CORPUS` names a directory with one directory a
//! package, and their startup files in it, at any depth.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;

use pthguard::content::{KnownFiles, classify};
use pthguard::model::{ContentClass, Sha256};

use crate::document;

/// Every startup file below a directory.
fn startup_files(dir: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            startup_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "pth" || extension == "start") {
            files.push((path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()));
        }
    }
}

/// Each namespace file is known by its form, no other is; what executes is told apart from what does not.
#[test]
fn published_files() {
    let Some(corpus) = env::var_os("PTHGUARD_CORPUS") else {
        // The forms themselves are spelled out in the unit tests; this only adds how common each class is.
        println!("PTHGUARD_CORPUS names no collection: nothing compared");
        return;
    };
    let mut files = Vec::new();
    startup_files(Path::new(&corpus), &mut files);
    assert!(!files.is_empty(), "no startup file in {}", corpus.display());
    let known = KnownFiles::built_in();
    let mut counts: BTreeMap<ContentClass, (usize, usize)> = BTreeMap::new();
    for (name, bytes) in &files {
        let found = classify(name.as_bytes(), bytes);
        let listed = known.look_up(name.as_ref(), Sha256::of(bytes)).is_some();
        assert_eq!(found.class == ContentClass::Known, name.ends_with("-nspkg.pth"), "{name}: {}", found.class);
        assert!(found.class != ContentClass::Broken, "{name}");
        let line = found.line.map(|line| line.excerpt()).unwrap_or_default();
        println!("{:8} {:6} {name}  {line}", found.class.as_str(), if listed { "listed" } else { "" });
        let count = counts.entry(found.class).or_default();
        count.0 += 1;
        count.1 += usize::from(listed);
    }
    let mut text = format!("{} files.\n\n| class | files | of these listed |\n| --- | --- | --- |\n", files.len());
    for (class, (number, listed)) in counts {
        text += &format!("| `{class}` | {number} | {listed} |\n");
    }
    println!("{text}");
    if document::writes() {
        document::replace("corpus", &text);
    } else {
        assert_eq!(document::section("corpus"), text, "{}", document::AGAIN);
    }
}
