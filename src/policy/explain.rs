//! Why a rule does not speak about a request, in words. Paths are given as they are: who shows them escapes them.

#![forbid(unsafe_code)]

use super::{Mismatch, PathGlob, Pattern, Rule, UidSet};
use crate::model::{Distrust, Program, Request, Script, Subject, Writers};

/// How many entries of a list are shown.
const SHOWN: usize = 4;

impl Mismatch {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mismatch::Access => "access",
            Mismatch::File => "file",
            Mismatch::Path => "path",
            Mismatch::Extension => "extension",
            Mismatch::Os => "os",
            Mismatch::Excepted => "except",
            Mismatch::Uid => "uid",
            Mismatch::Exe => "exe",
            Mismatch::Script => "script",
            Mismatch::Sites => "sites",
            Mismatch::Scope => "scope",
            Mismatch::Parent => "parent",
            Mismatch::Distrust(distrust) => distrust.as_str(),
        }
    }

    /// What the rule asks for and what the request has instead.
    #[must_use]
    pub fn explain(self, rule: &Rule, request: &Request<'_>) -> String {
        let subject = request.subject;
        match self {
            Mismatch::Access => {
                let accesses: Vec<&str> = rule.access.words().collect();
                format!("it is about {}", accesses.join(", "))
            }
            Mismatch::File => format!("it is about files called {}", rule.file.join(", ")),
            Mismatch::Path => format!("the file is none of {}", some(&rule.path, Pattern::as_str)),
            Mismatch::Extension => format!("it is about files with the extension {}", rule.extension.join(", ")),
            Mismatch::Os => {
                let systems: Vec<&str> = rule.os.iter().map(|os| os.as_str()).collect();
                format!("it is about {}", systems.join(", "))
            }
            Mismatch::Excepted => "one of its exceptions holds".to_owned(),
            Mismatch::Uid => match &rule.uid {
                UidSet::Any => "it is about everybody".to_owned(),
                UidSet::Only(uids) => {
                    let uids: Vec<String> = uids.iter().map(u32::to_string).collect();
                    format!("it is about uid {}, not {}", uids.join(", "), subject.uids.effective)
                }
            },
            Mismatch::Exe => format!("the executable is none of {}", some(&rule.exe, Pattern::as_str)),
            Mismatch::Script => {
                let modules = rule.module.iter().map(|module| format!("-m {module}"));
                let scripts = rule.script.iter().map(|glob| glob.as_str().to_owned());
                let command = rule.command.then(|| "-c".to_owned());
                let wanted: Vec<String> = modules.chain(command).chain(scripts).collect();
                let runs = subject.script.display();
                let runs = runs.map_or_else(|| "nothing named".to_owned(), |script| script.to_string_lossy().into());
                format!("it runs {runs}, not one of {}", shortened(&wanted))
            }
            Mismatch::Sites => format!("the directory is none of {}", some(&rule.sites, PathGlob::as_str)),
            Mismatch::Scope => {
                let environment = subject.environment.as_deref();
                let environment =
                    environment.map_or_else(|| "none that is known".into(), |path| path.to_string_lossy());
                format!(
                    "the program belongs to the environment {environment}, the directory to {}",
                    request.site.prefix.to_string_lossy()
                )
            }
            Mismatch::Parent => {
                let parent = subject.parent.as_deref().map_or_else(
                    || "what is not known".into(),
                    |parent| parent.exe.path.to_string_lossy().into_owned(),
                );
                format!("it was started by {parent}, not by a program of rule {}", rule.parent.join(", "))
            }
            Mismatch::Distrust(distrust) => distrusted(distrust, subject),
        }
    }
}

fn distrusted(distrust: Distrust, subject: &Subject) -> String {
    let files = || {
        let script = match &subject.script {
            Script::File(file) => Some(file),
            Script::None | Script::Module(_) | Script::Command | Script::Stdin => None,
        };
        std::iter::once(&subject.exe).chain(script)
    };
    let details: Vec<String> = match distrust {
        Distrust::NotAtPath => files().filter(|file| !file.at_path).map(shown).collect(),
        Distrust::ProgramWritable => {
            files().filter_map(|file| Some(format!("{}: {}", shown(file), who(file)?))).collect()
        }
        Distrust::LoaderEnvironment => subject.loader.iter().map(|name| (*name).to_owned()).collect(),
        Distrust::UserNamespace | Distrust::Traced | Distrust::ForeignCode => Vec::new(),
    };
    if details.is_empty() {
        return distrust.explanation().to_owned();
    }
    format!("{} ({})", distrust.explanation(), details.join("; "))
}

fn shown(file: &Program) -> String {
    file.path.to_string_lossy().into_owned()
}

fn who(file: &Program) -> Option<String> {
    match file.writers {
        Writers::Root => None,
        Writers::User(uid) => Some(format!("user {uid} can")),
        Writers::Others => Some("several can".to_owned()),
    }
}

fn some<T>(list: &[T], text: impl Fn(&T) -> &str) -> String {
    let list: Vec<String> = list.iter().map(|one| text(one).to_owned()).collect();
    shortened(&list)
}

fn shortened(list: &[String]) -> String {
    let shown: Vec<&str> = list.iter().take(SHOWN).map(String::as_str).collect();
    match list.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
