//! The lines that setuptools writes into `NAME-nspkg.pth`, known by their form.
//!
//! Six generations, each with the first release that is known to have it; a nested package has one more statement at its end. Only
//! the package's name varies, and it stands in several places. So the name is read from the first of them, the whole line
//! is written anew from it, and has to be the same, byte for byte.
//!
//! What they run beside themselves are modules of the standard library, which no entry that a `.pth` adds to the search
//! path comes before. Three things make that untrue, and are looked at:
//!
//! * A namespace that is called like a module of the standard library would extend or replace that module: `encodings`
//!   finds codecs in the site directory then. Such names are refused, and those that begin with an underscore.
//! * `develop` writes a fixed directory in place of `sitedir`. That could be any directory; the form is refused.
//! * From setuptools 31 on the line asks for the package's module. Python code does not run for that, nor does the
//!   parent's; but an *extension module* of the name is loaded. It is not in the line, so the caller has to look
//!   ([`super::Findings::namespaces`]).
//!
//! The form of setuptools 0.6 imports `new`, a module of Python 2: today that is whatever has the name. It is no idiom.

use super::imports::is_name;
use super::standard::is_standard;

/// Longest line that is looked at; names in the wild have less than 60 characters.
const MAX_LINE: usize = 4096;

/// A generation: what stands between its statements, and the statements, with the package's name as `PKG` in quotes
/// and as `PTH`, the tuple of its parts.
struct Generation {
    between: &'static str,
    statements: &'static [&'static str],
}

const SITE: &str = "p = os.path.join(sys._getframe(1).f_locals['sitedir'], *PTH)";
const FIND: &str =
    "importlib.util.module_from_spec(importlib.machinery.PathFinder.find_spec(PKG, [os.path.dirname(p)]))";
const PATH: &str = "mp = (m or []) and m.__dict__.setdefault('__path__',[])";
const JOIN: &str = "(p not in mp) and mp.append(p)";
const NESTED: &str = "m and setattr(sys.modules[PARENT], CHILD, m)";

const GENERATIONS: &[Generation] = &[
    // 0.7
    Generation {
        between: "; ",
        statements: &[
            "import sys,types,os",
            SITE,
            "ie = os.path.exists(os.path.join(p,'__init__.py'))",
            "m = not ie and sys.modules.setdefault(PKG,types.ModuleType(PKG))",
            PATH,
            JOIN,
        ],
    },
    // 7
    Generation {
        between: ";",
        statements: &[
            "import sys, types, os",
            SITE,
            "ie = os.path.exists(os.path.join(p,'__init__.py'))",
            "m = not ie and sys.modules.setdefault(PKG, types.ModuleType(PKG))",
            PATH,
            JOIN,
        ],
    },
    // 28
    Generation {
        between: ";",
        statements: &[
            "import sys, types, os",
            "pep420 = sys.version_info > (3, 3)",
            SITE,
            "ie = os.path.exists(os.path.join(p,'__init__.py'))",
            "m = not ie and not pep420 and sys.modules.setdefault(PKG, types.ModuleType(PKG))",
            PATH,
            JOIN,
        ],
    },
    // 31
    Generation {
        between: ";",
        statements: &[
            "import sys, types, os",
            "has_mfs = sys.version_info > (3, 5)",
            SITE,
            "importlib = has_mfs and __import__('importlib.util')",
            "has_mfs and __import__('importlib.machinery')",
            "m = has_mfs and sys.modules.setdefault(PKG, FIND)",
            "m = m or not has_mfs and sys.modules.setdefault(PKG, types.ModuleType(PKG))",
            PATH,
            JOIN,
        ],
    },
    // 35
    Generation {
        between: ";",
        statements: &[
            "import sys, types, os",
            "has_mfs = sys.version_info > (3, 5)",
            SITE,
            "importlib = has_mfs and __import__('importlib.util')",
            "has_mfs and __import__('importlib.machinery')",
            "m = has_mfs and sys.modules.setdefault(PKG, FIND)",
            "m = m or sys.modules.setdefault(PKG, types.ModuleType(PKG))",
            PATH,
            JOIN,
        ],
    },
    // 70
    Generation {
        between: ";",
        statements: &[
            "import sys, types, os",
            SITE,
            "importlib = __import__('importlib.util')",
            "__import__('importlib.machinery')",
            "m = sys.modules.setdefault(PKG, FIND)",
            "m = m or sys.modules.setdefault(PKG, types.ModuleType(PKG))",
            PATH,
            JOIN,
        ],
    },
];

