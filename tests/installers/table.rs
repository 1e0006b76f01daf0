//! The table of what installers did, as a Markdown document, and whether it still holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One operation, as the run showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) installer: String,
    pub(crate) version: String,
    pub(crate) operation: String,
    pub(crate) mechanism: String,
    pub(crate) rule: String,
    pub(crate) verdict: String,
    pub(crate) afterwards: String,
}

impl Row {
    fn cells(&self) -> [&str; 7] {
        [&self.installer, &self.version, &self.operation, &self.mechanism, &self.rule, &self.verdict, &self.afterwards]
    }

    fn parse(line: &str) -> Option<Row> {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [installer, version, operation, mechanism, rule, verdict, afterwards] = cells.as_slice() else {
            return None;
        };
        let [installer, version, operation, mechanism, rule, verdict, afterwards] =
            [installer, version, operation, mechanism, rule, verdict, afterwards].map(|cell| (*cell).to_owned());
        let row = Row { installer, version, operation, mechanism, rule, verdict, afterwards };
        (row.installer != "installer" && !row.installer.starts_with("---")).then_some(row)
    }

    /// What names a row; the rest is what the run found.
    fn key(&self) -> (String, String) {
        (self.installer.clone(), self.operation.clone())
    }
}

const HEAD: &str = "\
# Installers

What real installers do under the built-in policy, enforced, and what programs that are no installers get. Every cell
comes from a run of `cargo test --test installers` or, for container engines, `cargo test --test containers`
(`PTHGUARD_INSTALLERS_WRITE=1` writes this file, see [tests/README.md](../tests/README.md)); an ordinary run fails when an
installer, an operation, a mechanism, a rule or a verdict is no longer what is written here.

*Mechanism* is how the startup file came to its name: `open` is a permission event, denied in-line; `rename`, `link` and
`symlink` are judged when they are noticed and undone; `delete` is only recorded. `-` means that there was nothing to
decide: a file went away, or bytes came that were approved for this name already. *Verdict* `held` means that the writer
was permitted and that what it brought is more than its rule's `content` lets in: the file is in its place, and nobody reads
it before it is approved. *Afterwards* is what was found when all
was done: `obeyed` means that the file is readable and that the environment's interpreter did what it says, `old` that
the file of before the operation is in its place.

";

/// The document.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| installer | version | operation | mechanism | rule | verdict | afterwards |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for row in rows {
        text.push_str(&format!("| {} |\n", row.cells().join(" | ")));
    }
    text
}

/// Write `rows` into the document, or hold them against it: what differs. Rows of it that did not run stay as they are.
pub(crate) fn reconcile(file: &Path, rows: &[Row]) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut written: Vec<Row> = text.lines().filter_map(Row::parse).collect();
    let ran: BTreeMap<_, &Row> = rows.iter().map(|row| (row.key(), row)).collect();
    assert_eq!(ran.len(), rows.len(), "two rows of the same installer and operation");
    if std::env::var_os("PTHGUARD_INSTALLERS_WRITE").is_some() {
        merge(&mut written, rows);
        fs::write(file, render(&written)).unwrap();
        println!("wrote {}", file.display());
        return Vec::new();
    }
    let mut differences = Vec::new();
    let known: BTreeMap<_, &Row> = written.iter().map(|row| (row.key(), row)).collect();
    for row in rows {
        let Some(old) = known.get(&row.key()) else {
            differences.push(format!("not in the table: {}", row.cells().join(" | ")));
            continue;
        };
        if old.version != row.version {
            println!("{}, {}: {} here, {} in the table", row.installer, row.operation, row.version, old.version);
        }
        if (Row { version: row.version.clone(), ..(*old).clone() }) != *row {
            differences.push(format!(
                "in the table: {}\nnow:          {}",
                old.cells().join(" | "),
                row.cells().join(" | ")
            ));
        }
    }
    if !differences.is_empty() {
        differences.push(format!("PTHGUARD_INSTALLERS_WRITE=1 cargo test --test installers writes {}", file.display()));
    }
    differences
}

/// Replace the rows that ran and add new ones behind the last row of the same installer.
fn merge(written: &mut Vec<Row>, rows: &[Row]) {
    for row in rows {
        if let Some(old) = written.iter_mut().find(|old| old.key() == row.key()) {
            *old = row.clone();
        } else {
            let behind = written.iter().rposition(|old| old.installer == row.installer);
            written.insert(behind.map_or(written.len(), |at| at + 1), row.clone());
        }
    }
}
