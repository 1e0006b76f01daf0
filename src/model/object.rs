//! What is asked for: startup files.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::content::{ContentClass, Package};

/// How a file came to be approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It was there when the guard first started.
    Baseline,
    /// A writer that the policy permits brought it; the rule's name.
    Writer(Arc<str>),
    /// It was there, and harmless, when the guard came back or first saw the directory: nobody watched who brought it.
    Found,
    /// An administrator approved it on the command line.
    Administrator {
        /// Whoever it was, as the initial user namespace knows him.
        uid: u32,
    },
}

/// A SHA-256 digest. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Sha256(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Sha256 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a SHA-256 digest is 64 hexadecimal digits");
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| "not ASCII")?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| "not hexadecimal")?;
        }
        Ok(Sha256(digest))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What is known of a startup file when a record is written about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Path in the daemon's mount namespace: site directory and name.
    pub path: PathBuf,
    /// Inode number.
    pub inode: Option<u64>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Digest of the content, where it was read.
    pub sha256: Option<Sha256>,
    /// What it can do when an interpreter starts, where it was read.
    pub content: Option<ContentClass>,
    /// The line that makes it so, shortened and escaped.
    pub line: Option<String>,
    /// The package that says that it is its own, where that was looked up.
    pub package: Option<Package>,
}

impl Object {
    /// An object of which only the place is known.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Object { path, inode: None, size: None, sha256: None, content: None, line: None, package: None }
    }
}

/// Modules that Python imports by itself when it starts, from wherever it finds them first.
const CUSTOMIZE: &[&[u8]] = &[b"sitecustomize", b"usercustomize"];
/// The module that a package directory stands for.
const PACKAGE: &[&[u8]] = &[b"__init__"];
/// The directory beside a module in which Python keeps it compiled. A compiled module that fits its source's size and
/// time is run without a look at the source.
const CACHE: &[u8] = b"__pycache__";

/// The names that make an entry of a directory a startup file, compared as bytes and with case, as CPython's `site`
/// module does: suffixes, and modules that are imported at every start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupNames {
    /// Shared: each guarded directory has its own copy of the rest.
    suffixes: Arc<[Vec<u8>]>,
    modules: &'static [&'static [u8]],
    is_cache: bool,
}

impl StartupNames {
    /// Compiles `*.pth`-like patterns: a star, a dot and a literal suffix.
    ///
    /// # Errors
    /// The pattern that is not of that form.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, String> {
        let mut suffixes = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            match pattern.strip_prefix('*') {
                Some(suffix)
                    if suffix.len() > 1 && suffix.starts_with('.') && !suffix.contains(['*', '?', '[', '/']) =>
                {
                    suffixes.push(suffix.as_bytes().to_vec());
                }
                _ => return Err(pattern.to_owned()),
            }
        }
        Ok(StartupNames { suffixes: suffixes.into(), modules: &[], is_cache: false })
    }

    /// `sitecustomize` and `usercustomize` alone: what counts in a directory that is only on the module search path.
    #[must_use]
    pub fn customize() -> Self {
        StartupNames { suffixes: Arc::default(), modules: CUSTOMIZE, is_cache: false }
    }

    /// These names, and `sitecustomize` and `usercustomize`.
    #[must_use]
    pub fn and_customize(self) -> Self {
        StartupNames { modules: CUSTOMIZE, ..self }
    }

    /// What counts in a subdirectory of that name: the code of a package, and what Python has compiled.
    #[must_use]
    pub fn inside(&self, subdirectory: &[u8]) -> Option<Self> {
        let inside = |modules, is_cache| Some(StartupNames { suffixes: Arc::default(), modules, is_cache });
        match subdirectory {
            _ if self.is_cache || self.modules.is_empty() => None,
            CACHE => inside(self.modules, true),
            name if self.modules == CUSTOMIZE && CUSTOMIZE.contains(&name) => inside(PACKAGE, false),
            _ => None,
        }
    }

    /// The subdirectories in which something counts, by name.
    pub fn subdirectories(&self) -> impl Iterator<Item = &'static [u8]> {
        CUSTOMIZE.iter().copied().chain([CACHE]).filter(|name| self.inside(name).is_some())
    }

    /// Whether it is what Python compiled that counts.
    #[must_use]
    pub fn is_cache(&self) -> bool {
        self.is_cache
    }

    /// The patterns, as they are written in a policy file.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        self.suffixes.iter().map(|suffix| format!("*{}", String::from_utf8_lossy(suffix)))
    }

    /// Whether `name`, a directory entry, is a startup file's. A symbolic link can stand for a directory, so the names
    /// of the directories in which something counts are among them.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        self.suffixes.iter().any(|suffix| name.ends_with(suffix))
            || self.modules.iter().any(|module| name.strip_prefix(*module).is_some_and(|rest| self.is_loaded(rest)))
            || self.inside(name).is_some()
    }

    /// Whether Python loads a module's name with this after it: `.py`, `.pyc`, `.cpython-313-x86_64-linux-gnu.so`.
    fn is_loaded(&self, rest: &[u8]) -> bool {
        let suffixes: &[&[u8]] = if self.is_cache { &[b".pyc"] } else { &[b".py", b".pyc", b".so"] };
        rest.starts_with(b".") && suffixes.iter().any(|suffix| rest.ends_with(suffix))
    }
}

