//! Names and paths in JSON: as text where they are UTF-8, as hexadecimal digits where they are not. For
//! `#[serde(with = "text")]`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A file name or path, without loss.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum FileName {
    Text(String),
    Bytes(Hex),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hex {
    hex: String,
}

/// Writes a name.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(name: &(impl AsRef<OsStr> + ?Sized), serializer: S) -> Result<S::Ok, S::Error> {
    let name = name.as_ref();
    let name = match name.to_str() {
        Some(text) => FileName::Text(text.to_owned()),
        None => FileName::Bytes(Hex { hex: hex::encode(name.as_bytes()) }),
    };
    name.serialize(serializer)
}

/// Reads a name.
///
/// # Errors
/// Neither text nor an even number of hexadecimal digits.
pub fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let name = match FileName::deserialize(deserializer)? {
        FileName::Text(text) => OsString::from(text),
        FileName::Bytes(Hex { hex }) => OsString::from_vec(hex::decode(hex).map_err(de::Error::custom)?),
    };
    Ok(T::from(name))
}
