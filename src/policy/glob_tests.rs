#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn glob(text: &str) -> PathGlob {
    PathGlob::new(text).unwrap()
}

#[test]
fn a_star_stays_within_its_component() {
    assert!(glob("/usr/bin/python3*").matches("/usr/bin/python3.11"));
    assert!(!glob("/usr/bin/python3*").matches("/usr/bin/python3/evil"));
    assert!(!glob("/usr/*/x").matches("/usr/a/b/x"));
    assert!(glob("/usr/**/x").matches("/usr/a/b/x"));
    assert!(glob("/usr/**/x").matches("/usr/x"));
    assert!(!glob("/usr/bin[/]x").matches("/usr/bin/x"));
    assert!(!glob("/usr/bin?x").matches("/usr/bin/x"));
    assert!(glob("/home/*/bin/uv").matches("/home/.hidden/bin/uv"));
}

#[test]
fn what_cannot_match_or_costs_too_much_is_refused() {
    for (text, error) in [
        ("usr/bin/x", GlobError::Relative),
        ("", GlobError::Relative),
        ("/", GlobError::NotCanonical),
        ("/usr//bin", GlobError::NotCanonical),
        ("/usr/../bin", GlobError::NotCanonical),
        ("/usr/./bin", GlobError::NotCanonical),
        ("/usr/bin/", GlobError::NotCanonical),
        ("/usr/{bin,sbin}/x", GlobError::Brace),
        ("/**/a/**/b", GlobError::TooManyWildcards),
        ("/*a*b*", GlobError::TooManyWildcards),
        ("/*a*/*b*", GlobError::TooManyWildcards),
    ] {
        assert_eq!(PathGlob::new(text), Err(error), "{text}");
    }
    for text in ["/usr/bin[a", "/\u{fc}sr/bin[a"] {
        assert!(matches!(PathGlob::new(text), Err(GlobError::Syntax { at: 9, .. })), "{text}");
    }
    assert!(matches!(PathGlob::new("/usr/a**"), Err(GlobError::Syntax { .. })));
    assert_eq!(PathGlob::new(&format!("/{}", "a".repeat(5000))), Err(GlobError::TooLong));
    assert!(PathGlob::new("/usr/bin/*x*").is_ok());
}

#[test]
fn covering() {
    for (wide, narrow) in [
        ("/usr/bin/python3*", "/usr/bin/python3.11"),
        ("/usr/bin/*", "/usr/bin/python3*"),
        ("/usr/**", "/usr/lib/**"),
        ("/**", "/usr/*/x"),
        ("/**/x", "/usr/**/x"),
        ("/**/x", "/a/b*/x"),
        ("/usr/?", "/usr/[ab]"),
        ("/usr/[a-c]", "/usr/b"),
        ("/a*", "/a*b"),
        ("/usr/bin/x", "/usr/bin/x"),
    ] {
        assert!(glob(wide).covers(&glob(narrow)), "{wide} {narrow}");
    }
    for (wide, narrow) in [
        ("/usr/bin/python3.11", "/usr/bin/python3*"),
        ("/usr/*", "/usr/**"),
        ("/**/x", "/usr/**"),
        ("/**/x", "/a/*x"),
        ("/a*b", "/a*"),
        ("/usr/*/x", "/usr/x"),
    ] {
        assert!(!glob(wide).covers(&glob(narrow)), "{wide} {narrow}");
    }
}

#[test]
fn interpreters_are_seen_through_wildcards() {
    for text in [
        "/usr/bin/python3*",
        "/usr/bin/python3.13t",
        "/usr/bin/py*",
        "/usr/bin/*",
        "/usr/bin/**",
        "/usr/bin/[p]ython3",
        "/usr/bin/?ash",
        "/usr/bin/d*",
        "/usr/**/*",
        "/usr/bin/perl5.36-x86_64-linux-gnu",
        "/usr/bin/php-fpm8.2",
        "/bin/busybox",
        "/lib64/ld-linux-x86-64.so.2",
    ] {
        assert!(glob(text).may_name_interpreter(), "{text}");
    }
    for text in [
        "/usr/bin/dpkg",
        "/usr/bin/dnf5",
        "/usr/bin/sha256sum",
        "/usr/bin/restic",
        "/nix/store/*/libexec/docker/dockerd",
        "/snap/docker/*/bin/dockerd",
        "/usr/bin/node_exporter",
        "/opt/**/uv",
    ] {
        assert!(!glob(text).may_name_interpreter(), "{text}");
    }
}

#[test]
fn globs_that_name_nothing() {
    assert!(glob("/**").names_nothing());
    assert!(glob("/**/*").names_nothing());
    assert!(glob("/*/?").names_nothing());
    assert!(!glob("/**/pip").names_nothing());
    assert!(!glob("/usr/*").names_nothing());
}

/// Pieces that globs over a tiny alphabet are made of, each with texts that it matches.
fn piece() -> impl Strategy<Value = (&'static str, Vec<&'static str>)> {
    prop::sample::select(vec![
        ("a", vec!["a"]),
        ("b", vec!["b"]),
        ("?", vec!["a", "b"]),
        ("*", vec!["", "a", "ab", "bb"]),
        ("[ab]", vec!["a", "b"]),
        ("[!a]", vec!["b", "c"]),
        ("/", vec!["/"]),
        ("/", vec!["/"]),
        ("/**/", vec!["/", "/a/", "/b/ab/"]),
    ])
}

fn glob_and_path() -> impl Strategy<Value = (String, String)> {
    prop::collection::vec((piece(), any::<prop::sample::Index>()), 1..7).prop_map(|pieces| {
        let mut glob = String::from("/");
        let mut path = String::from("/");
        for ((text, matched), index) in pieces {
            glob.push_str(text);
            path.push_str(matched[index.index(matched.len())]);
        }
        (glob, path)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_covered_is_matched((wide, _) in glob_and_path(), (narrow, path) in glob_and_path()) {
        let (Ok(wide), Ok(narrow)) = (PathGlob::new(&wide), PathGlob::new(&narrow)) else { return Ok(()) };
        if narrow.matches(&path) && wide.covers(&narrow) {
            prop_assert!(wide.matches(&path), "{:?} covers {:?} but does not match {:?}", wide, narrow, path);
        }
        prop_assert!(narrow.covers(&narrow));
    }

    #[test]
    fn the_prefix_never_changes_the_answer((text, path) in glob_and_path()) {
        let Ok(glob) = PathGlob::new(&text) else { return Ok(()) };
        prop_assert_eq!(glob.matches(&path), Pattern::new(&text).unwrap().matches_with(&path, OPTIONS));
    }

    #[test]
    fn any_text_is_compiled_or_refused(text in "/?[a-c*?!\\[\\]/{.-]{0,12}", path in "/[a-c/]{0,8}") {
        if let Ok(glob) = PathGlob::new(&text) {
            let _ = (glob.matches(&path), glob.may_name_interpreter(), glob.names_nothing(), glob.covers(&glob));
        }
    }
}

#[test]
fn a_path_is_an_interpreters_as_the_glob_of_it_is() {
    for path in [
        "/usr/bin/python3.11",
        "/usr/bin/python",
        "/usr/bin/python3.13t",
        "/usr/bin/bash",
        "/usr/bin/bashful",
        "/usr/bin/bas",
        "/lib/ld-linux-x86-64.so.2",
        "/usr/bin/[",
        "/opt/qemu-x86_64",
        "/bin/sh/x",
    ] {
        let glob = PathGlob::new(&::glob::Pattern::escape(path)).unwrap();
        assert_eq!(is_interpreter(path), glob.may_name_interpreter(), "{path}");
    }
}