impl Generation {
    /// The line for a package.
    fn line(&self, parts: &[&str]) -> String {
        let quoted = |name: &str| format!("'{name}'");
        let mut path: Vec<String> = parts.iter().map(|part| quoted(part)).collect();
        if let [only] = path.as_mut_slice() {
            only.push(',');
        }
        let mut text = self.statements.join(self.between);
        if let [parents @ .., child] = parts
            && !parents.is_empty()
        {
            text += self.between;
            text += &NESTED.replace("PARENT", &quoted(&parents.join("."))).replace("CHILD", &quoted(child));
        }
        text.replace("FIND", FIND)
            .replace("PKG", &quoted(&parts.join(".")))
            .replace("PTH", &format!("({})", path.join(", ")))
    }
}

/// The dotted name of the package that `line` prepares, if it is one of these lines.
pub(super) fn prepared(line: &str) -> Option<String> {
    if line.len() > MAX_LINE {
        return None;
    }
    let (_, rest) = line.split_once("['sitedir'], *(")?;
    let (tuple, _) = rest.split_once(')')?;
    let parts: Vec<&str> = tuple
        .strip_suffix(',')
        .unwrap_or(tuple)
        .split(", ")
        .map(|part| part.strip_prefix('\'')?.strip_suffix('\''))
        .collect::<Option<_>>()?;
    let named = parts.iter().all(|part| is_name(part) && !part.starts_with('_'));
    if !named || parts.first().is_none_or(|first| is_standard(first)) {
        return None;
    }
    GENERATIONS.iter().any(|generation| generation.line(&parts) == line).then(|| parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::{GENERATIONS, prepared};

    #[test]
    fn every_generation_of_a_package() {
        for generation in GENERATIONS {
            for parts in [&["zope"][..], &["google", "cloud"], &["a", "b", "c_1"]] {
                let line = generation.line(parts);
                assert_eq!(prepared(&line), Some(parts.join(".")), "{line}");
                assert!(!line.contains("PKG") && !line.contains("PTH") && !line.contains("FIND"), "{line}");
            }
        }
    }

    /// As setuptools 79 writes it, spelled out.
    #[test]
    fn a_published_line() {
        let line = "import sys, types, os;p = os.path.join(sys._getframe(1).f_locals['sitedir'], *('a', 'b'));\
            importlib = __import__('importlib.util');__import__('importlib.machinery');\
            m = sys.modules.setdefault('a.b', importlib.util.module_from_spec(\
            importlib.machinery.PathFinder.find_spec('a.b', [os.path.dirname(p)])));\
            m = m or sys.modules.setdefault('a.b', types.ModuleType('a.b'));\
            mp = (m or []) and m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p);\
            m and setattr(sys.modules['a'], 'b', m)";
        assert_eq!(prepared(line).as_deref(), Some("a.b"));
    }

    #[test]
    fn names_that_mean_something_else() {
        for generation in GENERATIONS {
            for parts in [
                &["os"][..],
                &["encodings"],
                &["encodings", "evil"],
                &["site"],
                &["sitecustomize"],
                &["usercustomize"],
                &["__main__"],
                &["_distutils_hack"],
                &["a", "__init__"],
                &["class"],
                &["a", "import"],
                &["1a"],
                &["a.b"],
                &["a/b"],
                &[".."],
                &["\u{e4}"],
                &[""],
                &["a", ""],
                &["a'"],
                &["a\\x62"],
            ] {
                assert_eq!(prepared(&generation.line(parts)), None, "{parts:?}");
            }
        }
    }

    /// Each byte left out, doubled, or turned into another; each token left out or doubled.
    #[test]
    fn nothing_can_be_changed() {
        for generation in GENERATIONS {
            for parts in [&["zope"][..], &["google", "cloud"]] {
                let line = generation.line(parts);
                for at in 0..line.len() {
                    let (before, after) = line.split_at(at);
                    let mut changed =
                        vec![format!("{before}{}", &after[1..]), format!("{before}{}{after}", &after[..1])];
                    changed.extend(["x", ";", " ", "'", "\\", "\t"].map(|new| format!("{before}{new}{}", &after[1..])));
                    for text in changed.into_iter().filter(|text| *text != line) {
                        assert_eq!(prepared(&text), None, "{text}");
                    }
                }
                let tokens: Vec<&str> = line.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).collect();
                for at in 0..tokens.len() {
                    let without: String = [&tokens[..at], &tokens[at + 1..]].concat().concat();
                    let doubled: String = [&tokens[..=at], &tokens[at..]].concat().concat();
                    assert_eq!(prepared(&without), None, "{without}");
                    assert_eq!(prepared(&doubled), None, "{doubled}");
                }
                for text in [format!("{line};"), format!("{line} "), format!(" {line}"), format!("{line};import evil")]
                {
                    assert_eq!(prepared(&text), None, "{text}");
                }
            }
        }
    }

    /// What `develop` writes: a directory in place of the site directory.
    #[test]
    fn a_fixed_directory() {
        for generation in GENERATIONS {
            let line = generation.line(&["zope"]);
            assert_eq!(prepared(&line.replace("sys._getframe(1).f_locals['sitedir']", "'/tmp/evil'")), None);
        }
    }
}
