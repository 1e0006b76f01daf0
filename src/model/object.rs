//! What is asked for: startup files.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

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
    /// Whether some version of CPython would execute a line of it, where it was read.
    pub executes: Option<bool>,
}

impl Object {
    /// An object of which only the place is known.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Object { path, inode: None, size: None, sha256: None, executes: None }
    }
}

/// The names that make a file a startup file: a list of suffixes, compared as bytes and with case, as CPython's
/// `site` module does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupNames {
    suffixes: Vec<Vec<u8>>,
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
        Ok(StartupNames { suffixes })
    }

    /// The patterns, as they are written in a policy file.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        self.suffixes.iter().map(|suffix| format!("*{}", String::from_utf8_lossy(suffix)))
    }

    /// Whether `name`, a directory entry, is a startup file's.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        self.suffixes.iter().any(|suffix| name.ends_with(suffix))
    }
}