/// Whether a name stands for the source of a module: what Python compiles into [`StartupNames::inside`]'s cache.
#[must_use]
pub fn is_module_source(name: &[u8]) -> bool {
    name.ends_with(b".py")
}

/// The `.pth` file whose import lines a `.start` file of this name switches off (PEP 829).
#[must_use]
pub fn switched_off_by(name: &OsStr) -> Option<OsString> {
    other_of_pair(name, b".start", ".pth")
}

/// The `.start` file that would switch off the import lines of a `.pth` file of this name (PEP 829).
#[must_use]
pub fn switch_of(name: &OsStr) -> Option<OsString> {
    other_of_pair(name, b".pth", ".start")
}

fn other_of_pair(name: &OsStr, suffix: &[u8], other: &str) -> Option<OsString> {
    let mut stem = OsStr::from_bytes(name.as_bytes().strip_suffix(suffix)?).to_owned();
    stem.push(other);
    Some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn startup_names_are_suffixes_and_modules_that_python_loads() {
        let names = StartupNames::new(&["*.pth", "*.start"]).unwrap();
        let customize = names.clone().and_customize();
        for name in ["x.pth", ".pth", "x.start"] {
            assert!(names.matches(name.as_bytes()) && customize.matches(name.as_bytes()), "{name}");
        }
        for name in [
            "sitecustomize",
            "sitecustomize.py",
            "usercustomize.pyc",
            "sitecustomize.cpython-313-x86_64-linux-gnu.so",
            "usercustomize.abi3.so",
            "__pycache__",
        ] {
            assert!(!names.matches(name.as_bytes()) && customize.matches(name.as_bytes()), "{name}");
        }
        for name in ["x.PTH", "sitecustomize.txt", "sitecustomize-1.0.dist-info", "mysitecustomize.py", "__init__.py"] {
            assert!(!customize.matches(name.as_bytes()), "{name}");
        }
        assert!(!StartupNames::customize().matches(b"model.pth"), "what is only on the search path has no .pth files");
    }

    #[test]
    fn a_package_is_its_code_and_what_python_compiled() {
        let site = StartupNames::new(&["*.pth"]).unwrap().and_customize();
        let package = site.inside(b"sitecustomize").unwrap();
        assert!(package.matches(b"__init__.py") && package.matches(b"__init__.abi3.so"));
        assert!(!package.matches(b"sitecustomize.py") && !package.matches(b"x.pth"));
        let cache = package.inside(b"__pycache__").unwrap();
        assert!(cache.matches(b"__init__.cpython-311.opt-1.pyc") && !cache.matches(b"__init__.py"));
        let cache = site.inside(b"__pycache__").unwrap();
        assert!(cache.matches(b"usercustomize.cpython-311.pyc") && !cache.matches(b"x.pth"));
        assert!(cache.inside(b"__pycache__").is_none() && site.inside(b"numpy").is_none());
        assert!(StartupNames::new(&["*.pth"]).unwrap().inside(b"sitecustomize").is_none());
    }

    #[test]
    fn a_pair_is_of_one_stem() {
        assert_eq!(switched_off_by(OsStr::new("a.b.start")), Some("a.b.pth".into()));
        assert_eq!(switch_of(OsStr::new("a.pth")), Some("a.start".into()));
        assert_eq!(switch_of(OsStr::new("a.start")), None);
    }
}
