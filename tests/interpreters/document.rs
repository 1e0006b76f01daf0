//! `docs/content.md`: written from what came out, or held against it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::python::{Answer, Locale};

/// What one interpreter did with all cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    version: String,
    release: String,
    encoding: String,
    executed: usize,
    paths: usize,
    refused: usize,
    /// Where the classifier said less.
    pub(crate) missed: usize,
}

/// What the classifier said of all cases.
pub(crate) struct Totals {
    pub(crate) files: usize,
    pub(crate) called: usize,
    pub(crate) cautious: usize,
}

impl Row {
    pub(crate) fn new(version: &str, release: &str, locale: Locale) -> Row {
        let encoding = match locale {
            Locale::Utf8 => "UTF-8",
            Locale::Latin1 => "Latin-1",
            Locale::Mixed => "Latin-1, `-X utf8`",
        };
        Row {
            version: version.to_owned(),
            release: release.to_owned(),
            encoding: encoding.to_owned(),
            ..Row::default()
        }
    }

    pub(crate) fn count(&mut self, answer: &Answer) {
        self.executed += usize::from(!answer.seen.is_empty());
        self.paths += usize::from(answer.paths().next().is_some());
        self.refused += usize::from(answer.refused.is_some());
    }

    pub(crate) fn line(&self) -> String {
        let Row { release, encoding, executed, paths, refused, missed, .. } = self;
        format!("| {release} | {encoding} | {executed} | {paths} | {refused} | {missed} |")
    }

    fn parse(line: &str) -> Option<Row> {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [release, encoding, executed, paths, refused, missed] = cells[..] else { return None };
        Some(Row {
            version: release.rsplit_once('.')?.0.to_owned(),
            release: release.to_owned(),
            encoding: encoding.to_owned(),
            executed: executed.parse().ok()?,
            paths: paths.parse().ok()?,
            refused: refused.parse().ok()?,
            missed: missed.parse().ok()?,
        })
    }
}

pub(crate) fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/content.md")
}

/// Whether the document is to be written.
pub(crate) fn writes() -> bool {
    env::var_os("PTHGUARD_CONTENT_WRITE").is_some()
}

/// Put `text` between the marks of a section, everything else stays.
pub(crate) fn replace(section: &str, text: &str) {
    let document = fs::read_to_string(file()).unwrap();
    let (begin, end) = (format!("<!-- {section}:begin -->\n"), format!("<!-- {section}:end -->"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("{begin} is missing"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{end} is missing"));
    fs::write(file(), format!("{before}{begin}{text}{end}{after}")).unwrap();
    println!("wrote {section} of {}", file().display());
}

/// What stands between the marks of a section.
pub(crate) fn section(name: &str) -> String {
    let document = fs::read_to_string(file()).unwrap();
    let (_, rest) = document.split_once(&format!("<!-- {name}:begin -->\n")).unwrap();
    rest.split_once(&format!("<!-- {name}:end -->")).unwrap().0.to_owned()
}

/// Write the rows, or hold them against those of the same version and encoding; others stay as they are.
pub(crate) fn hold(rows: &[Row], totals: Totals) {
    let Totals { files, called, cautious } = totals;
    let mut text = format!(
        "{files} files. The classifier says of {called} that they execute something; in {cautious} of these no interpreter of the \
         table got as far as a payload (a line that cannot be compiled, an entry point that cannot be found).\n\n\
         | CPython | locale | executed | paths taken | does not start | less said than done |\n\
         | --- | --- | --- | --- | --- | --- |\n"
    );
    if writes() {
        for row in rows {
            text += &row.line();
            text.push('\n');
        }
        replace("interpreters", &text);
        return;
    }
    let section = section("interpreters");
    let written: BTreeMap<_, Row> =
        section.lines().filter_map(Row::parse).map(|row| ((row.version.clone(), row.encoding.clone()), row)).collect();
    assert!(section.starts_with(&format!("{files} files. The classifier says of {called} ")), "other cases; {AGAIN}");
    for row in rows {
        let Some(old) = written.get(&(row.version.clone(), row.encoding.clone())) else {
            println!("not in the table: {}", row.line());
            continue;
        };
        let same = Row { release: old.release.clone(), ..row.clone() };
        assert_eq!(same, *old, "the table has other numbers; {AGAIN}");
    }
}

/// How the document is written again.
pub(crate) const AGAIN: &str = "PTHGUARD_CONTENT_WRITE=1 cargo test --test interpreters writes docs/content.md";
