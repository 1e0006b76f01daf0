//! From a rule as it was typed to one that is safe to ask.
//!
//! What is refused here is what would look like protection and be none: an allow rule that lets in whatever an
//! interpreter runs, a list that is empty and so means everything, a word that this version does not act on.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use toml::{Spanned, Value};

use super::error::Faults;
use super::layer::{globs, patterns, word};
use super::programs::Programs;
use super::raw::{RawExcept, RawRule, Texts};
use crate::model::{Access, ContentClass, ContentSet, Os, Verdict};
use crate::policy::{AccessSet, Environment, Except, Owner, Pattern, Place, Rule, Scope, UidSet};

/// Longest name of a rule; it stands in every record.
const MAX_NAME: usize = 100;

const OWNERS: [(&str, Owner); 3] = [("root", Owner::Root), ("user", Owner::User), ("any", Owner::Any)];
const ENVIRONMENTS: [(&str, Environment); 3] =
    [("clean", Environment::Clean), ("clean-for-users", Environment::CleanForUsers), ("any", Environment::Any)];

/// A rule of either list.
pub(super) enum Kind {
    Allow(Spanned<RawRule>),
    Deny(Spanned<RawRule>),
}

impl Kind {
    /// Where in the file it begins.
    pub(super) fn start(&self) -> usize {
        let (Kind::Allow(raw) | Kind::Deny(raw)) = self;
        raw.span().start
    }
}

/// Validates one rule. Nothing is returned for one whose name or access is missing; its faults are reported.
pub(super) fn compile(kind: Kind, programs: &Programs, faults: &mut Faults) -> Option<Rule> {
    let (verdict, raw) = match kind {
        Kind::Allow(raw) => (Verdict::Allow, raw),
        Kind::Deny(raw) => (Verdict::Deny, raw),
    };
    let span = raw.span();
    let mut raw = raw.into_inner();
    let command = take_command(&mut raw.script);
    raw.exe = programs.expand(raw.exe, faults);
    raw.script = programs.expand(raw.script, faults);
    let name = name(&raw, &span, faults);
    let access = access(&raw.access, &span, faults);

    let lists = [
        ("exe", &raw.exe),
        ("script", &raw.script),
        ("module", &raw.module),
        ("parent", &raw.parent),
        ("sites", &raw.sites),
        ("file", &raw.file),
        ("path", &raw.path),
        ("extension", &raw.extension),
        ("os", &raw.os),
    ];
    for (key, list) in lists {
        refuse_empty(key, list, faults);
    }
    let names_program = raw.script.is_some() || raw.module.is_some() || command.is_some();
    let scopes = [("same-environment", Scope::SameEnvironment), ("any", Scope::Any)];
    let scope = match &raw.scope {
        Some(_) => word(&raw.scope, "scope", &scopes, faults)?,
        // An interpreter's program belongs to an environment; a package manager to none.
        None if names_program && verdict == Verdict::Allow => Scope::SameEnvironment,
        None => Scope::Any,
    };
    let mut rule = Rule {
        name: name?.into(),
        verdict,
        exe: patterns(&raw.exe, "exe", faults),
        script: globs(&raw.script, "script", faults),
        module: modules(&raw.module, faults),
        command: command.is_some(),
        parent: words(&raw.parent).map(Arc::from).collect(),
        uid: uids(raw.uid.as_ref(), faults)?,
        scope,
        sites: globs(&raw.sites, "sites", faults),
        file: names(&raw.file, faults),
        path: patterns(&raw.path, "path", faults),
        extension: extensions(&raw.extension, faults),
        os: systems(&raw.os, faults),
        except: Vec::new(),
        owner: word(&raw.owner, "owner", &OWNERS, faults).unwrap_or(Owner::User),
        environment: word(&raw.environment, "environment", &ENVIRONMENTS, faults).unwrap_or(Environment::CleanForUsers),
        containers: raw.containers.unwrap_or(false),
        access: access?,
        content: ContentSet::EMPTY,
        place: Place { file: faults.file().clone(), line: faults.line(&span) },
    };
    if let Some(command) = command.filter(|_| raw.parent.is_none() && verdict == Verdict::Allow) {
        faults.add(
            &command,
            "script: \"-c\" is whatever stands on a command line: say with parent which program runs it",
        );
    }
    match verdict {
        Verdict::Allow => {
            refuse_everybody(&rule, &raw, &span, faults);
            refuse_blind_scope(&rule, &span, faults);
            if let Some(except) = raw.except.first() {
                let message = "except is for deny rules: write a deny rule before this one for what it shall not allow";
                faults.add(&except.span(), message);
            }
            rule.content = content(&rule, raw.content.as_ref(), &span, faults);
        }
        Verdict::Deny => {
            for (key, span) in [("owner", &raw.owner), ("environment", &raw.environment)]
                .into_iter()
                .filter_map(|(key, text)| Some((key, text.as_ref()?.span())))
            {
                faults.add(&span, format!("{key} limits whom an allow rule lets in: leave it out of a deny rule"));
            }
            if let Some(content) = &raw.content {
                faults.add(&content.span(), "content limits what an allow rule lets in: leave it out of a deny rule");
            }
            rule.except = raw.except.into_iter().map(|except| exception(except, programs, faults)).collect();
        }
    }
    Some(rule)
}

