//! The text of a `RECORD`: which files a package says that it brought, with their digests. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use csv_core::{ReadFieldResult, Reader};

use crate::model::Sha256;

/// What a row says of the file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    /// Their SHA-256.
    Sha256(Sha256),
    /// Nothing, or something in another algorithm.
    Untold,
}

impl Digest {
    fn parse(field: &[u8]) -> Self {
        let text = field.strip_prefix(b"sha256=");
        let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let digest: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
        digest.map_or(Digest::Untold, |digest| Digest::Sha256(Sha256(digest)))
    }
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// The path as it is written.
    pub(super) path: &'a [u8],
    digest: &'a [u8],
}

impl Row<'_> {
    pub(super) fn digest(&self) -> Digest {
        Digest::parse(self.digest)
    }
}

/// Hands every row to `each`.
///
/// A text without quotes and carriage returns, which is nearly every one, is cut at line feeds and commas: a hundred
/// packages of a thousand files each are read in milliseconds.
pub(super) fn rows(text: &[u8], mut each: impl FnMut(Row<'_>)) {
    if text.iter().any(|byte| matches!(byte, b'"' | b'\r')) {
        return quoted_rows(text, each);
    }
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b',');
        let path = fields.next().unwrap_or_default();
        if !path.is_empty() {
            each(Row { path, digest: fields.next().unwrap_or_default() });
        }
    }
}

fn quoted_rows(mut text: &[u8], mut each: impl FnMut(Row<'_>)) {
    let mut reader = Reader::new();
    // No field is longer than the text.
    let mut buffer = vec![0; text.len() + 1];
    let (mut fields, mut field, mut start, mut end) = ([(0, 0); 2], 0, 0, 0);
    loop {
        let (result, read, written) = reader.read_field(text, &mut buffer[end..]);
        text = &text[read..];
        end += written;
        let is_last = match result {
            ReadFieldResult::InputEmpty => continue, // the next call, without input, ends the last field
            ReadFieldResult::OutputFull | ReadFieldResult::End => return,
            ReadFieldResult::Field { record_end } => record_end,
        };
        if let Some(place) = fields.get_mut(field) {
            *place = (start, end);
        }
        (field, start) = (field + 1, end);
        if is_last {
            let [path, digest] = fields.map(|(start, end)| &buffer[start..end]);
            if !path.is_empty() {
                each(Row { path, digest });
            }
            (fields, field, start, end) = ([(0, 0); 2], 0, 0, 0);
        }
    }
}

/// The components of a relative path that stays below where it starts, read as text; `None` for any other path.
pub(super) fn components(path: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let parts = || path.split(|byte| *byte == b'/');
    let strays = path.starts_with(b"/") || parts().any(|part| part == b"..");
    (!strays).then(|| parts().filter(|part| !matches!(*part, b"" | b".")))
}

/// A path as directory and last component; the directory is empty where the path has one component.
pub(super) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        None => (&[], path),
        Some(0) => (&path[..1], &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Vec<(Vec<u8>, Digest)> {
        let mut found = Vec::new();
        rows(text, |row| found.push((row.path.to_vec(), row.digest())));
        found
    }

    fn of(bytes: &[u8]) -> (String, Digest) {
        let digest = Sha256::of(bytes);
        (format!("sha256={}", URL_SAFE_NO_PAD.encode(digest.0)), Digest::Sha256(digest))
    }

    #[test]
    fn rows_of_an_ordinary_file() {
        let (text, digest) = of(b"import x\n");
        let record = format!("x.pth,{text},9\nx-1.dist-info/RECORD,,\n\ny.pth\n");
        let expected = [("x.pth", digest), ("x-1.dist-info/RECORD", Digest::Untold), ("y.pth", Digest::Untold)];
        assert_eq!(read(record.as_bytes()), expected.map(|(path, digest)| (path.as_bytes().to_vec(), digest)));
    }

    #[test]
    fn quotes_line_feeds_and_carriage_returns_in_names_hide_and_forge_nothing() {
        let (text, digest) = of(b"");
        let record =
            format!("\"a,\"\"b\ndistutils-precedence.pth,{text},\",,\r\n\"x.pth\",\"{text}\",0\rz.pth,{text},");
        let paths = [format!("a,\"b\ndistutils-precedence.pth,{text},"), "x.pth".into(), "z.pth".into()];
        let digests = [Digest::Untold, digest, digest];
        let expected: Vec<_> = paths.map(String::into_bytes).into_iter().zip(digests).collect();
        assert_eq!(read(record.as_bytes()), expected);
    }

    #[test]
    fn only_whole_sha256_digests_count() {
        let (text, _) = of(b"");
        for other in ["", "sha256=", "md5=1B2M2Y8AsgTpgAmY7PhCfg", "sha512=AA", &text[..text.len() - 1]] {
            assert_eq!(Digest::parse(other.as_bytes()), Digest::Untold, "{other}");
        }
        assert_eq!(Digest::parse(format!("{text}=").as_bytes()), Digest::Untold);
        assert_eq!(Digest::parse(text.to_uppercase().as_bytes()), Digest::Untold);
    }

    #[test]
    fn paths_are_read_as_text_only_where_that_is_safe() {
        let parts = |path: &str| components(path.as_bytes()).map(|parts| parts.map(<[u8]>::to_vec).collect::<Vec<_>>());
        assert_eq!(parts("./x//y"), Some(vec![b"x".to_vec(), b"y".to_vec()]));
        assert_eq!(parts("x\\y"), Some(vec![b"x\\y".to_vec()]), "a backslash is a letter here");
        assert_eq!(parts("../x"), None);
        assert_eq!(parts("/x"), None);
    }

    #[test]
    fn directory_and_name() {
        let split = |path: &'static str| split_last(path.as_bytes());
        assert_eq!(split("x"), (&b""[..], &b"x"[..]));
        assert_eq!(split("/x"), (&b"/"[..], &b"x"[..]));
        assert_eq!(split("a/b/x"), (&b"a/b"[..], &b"x"[..]));
        assert_eq!(split("a/"), (&b"a"[..], &b""[..]));
    }

    proptest! {
        #[test]
        fn total_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn both_readers_agree(text in "[a-c,/.\n]{0,60}") {
            let mut slow = Vec::new();
            quoted_rows(text.as_bytes(), |row| slow.push((row.path.to_vec(), row.digest())));
            prop_assert_eq!(read(text.as_bytes()), slow);
        }

        #[test]
        fn a_quoted_name_is_read_back(name in "[ -~\n\r]{1,20}", other in "[a-z]{1,8}") {
            let text = format!("{other},,\n\"{}\",,\n{other},,\n", name.replace('"', "\"\""));
            let paths: Vec<_> = read(text.as_bytes()).into_iter().map(|(path, _)| path).collect();
            prop_assert_eq!(paths, [other.as_bytes(), name.as_bytes(), other.as_bytes()]);
        }
    }
}
