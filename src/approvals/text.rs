//! Names and paths in JSON: as text where they are UTF-8, as hexadecimal digits where they are not.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

/// A file name or path in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum FileName {
    Text(String),
    Bytes { hex: String },
}

impl From<&OsStr> for FileName {
    fn from(name: &OsStr) -> Self {
        match name.to_str() {
            Some(text) => FileName::Text(text.to_owned()),
            None => FileName::Bytes { hex: name.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }
}

impl TryFrom<&FileName> for OsString {
    type Error = &'static str;

    fn try_from(name: &FileName) -> Result<Self, Self::Error> {
        match name {
            FileName::Text(text) => Ok(text.into()),
            FileName::Bytes { hex } if hex.len() % 2 == 0 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                let digits = hex.as_bytes().chunks(2);
                let byte = |pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
                let bytes: Option<Vec<u8>> = digits.map(byte).collect();
                bytes.map(OsString::from_vec).ok_or("a name that is no hexadecimal number")
            }
            FileName::Bytes { .. } => Err("a name that is no hexadecimal number"),
        }
    }
}
