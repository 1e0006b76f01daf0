//! Lines that do nothing but import modules and call something in them.
//!
//! ```text
//! line      = statement { ";" statement } [ ";" ]          the first statement is an import
//! statement = "import" module [ "as" name ] { "," module [ "as" name ] }
//!           | name "." name { "." name } "(" ")"           the first name is one that the line has imported
//! ```
//!
//! They run what is installed under these names, and nothing that the line itself brings.

/// Longest line that is looked at; those of installers have at most 100 bytes.
const MAX_LINE: usize = 4096;

/// Whether `line`, which an interpreter executes, is of this form. Anything but ASCII, and a comment, is not.
pub(super) fn only_imports(line: &str) -> bool {
    if line.len() > MAX_LINE {
        return false;
    }
    let mut bound = Vec::new();
    let mut statements =
        line.trim_matches([' ', '\t', '\r', '\n']).split(';').map(|text| text.trim_matches([' ', '\t']));
    let Some(first) = statements.next() else { return false };
    if !import(first, &mut bound) {
        return false;
    }
    let mut last_was_empty = false;
    for statement in statements {
        if last_was_empty {
            return false;
        }
        last_was_empty = statement.is_empty();
        if !last_was_empty && !import(statement, &mut bound) && !call(statement, &bound) {
            return false;
        }
    }
    true
}

/// An import statement; what it binds goes to `bound`.
fn import<'a>(statement: &'a str, bound: &mut Vec<&'a str>) -> bool {
    let Some(modules) = statement.strip_prefix("import").filter(|rest| rest.starts_with([' ', '\t'])) else {
        return false;
    };
    modules.split(',').all(|module| {
        let mut words = module.split([' ', '\t']).filter(|word| !word.is_empty());
        let Some(dotted) = words.next().filter(|word| is_dotted(word)) else { return false };
        let name = match (words.next(), words.next(), words.next()) {
            (None, ..) => dotted.split('.').next().unwrap_or(dotted),
            (Some("as"), Some(name), None) if is_name(name) => name,
            _ => return false,
        };
        bound.push(name);
        true
    })
}

/// A call without arguments of an attribute of something that was imported.
fn call(statement: &str, bound: &[&str]) -> bool {
    statement
        .strip_suffix("()")
        .is_some_and(|path| is_dotted(path) && path.split_once('.').is_some_and(|(first, _)| bound.contains(&first)))
}

/// Names with dots between them.
pub(super) fn is_dotted(text: &str) -> bool {
    text.split('.').all(is_name)
}

/// A name in ASCII that is no keyword.
pub(super) fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !KEYWORDS.contains(&text)
}

/// Of every version from 3.6 to 3.15.
const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

#[cfg(test)]
mod tests {
    use super::only_imports;

    #[test]
    fn imports_and_calls() {
        for line in [
            "import x",
            "import\tx",
            "import x\n",
            "import x;",
            "import x, y",
            "import x; x.f()",
            "import x;x.f();",
            "import x.y; x.y.z.f()",
            "import a.b as c; c.d.f()",
            "import a.b as c, d ; import e; d.f() ; e.f()",
        ] {
            assert!(only_imports(line), "{line:?}");
        }
    }

    #[test]
    fn anything_else() {
        for line in [
            "import x; y.f()",
            "import x.y; y.f()",
            "import x as y; x.f()",
            "import x; x()",
            "import x; x.f(1)",
            "import x; x.f",
            "import x; x.f().g()",
            "import x; x.f()()",
            "import x;; x.f()",
            "import x; exec('')",
            "import x # c",
            "import x; x.f() if x else 0",
            "import x\x0bimport y",
            "import x\x0c",
            "import x\nx.f(1)",
            "import x\u{a0}",
            "import \u{445}",
            "import x; x.f()\\",
            "import .x",
            "import 1x",
            "import class",
            "import x as",
            "import x y",
            "import x,",
            "import ",
            "importx",
            "from x import y",
        ] {
            assert!(!only_imports(line), "{line:?}");
        }
    }
}
