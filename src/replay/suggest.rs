//! A rule that would allow a writer, for whoever has looked at it and wants it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::ReplayError;
use super::judge::{Why, glob_of};
use super::tally::{Tally, Who, Writer};
use crate::audit::escape;
use crate::model::{ContentClass, Reason};
use crate::policy::{PathGlob, is_interpreter};

/// Directories that a rule names one by one.
const MAX_SITES: usize = 16;
/// Bytes of a program's name in that of its rule, which a policy limits.
const MAX_SHOWN: usize = 90;

/// A commented rule for what `chosen` was denied: an executable, or the script that an interpreter ran.
pub(super) fn suggest(tally: &Tally, chosen: &str) -> Result<String, ReplayError> {
    let is_chosen = |who: &Who| who.exe == chosen || who.script.as_deref() == Some(chosen);
    let all = tally.writers_by_count();
    let found: Vec<_> = all.into_iter().filter(|(who, _)| is_chosen(who)).collect();
    let Some((who, _)) = found.first() else { return Err(ReplayError::NoSuchWriter(chosen.to_owned())) };
    let of_one: Vec<&Writer> = found
        .iter()
        .filter(|(other, _)| (&other.exe, &other.script) == (&who.exe, &who.script))
        .map(|(_, writer)| *writer)
        .collect();
    let others = found.len() - of_one.len();
    rule(who, &of_one, others)
}

fn rule(who: &Who, writers: &[&Writer], others: usize) -> Result<String, ReplayError> {
    let cannot = |why| ReplayError::CannotSuggest { exe: who.exe.clone(), why };
    if !who.exe.starts_with('/') {
        return Err(cannot("its executable was not recorded with its path"));
    }
    let program = match who.script.as_deref() {
        None if is_interpreter(&who.exe) => {
            return Err(cannot(
                "it is an interpreter, and which script it ran is not known: a rule would let in whatever it runs",
            ));
        }
        None => None,
        Some("-c" | "-") => return Err(cannot("it ran what stood on its command line or came from standard input")),
        Some(script) => match script.strip_prefix("-m ") {
            Some(module) if is_module(module) => Some(("module", module)),
            Some(_) => return Err(cannot("it ran a module of a name that cannot be written in a policy")),
            None if script.starts_with('/') => Some(("script", script)),
            None => return Err(cannot("it ran a script that was not recorded with its whole path")),
        },
    };
    let mut paths =
        std::iter::once(who.exe.as_str()).chain(program.filter(|(key, _)| *key == "script").map(|(_, path)| path));
    if paths.any(|path| PathGlob::new(&glob_of(path)).is_err()) {
        return Err(cannot("it has a path that cannot be written in a policy"));
    }
    let contained: u64 = writers.iter().map(|writer| writer.contained).sum();
    let count: u64 = writers.iter().map(|writer| writer.count).sum();
    let name = program.map_or(who.exe.as_str(), |(_, program)| program);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# {count} operations in the records would not have been allowed, the first on");
    if let Some(first) = writers.first() {
        let _ = writeln!(text, "# {}", escape(first.path.as_bytes()));
    }
    if contained == count {
        return Err(cannot("it ran in a container: write a rule with containers = true yourself, and name its sites"));
    }
    if contained > 0 {
        let _ = writeln!(text, "# {contained} of them were those of containers, which are not covered.");
    }
    let denying: BTreeSet<&str> = writers
        .iter()
        .filter(|writer| writer.reason == Why::Decided(Reason::Rule))
        .filter_map(|writer| writer.rule.as_deref())
        .collect();
    for rule in denying {
        let _ = writeln!(text, "# Rule {} denies it: put this one before that.", quoted(rule));
    }
    if others > 0 {
        let _ = writeln!(text, "# {others} other programs of this name are not covered.");
    }
    let _ = writeln!(text, "# Look at it before you use it: whoever can be this program can write these files then.");
    let _ = writeln!(text, "[[allow]]\nname = {}", quoted(&named(name)));
    let _ = writeln!(text, "exe = [{}]", quoted(&glob_of(&who.exe)));
    if let Some((key, program)) = program {
        let program = if key == "script" { glob_of(program) } else { program.to_owned() };
        let _ = writeln!(text, "{key} = [{}]", quoted(&program));
        let _ = writeln!(text, "scope = \"any\"");
    }
    let all = |of: fn(&Writer) -> Vec<String>| -> Vec<String> {
        let mut all: Vec<String> = writers.iter().flat_map(|writer| of(writer)).collect();
        all.sort();
        all.dedup();
        all
    };
    let uids = all(|writer| writer.uids.iter().map(u32::to_string).collect());
    if !uids.is_empty() {
        let _ = writeln!(text, "uid = [{}]", uids.join(", "));
    }
    let sites = all(|writer| writer.directories.iter().map(|directory| glob_of(directory)).collect());
    if sites.len() <= MAX_SITES && !sites.is_empty() {
        let sites: Vec<String> = sites.iter().map(|site| quoted(site)).collect();
        let _ = writeln!(text, "sites = [{}]", sites.join(", "));
    } else {
        let _ = writeln!(
            text,
            "# In more than {MAX_SITES} directories: this is for all, name with sites those that you mean."
        );
    }
    let mut accesses = all(|writer| writer.accesses().into_iter().map(str::to_owned).collect());
    if accesses.is_empty() {
        return Err(cannot("it made special files, which no rule allows"));
    }
    accesses.iter_mut().for_each(|access| *access = quoted(access));
    let _ = writeln!(text, "access = [{}]", accesses.join(", "));
    let contents = all(|writer| writer.contents.iter().map(|class| (*class).to_owned()).collect());
    let beyond: Vec<&String> = contents.iter().filter(|class| *class != ContentClass::Broken.as_str()).collect();
    if beyond.is_empty() {
        let _ = writeln!(
            text,
            "# What the files said is not in the records: this lets in what runs nothing, the rest is held."
        );
    }
    let mut classes = vec!["empty", "paths", "known"];
    classes.extend(["imports", "code"].into_iter().filter(|class| beyond.iter().any(|of| of == class)));
    let classes: Vec<String> = classes.into_iter().map(quoted).collect();
    let _ = writeln!(text, "content = [{}]", classes.join(", "));
    Ok(text)
}

/// What the rule is called: unlike any other suggestion, where the name of a rule can be that long.
fn named(program: &str) -> String {
    let last = program.rsplit('/').next().unwrap_or(program);
    let mut name = format!("allowed: {}", if program.len() <= MAX_SHOWN { program } else { last });
    name = name.replace(char::is_control, " ");
    name.truncate(name.floor_char_boundary(MAX_SHOWN));
    name
}

/// As `config` wants a module's name.
fn is_module(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    name.split('.').all(is_part)
}

/// A string of TOML on one line, in which nothing speaks to a terminal.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if matches!(escape(c.encode_utf8(&mut [0; 4]).as_bytes()), Cow::Borrowed(_)) => quoted.push(c),
            c => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}
