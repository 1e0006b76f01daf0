//! Tables in `docs/` that these tests write, or are held against.

use std::fs;
use std::path::Path;

/// Whether tables are to be written instead of held against what came out.
pub(crate) fn is_written() -> bool {
    std::env::var_os("PTHGUARD_DETECTION_WRITE").is_some()
}

/// What stands between the marks of a name.
pub(crate) fn table(file: &Path, name: &str) -> String {
    let document = fs::read_to_string(file).unwrap();
    split(&document, name).1.to_owned()
}

/// The table of that name is this one.
///
/// # Panics
///
/// Where the document says something else.
pub(crate) fn says(file: &Path, name: &str, table: &str) {
    let document = fs::read_to_string(file).unwrap();
    let (before, written, after) = split(&document, name);
    if is_written() {
        fs::write(file, format!("{before}{table}{after}")).unwrap();
        println!("wrote {name} in {}", file.display());
        return;
    }
    assert_eq!(written, table, "PTHGUARD_DETECTION_WRITE=1 cargo test --test detection writes {}", file.display());
}

fn split<'a>(document: &'a str, name: &str) -> (&'a str, &'a str, &'a str) {
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->\n"));
    let from = document.find(&begin).unwrap_or_else(|| panic!("no mark {begin}")) + begin.len();
    let to = document.find(&end).unwrap_or_else(|| panic!("no mark {end}"));
    (&document[..from], &document[from..to], &document[to..])
}
