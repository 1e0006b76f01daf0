//! What a host runs.

use serde::{Deserialize, Serialize};

/// The operating system of a host. The guard itself runs on Linux only; recorded events can be of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Os {
    /// Linux.
    Linux,
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

impl Os {
    /// All of them.
    pub const ALL: [Os; 3] = [Os::Linux, Os::MacOs, Os::Windows];

    /// The word used in policy files, and in records (`host.os.type` of the Elastic Common Schema).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Os::Linux => "linux",
            Os::MacOs => "macos",
            Os::Windows => "windows",
        }
    }

    /// The one that is called so in policy files and records.
    #[must_use]
    pub fn named(word: &str) -> Option<Os> {
        Os::ALL.into_iter().find(|os| os.as_str() == word)
    }
}