fn name(raw: &RawRule, span: &Range<usize>, faults: &mut Faults) -> Option<String> {
    let Some(name) = &raw.name else {
        faults.add(span, "the rule has no name: add name = \"…\", records show it");
        return None;
    };
    let text = name.get_ref();
    if text.is_empty() || text.len() > MAX_NAME || text.contains(char::is_control) {
        faults.add(
            &name.span(),
            format!("a rule's name must have 1 to {MAX_NAME} bytes and no control characters: choose another"),
        );
    }
    Some(text.clone())
}

fn refuse_empty(key: &str, list: &Texts, faults: &mut Faults) {
    if let Some(list) = list.as_ref().filter(|list| list.get_ref().is_empty()) {
        faults.add(&list.span(), format!("{key} is empty: name something, or leave the key out for no limit"));
    }
}

fn exception(raw: Spanned<RawExcept>, programs: &Programs, faults: &mut Faults) -> Except {
    let span = raw.span();
    let raw = raw.into_inner();
    let exe = programs.expand(raw.exe, faults);
    let lists = [("exe", &exe), ("path", &raw.path), ("file", &raw.file)];
    for (key, list) in lists {
        refuse_empty(key, list, faults);
    }
    if lists.iter().all(|(_, list)| list.is_none()) {
        faults.add(&span, "except names nothing, the rule would never match: add exe, path or file");
    }
    Except {
        exe: patterns(&exe, "exe", faults),
        path: patterns(&raw.path, "path", faults),
        file: names(&raw.file, faults),
    }
}

/// Extensions, without the dot.
fn extensions(list: &Texts, faults: &mut Faults) -> Vec<String> {
    for extension in list.iter().flat_map(Spanned::get_ref) {
        if extension.get_ref().is_empty() || extension.get_ref().contains(['.', '/', '*']) {
            let message = format!("extension: {:?} is none: write it without a dot, \"pth\"", extension.get_ref());
            faults.add(&extension.span(), message);
        }
    }
    words(list).map(str::to_owned).collect()
}

fn systems(list: &Texts, faults: &mut Faults) -> Vec<Os> {
    let mut systems = Vec::new();
    for word in list.iter().flat_map(Spanned::get_ref) {
        match Os::named(word.get_ref()) {
            Some(os) => systems.push(os),
            None => {
                let known = Os::ALL.map(|os| format!("{:?}", os.as_str())).join(", ");
                faults.add(&word.span(), format!("os: {:?} is not one of {known}", word.get_ref()));
            }
        }
    }
    systems
}

