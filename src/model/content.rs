//! What a startup file says, and whose it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a startup file can do when an interpreter starts. The order is that of the harm that it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentClass {
    /// Nothing: blank lines and comments.
    Empty,
    /// Adds directories to the module search path, none of which holds a `sitecustomize` or `usercustomize`.
    Paths,
    /// Runs an idiom that needs no module of the environment, or is a listed file that the listed package owns.
    Known,
    /// Runs a module of the environment.
    Imports,
    /// Runs anything else.
    Code,
    /// Stops some interpreter from starting.
    Broken,
}

impl ContentClass {
    /// All of them, the most harmless first.
    pub const ALL: [ContentClass; 6] = [
        ContentClass::Empty,
        ContentClass::Paths,
        ContentClass::Known,
        ContentClass::Imports,
        ContentClass::Code,
        ContentClass::Broken,
    ];

    /// The word used in policy files and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ContentClass::Empty => "empty",
            ContentClass::Paths => "paths",
            ContentClass::Known => "known",
            ContentClass::Imports => "imports",
            ContentClass::Code => "code",
            ContentClass::Broken => "broken",
        }
    }

    /// Whether an interpreter runs code because of it.
    #[must_use]
    pub fn executes(self) -> bool {
        match self {
            ContentClass::Empty | ContentClass::Paths | ContentClass::Broken => false,
            ContentClass::Known | ContentClass::Imports | ContentClass::Code => true,
        }
    }
}

impl fmt::Display for ContentClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The package that says that a file is its own. It is information, and a condition that the list of known files asks
/// for; it is no proof of harmlessness.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Package {
    /// Its name, as its database or metadata directory spells it.
    pub name: String,
    /// Its version, where it is told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// Who says so.
    pub source: PackageSource,
}

/// Where the owner of a file is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageSource {
    /// `*.dist-info/RECORD` in the site directory.
    Record,
    /// dpkg's database.
    Dpkg,
    /// rpm's database.
    Rpm,
}

impl PackageSource {
    /// The word used in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PackageSource::Record => "record",
            PackageSource::Dpkg => "dpkg",
            PackageSource::Rpm => "rpm",
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, " {version}"))
    }
}