/// Takes `-c` out of the list of scripts: it is no file. Where it stood.
fn take_command(scripts: &mut Texts) -> Option<Range<usize>> {
    let list = scripts.as_mut()?.as_mut();
    let position = list.iter().position(|script| script.get_ref() == "-c")?;
    let command = list.remove(position);
    if list.is_empty() {
        *scripts = None;
    }
    Some(command.span())
}

fn words(list: &Texts) -> impl Iterator<Item = &str> {
    list.iter().flat_map(Spanned::get_ref).map(|word| word.get_ref().as_str())
}

/// Names of startup files, each in full.
fn names(list: &Texts, faults: &mut Faults) -> Vec<String> {
    for name in list.iter().flat_map(Spanned::get_ref) {
        if name.get_ref().is_empty() || name.get_ref().contains(['/', '*', '?', '[', '\0']) {
            let message = format!("file: {:?} is not the name of a startup file: write it in full", name.get_ref());
            faults.add(&name.span(), message);
        }
    }
    words(list).map(str::to_owned).collect()
}

fn access(list: &Texts, rule: &Range<usize>, faults: &mut Faults) -> Option<AccessSet> {
    let Some(list) = list else {
        faults.add(rule, "the rule has no access: add access = [\"write\", \"rename\", \"link\"] or what it is about");
        return None;
    };
    if list.get_ref().is_empty() {
        faults.add(&list.span(), "access is empty, the rule would never match: name what it is about");
    }
    let mut set = AccessSet::EMPTY;
    for word in list.get_ref() {
        match word.get_ref().as_str() {
            "special" => faults.add(
                &word.span(),
                "access: FIFOs, sockets and devices under a startup name are always denied: leave \"special\" out",
            ),
            "list" | "delete" => {
                faults.add(&word.span(), format!("access: no rule decides about {:?}: leave it out", word.get_ref()))
            }
            AccessSet::CREATE_WORD => set = set.and(AccessSet::CREATE),
            text => match AccessSet::RULED.into_iter().find(|access| access.as_str() == text) {
                Some(access) => set = set.with(access),
                None => {
                    let words = AccessSet::RULED.map(Access::as_str).into_iter().chain([AccessSet::CREATE_WORD]);
                    let known = words.map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
                    faults.add(&word.span(), format!("access: {text:?} is not one of {known}"));
                }
            },
        }
    }
    Some(set)
}

fn modules(list: &Texts, faults: &mut Faults) -> Vec<String> {
    let mut modules = Vec::new();
    for module in list.iter().flat_map(Spanned::get_ref) {
        let name = module.get_ref();
        let valid =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        if name.split('.').all(valid) {
            modules.push(name.clone());
        } else {
            faults.add(
                &module.span(),
                format!("module: {name:?} is not a module's name: write what follows python -m, without wildcards"),
            );
        }
    }
    modules
}

fn uids(value: Option<&Spanned<Value>>, faults: &mut Faults) -> Option<UidSet> {
    let Some(value) = value else { return Some(UidSet::Any) };
    if value.get_ref().as_str() == Some("any") {
        return Some(UidSet::Any);
    }
    let list = value.get_ref().as_array().filter(|list| !list.is_empty());
    let number = |uid: &Value| uid.as_integer().and_then(|uid| u32::try_from(uid).ok());
    let uids = list.and_then(|list| list.iter().map(number).collect::<Option<Vec<u32>>>());
    if uids.is_none() {
        faults.add(&value.span(), "uid must be \"any\" or a list of user ids as numbers, like [0, 1000]");
    }
    uids.map(UidSet::Only)
}

/// From inside a container's file system nothing tells which of the host's environments a program belongs to.
fn refuse_blind_scope(rule: &Rule, span: &Range<usize>, faults: &mut Faults) {
    if rule.containers && rule.scope != Scope::Any {
        faults.add(
            span,
            format!("rule {:?}: with containers = true, scope must be \"any\": add sites to limit it", rule.name),
        );
    }
}

/// An allow rule must say who is let in, and an interpreter is nobody in particular.
fn refuse_everybody(rule: &Rule, raw: &RawRule, span: &Range<usize>, faults: &mut Faults) {
    let Some(exe) = &raw.exe else {
        faults.add(
            span,
            format!("allow rule {:?} would let in every program: add exe = [\"/path/of/program\"]", rule.name),
        );
        return;
    };
    if let Some(text) = rule.exe.iter().find(|pattern| pattern.glob().is_none()) {
        // Which programs it stands for must be known while the guard runs.
        let message =
            format!("allow rule {:?}: {:?} is no glob: name the programs themselves", rule.name, text.as_str());
        faults.add(&exe.span(), message);
    }
    if let Some(glob) = rule.exe.iter().filter_map(Pattern::glob).find(|glob| glob.may_name_interpreter()) {
        let span =
            exe.get_ref().iter().find(|text| text.get_ref() == glob.as_str()).map_or_else(|| exe.span(), Spanned::span);
        if rule.access.contains(Access::Read) {
            faults.add(
                &span,
                format!(
                    "allow rule {:?}: {:?} matches an interpreter, which would run what it may read without approval: \
                     take \"read\" out of access, or name programs that are no interpreters",
                    rule.name,
                    glob.as_str()
                ),
            );
        } else if rule.script.is_empty() && rule.module.is_empty() && !rule.command {
            faults.add(
                &span,
                format!(
                    "allow rule {:?}: {:?} matches an interpreter and would let in whatever it runs: add script or \
                     module, or name programs that are no interpreters",
                    rule.name,
                    glob.as_str()
                ),
            );
        }
    }
    for script in raw.script.iter().flat_map(Spanned::get_ref) {
        if rule.script.iter().any(|glob| glob.as_str() == script.get_ref() && glob.names_nothing()) {
            faults.add(
                &script.span(),
                format!("script: {:?} matches every script: name the one that is meant", script.get_ref()),
            );
        }
    }
}

/// What the rule's writers may bring: `"any"` is everything but `broken`.
fn content(rule: &Rule, content: Option<&Spanned<Value>>, span: &Range<usize>, faults: &mut Faults) -> ContentSet {
    let choice = || ContentSet::RULED.map(|class| format!("{:?}", class.as_str())).join(", ");
    let Some(content) = content else {
        if rule.access.brings_content() {
            let message = format!(
                "allow rule {:?} does not say what content it lets in: add content = [\"empty\", \"paths\", \"known\"], \
                 or \"any\"",
                rule.name
            );
            faults.add(span, message);
        }
        return ContentSet::EMPTY;
    };
    if !rule.access.brings_content() {
        faults.add(&content.span(), "content limits what a writer brings: leave it out of a rule that only reads");
        return ContentSet::EMPTY;
    }
    if content.get_ref().as_str() == Some("any") {
        return ContentSet::ANY;
    }
    let Some(list) = content.get_ref().as_array().filter(|list| !list.is_empty()) else {
        faults.add(&content.span(), format!("content must be \"any\" or a list of {}", choice()));
        return ContentSet::EMPTY;
    };
    let mut set = ContentSet::EMPTY;
    for class in list {
        match class.as_str() {
            Some(text) if text == ContentClass::Broken.as_str() => {
                let message = "content: what stops an interpreter from starting is never approved by a rule: leave \
                               \"broken\" out, pthguard approve accepts one such file";
                faults.add(&content.span(), message);
            }
            text => match ContentSet::RULED.into_iter().find(|class| Some(class.as_str()) == text) {
                Some(class) => set = set.with(class),
                None => faults.add(&content.span(), format!("content: {class} is not one of {}", choice())),
            },
        }
    }
    set
}
