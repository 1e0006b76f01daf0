#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::model::{Distrust, Os, Program, Script, Site, Subject, Uids, Writers};

/// A startup file's name.
const NAME: &str = "x.pth";

pub(super) fn rule(name: &str, verdict: Verdict) -> Rule {
    Rule {
        name: name.into(),
        verdict,
        exe: Vec::new(),
        script: Vec::new(),
        module: Vec::new(),
        command: false,
        parent: Vec::new(),
        uid: UidSet::Any,
        scope: Scope::Any,
        sites: Vec::new(),
        file: Vec::new(),
        path: Vec::new(),
        extension: Vec::new(),
        os: Vec::new(),
        except: Vec::new(),
        owner: Owner::User,
        environment: Environment::CleanForUsers,
        containers: false,
        access: AccessSet::EMPTY.with(Access::Write),
        content: ContentSet::ANY,
        place: Place { file: "test".into(), line: 1 },
    }
}

fn globs(texts: &[&str]) -> Vec<PathGlob> {
    texts.iter().map(|text| PathGlob::new(text).unwrap()).collect()
}

pub(super) fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
}

fn subject(exe: &str, script: Script) -> Subject {
    Subject::running(exe, script)
}

fn site(prefix: &str, owner: u32) -> Site {
    Site { path: format!("{prefix}/lib/python3/site-packages").into(), prefix: prefix.into(), owner }
}

fn verdict(rules: &[Rule], subject: &Subject, site: &Site, access: Access) -> Verdict {
    Policy::new(rules.to_vec()).decide(&Request::new(subject, site, NAME.as_ref(), access)).verdict
}

fn pip() -> Rule {
    Rule {
        exe: patterns(&["/usr/bin/python3*"]),
        script: globs(&["/usr/bin/pip*"]),
        module: vec!["pip".to_owned()],
        scope: Scope::SameEnvironment,
        access: AccessSet::EMPTY.with(Access::Write).with(Access::Rename),
        ..rule("pip", Verdict::Allow)
    }
}

fn bytes(path: &[u8]) -> PathBuf {
    OsStr::from_bytes(path).into()
}

#[test]
fn the_first_rule_that_matches_decides() {
    let deny = Rule { exe: patterns(&["/usr/bin/x"]), ..rule("no-x", Verdict::Deny) };
    let allow = rule("all", Verdict::Allow);
    let policy = Policy::new(vec![deny, allow]);
    let (x, y, usr) = (subject("/usr/bin/x", Script::None), subject("/usr/bin/y", Script::None), site("/usr", 0));
    let decision = policy.decide(&Request::new(&x, &usr, NAME.as_ref(), Access::Write));
    assert_eq!(decision.verdict, Verdict::Deny);
    assert_eq!(decision.rule.as_deref(), Some("no-x"));
    assert_eq!(decision.reason, Reason::Rule);
    let decision = policy.decide(&Request::new(&y, &usr, NAME.as_ref(), Access::Write));
    assert_eq!(decision.rule.as_deref(), Some("all"));
}

#[test]
fn what_no_rule_speaks_about_is_denied() {
    let x = subject("/usr/bin/x", Script::None);
    let decision = Policy::new(Vec::new()).decide(&Request::new(&x, &site("/usr", 0), NAME.as_ref(), Access::Read));
    assert_eq!(decision, Decision { verdict: Verdict::Deny, rule: None, reason: Reason::NoRule });
}

#[test]
fn a_special_file_is_denied_whatever_the_rules_say() {
    let all = Rule { access: AccessSet::EMPTY.with(Access::Special), ..rule("all", Verdict::Allow) };
    let x = subject("/usr/bin/x", Script::None);
    let decision = Policy::new(vec![all]).decide(&Request::new(&x, &site("/usr", 0), NAME.as_ref(), Access::Special));
    assert_eq!(decision, Decision { verdict: Verdict::Deny, rule: None, reason: Reason::SpecialFile });
}

#[test]
fn an_interpreter_is_known_by_script_or_module() {
    let usr = site("/usr", 0);
    for (script, expected) in [
        (Script::Module("pip".into()), Verdict::Allow),
        (Script::Module("pip2".into()), Verdict::Deny),
        (Script::File(Program::at("/usr/bin/pip3")), Verdict::Allow),
        (Script::File(Program::at("/tmp/pip")), Verdict::Deny),
        (Script::Command, Verdict::Deny),
        (Script::Stdin, Verdict::Deny),
        (Script::None, Verdict::Deny),
    ] {
        let asking = subject("/usr/bin/python3.11", script);
        assert_eq!(verdict(&[pip()], &asking, &usr, Access::Write), expected, "{:?}", asking.script);
    }
}

type Forge = fn(&mut Subject);

/// What makes an honest process one that may be another, and the word for it.
fn forgeries() -> Vec<(Distrust, Forge)> {
    vec![
        (Distrust::NotAtPath, |subject| subject.exe.at_path = false),
        (Distrust::UserNamespace, |subject| subject.in_user_namespace = false),
        (Distrust::Traced, |subject| subject.traced = true),
        (Distrust::ProgramWritable, |subject| subject.exe.writers = Writers::Others),
        (Distrust::ProgramWritable, |subject| subject.exe.writers = Writers::User(1000)),
        (Distrust::LoaderEnvironment, |subject| subject.loader = vec!["LD_PRELOAD"]),
        (Distrust::ForeignCode, |subject| subject.code = Writers::Others),
        (Distrust::ForeignCode, |subject| subject.code = Writers::User(1000)),
    ]
}

#[test]
fn an_allow_rule_wants_the_program_itself_a_deny_rule_takes_the_look_of_it() {
    let usr = site("/usr", 0);
    let honest = subject("/usr/bin/python3.11", Script::Module("pip".into()));
    assert_eq!(verdict(&[pip()], &honest, &usr, Access::Write), Verdict::Allow);
    for (distrust, forge) in forgeries() {
        let mut asking = honest.clone();
        forge(&mut asking);
        let request = Request::new(&asking, &usr, NAME.as_ref(), Access::Write);
        let decision = Policy::new(vec![pip()]).decide(&request);
        let expected =
            Decision { verdict: Verdict::Deny, rule: Some("pip".into()), reason: Reason::Distrusted(distrust) };
        assert_eq!(decision, expected);
        let rules = [Rule { verdict: Verdict::Deny, ..pip() }, rule("all", Verdict::Allow)];
        assert_eq!(Policy::new(rules.to_vec()).decide(&request).rule.as_deref(), Some("pip"), "{distrust:?}");
    }
}

#[test]
fn whose_a_program_is() {
    let by_user = |mut subject: Subject| {
        subject.exe.writers = Writers::User(1000);
        subject
    };
    let tool = |owner| Rule { exe: patterns(&["/home/a/bin/tool"]), owner, ..rule("tool", Verdict::Allow) };
    let asking = by_user(subject("/home/a/bin/tool", Script::None));
    for (owner, site_owner, expected) in [
        (Owner::Root, 1000, Verdict::Deny),
        (Owner::User, 1000, Verdict::Allow),
        (Owner::User, 0, Verdict::Deny),
        (Owner::User, 1001, Verdict::Deny),
        (Owner::Any, 0, Verdict::Allow),
    ] {
        let rules = [tool(owner)];
        assert_eq!(
            verdict(&rules, &asking, &site("/srv/app", site_owner), Access::Write),
            expected,
            "{owner:?} {site_owner}"
        );
    }
    // A virtual environment's own script, whoever made it: who can change it can change what is beside it.
    let script = Program { writers: Writers::User(1001), ..Program::at("/srv/app/bin/pip") };
    let mut asking = subject("/usr/bin/python3.11", Script::File(script));
    let scripts = Rule { script: globs(&["/**/bin/pip"]), scope: Scope::Any, ..pip() };
    asking.environment = Some("/srv/app".into());
    assert_eq!(
        verdict(std::slice::from_ref(&scripts), &asking, &site("/srv/app", 1000), Access::Write),
        Verdict::Allow
    );
    assert_eq!(verdict(&[scripts], &asking, &site("/srv/other", 1000), Access::Write), Verdict::Deny);
}

#[test]
fn an_environment_is_looked_at_for_users_or_always_or_never() {
    for (environment, for_user, for_root) in [
        (Environment::Clean, Verdict::Deny, Verdict::Deny),
        (Environment::CleanForUsers, Verdict::Deny, Verdict::Allow),
        (Environment::Any, Verdict::Allow, Verdict::Allow),
    ] {
        let mut asking = subject("/usr/bin/x", Script::None);
        asking.loader = vec!["LD_AUDIT"];
        let rules = [Rule { environment, ..rule("x", Verdict::Allow) }];
        assert_eq!(verdict(&rules, &asking, &site("/usr", 0), Access::Write), for_user);
        asking.uids.effective = 0;
        assert_eq!(verdict(&rules, &asking, &site("/usr", 0), Access::Write), for_root);
    }
}

#[test]
fn a_child_is_known_by_the_process_that_started_it() {
    let child = Rule {
        exe: patterns(&["/usr/bin/python3*"]),
        command: true,
        parent: vec!["pip".into()],
        ..rule("child", Verdict::Allow)
    };
    // pip itself may not write there: its rule does not speak about Link.
    let rules = [pip(), child];
    let usr = site("/usr", 0);
    let mut asking = subject("/usr/bin/python3.11", Script::Command);
    assert_eq!(verdict(&rules, &asking, &usr, Access::Write), Verdict::Deny, "an orphan");
    for (module, expected) in [("pip", Verdict::Allow), ("http.server", Verdict::Deny)] {
        asking.parent = Some(Box::new(subject("/usr/bin/python3.11", Script::Module(module.into()))));
        assert_eq!(verdict(&rules, &asking, &usr, Access::Write), expected);
    }
    for (distrust, forge) in forgeries() {
        let mut parent = subject("/usr/bin/python3.11", Script::Module("pip".into()));
        forge(&mut parent);
        asking.parent = Some(Box::new(parent));
        assert_eq!(verdict(&rules, &asking, &usr, Access::Write), Verdict::Deny, "{distrust:?}");
    }
}

#[test]
fn a_rule_can_be_limited_to_names() {
    let named = Rule { file: vec![NAME.to_owned()], ..rule("named", Verdict::Allow) };
    let policy = Policy::new(vec![named]);
    let asking = subject("/usr/bin/x", Script::None);
    let usr = site("/usr", 0);
    let ask = |name: &str| policy.decide(&Request::new(&asking, &usr, name.as_ref(), Access::Write)).verdict;
    assert_eq!((ask(NAME), ask("y.pth")), (Verdict::Allow, Verdict::Deny));
}

#[test]
fn a_rule_for_containers_takes_a_program_by_its_path_in_there() {
    let mut asking = subject("/var/lib/machines/a/usr/bin/x", Script::None);
    asking.exe.at_path = false;
    asking.exe.seen_as = Some("/usr/bin/x".into());
    asking.in_user_namespace = false;
    for (containers, expected) in [(true, Verdict::Allow), (false, Verdict::Deny)] {
        let rules = [Rule { exe: patterns(&["/usr/bin/x"]), containers, ..rule("x", Verdict::Allow) }];
        assert_eq!(verdict(&rules, &asking, &site("/usr", 0), Access::Write), expected);
    }
}

#[test]
fn the_effective_user_counts() {
    let root = Rule { uid: UidSet::Only(vec![0]), ..rule("root", Verdict::Allow) };
    let mut asking = subject("/usr/bin/x", Script::None);
    asking.uids.real = 0;
    assert_eq!(verdict(std::slice::from_ref(&root), &asking, &site("/usr", 0), Access::Write), Verdict::Deny);
    asking.uids = Uids { real: 1000, effective: 0, saved: 0, fs: 0 };
    assert_eq!(verdict(&[root], &asking, &site("/usr", 0), Access::Write), Verdict::Allow);
}

#[test]
fn same_environment() {
    for (environment, prefix, owner, expected) in [
        (Some("/srv/app"), "/srv/app", 0, Verdict::Allow),
        (Some("/srv/app"), "/srv/other", 0, Verdict::Deny),
        (Some("/usr"), "/usr/local", 0, Verdict::Allow),
        (Some("/usr/local"), "/usr", 0, Verdict::Allow),
        (Some("/usr"), "/srv/app", 0, Verdict::Deny),
        (Some("/srv/app"), "/usr", 0, Verdict::Deny),
        (Some("/usr"), "/home/a/.local", 1000, Verdict::Allow),
        (Some("/usr"), "/home/b/.local", 1001, Verdict::Deny),
        (Some("/srv/app"), "/home/a/.local", 1000, Verdict::Deny),
        (Some("/usr"), "/home/a/.locals", 1000, Verdict::Deny),
        (None, "/usr", 0, Verdict::Deny),
    ] {
        let mut asking = subject("/usr/bin/python3", Script::Module("pip".into()));
        asking.environment = environment.map(PathBuf::from);
        assert_eq!(
            verdict(&[pip()], &asking, &site(prefix, owner), Access::Write),
            expected,
            "{environment:?} {prefix} {owner}"
        );
    }
}

#[test]
fn a_directory_of_no_environment_is_the_systems() {
    let plugins = Site { path: "/srv/plugins".into(), prefix: "/srv/plugins".into(), owner: 0 };
    for (environment, expected) in [("/usr", Verdict::Allow), ("/srv/app", Verdict::Deny)] {
        let mut asking = subject("/usr/bin/python3", Script::Module("pip".into()));
        asking.environment = Some(environment.into());
        assert_eq!(verdict(&[pip()], &asking, &plugins, Access::Rename), expected, "{environment}");
    }
}

#[test]
fn a_rule_can_be_limited_to_site_directories() {
    let opt = Rule { sites: globs(&["/opt/*/lib/python3/site-packages"]), ..rule("opt", Verdict::Allow) };
    let asking = subject("/usr/bin/x", Script::None);
    assert_eq!(verdict(std::slice::from_ref(&opt), &asking, &site("/opt/app", 0), Access::Write), Verdict::Allow);
    assert_eq!(verdict(&[opt], &asking, &site("/usr", 0), Access::Write), Verdict::Deny);
}

#[test]
fn paths_that_are_not_utf8_open_no_door() {
    let mut asking = subject("/usr/bin/python3", Script::File(Program::at(bytes(b"/usr/bin/pip\xff"))));
    assert_eq!(verdict(&[pip()], &asking, &site("/usr", 0), Access::Write), Verdict::Deny);
    asking = subject("/usr/bin/x", Script::None);
    asking.exe.path = bytes(b"/usr/bin/python3\xff");
    assert_eq!(verdict(&[pip()], &asking, &site("/usr", 0), Access::Write), Verdict::Deny);

    // The deny rule cannot be held against the path: the allow rule behind it must not have the word.
    let hidden = Site { path: bytes(b"/srv/\xff/site-packages"), prefix: "/srv".into(), owner: 0 };
    let rules = [Rule { sites: globs(&["/srv/**"]), ..rule("no-srv", Verdict::Deny) }, rule("all", Verdict::Allow)];
    assert_eq!(verdict(&rules, &subject("/usr/bin/x", Script::None), &hidden, Access::Write), Verdict::Deny);
}

#[test]
fn a_covered_rule_is_found() {
    let wide = Rule { exe: patterns(&["/usr/bin/*"]), ..rule("wide", Verdict::Deny) };
    let narrow = Rule { exe: patterns(&["/usr/bin/x", "/usr/bin/y*"]), ..rule("narrow", Verdict::Allow) };
    assert_eq!(shadows(&[wide.clone(), narrow.clone()]), [Shadow { rule: 1, by: 0 }]);
    assert_eq!(shadows(&[narrow.clone(), wide.clone()]), []);
    let more = Rule { access: narrow.access.with(Access::Rename), ..narrow.clone() };
    assert_eq!(shadows(&[wide.clone(), more]), []);
    let root_only = Rule { uid: UidSet::Only(vec![0]), ..wide };
    assert_eq!(shadows(&[root_only, narrow]), []);
    let module_only = Rule { script: Vec::new(), ..pip() };
    assert_eq!(shadows(&[module_only.clone(), pip()]), []);
    assert_eq!(shadows(&[pip(), module_only]), [Shadow { rule: 1, by: 0 }]);
}

fn any_globs() -> impl Strategy<Value = Vec<PathGlob>> {
    let glob = prop::sample::select(vec!["/a", "/b", "/*", "/a/*", "/a/b", "/**/b", "/a*", "/**", "/?"]);
    prop::collection::vec(glob, 0..3).prop_map(|texts| globs(&texts))
}

fn any_path() -> impl Strategy<Value = PathBuf> {
    prop::sample::select(vec![
        bytes(b"/a"),
        bytes(b"/b"),
        bytes(b"/a/b"),
        bytes(b"/ab"),
        bytes(b"/x/b"),
        bytes(b"/a/\xff"),
    ])
}

fn any_uids() -> impl Strategy<Value = UidSet> {
    prop_oneof![Just(UidSet::Any), prop::collection::vec(0..3_u32, 1..3).prop_map(UidSet::Only)]
}

fn any_patterns() -> impl Strategy<Value = Vec<Pattern>> {
    let pattern = prop::sample::select(vec!["/a", "/b", "/*", "/a/*", "/**/b", "/**", "like:/A*", "regex:b$"]);
    prop::collection::vec(pattern, 0..3).prop_map(|texts| patterns(&texts))
}

fn any_except() -> impl Strategy<Value = Except> {
    let file = prop::sample::subsequence(vec![NAME.to_owned()], 0..=1);
    (any_patterns(), any_patterns(), file).prop_map(|(exe, path, file)| Except { exe, path, file })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (
        (any::<bool>(), any_patterns(), any_globs(), prop::collection::vec(prop::sample::select(vec!["m", "n"]), 0..2)),
        (any_uids(), any::<bool>(), any_globs(), 1..32_u8),
        (
            prop::sample::subsequence(vec![NAME.to_owned(), "y.pth".to_owned()], 0..=2),
            prop::sample::subsequence(vec![Arc::from("0"), Arc::from("1")], 0..=1),
            prop::sample::select(vec![Owner::Root, Owner::User, Owner::Any]),
            prop::sample::select(vec![Environment::Clean, Environment::CleanForUsers, Environment::Any]),
            any::<bool>(),
            any::<bool>(),
        ),
        (
            any_patterns(),
            prop::sample::subsequence(vec!["pth".to_owned(), "start".to_owned()], 0..=2),
            prop::sample::subsequence(Os::ALL.to_vec(), 0..=2),
            prop::collection::vec(any_except(), 0..2),
            any::<bool>(),
        ),
    )
        .prop_map(|(who, place, trust, what)| {
            let ((allow, exe, script, module), (uid, everywhere, sites, access)) = (who, place);
            let (file, parent, owner, environment, containers, command) = trust;
            let (path, extension, os, except, create) = what;
            let created = if create { AccessSet::CREATE } else { AccessSet::EMPTY };
            Rule {
                path,
                extension,
                os,
                except,
                file,
                parent,
                owner,
                environment,
                containers,
                command,
                exe,
                script,
                module: module.into_iter().map(str::to_owned).collect(),
                uid,
                scope: if everywhere { Scope::Any } else { Scope::SameEnvironment },
                sites,
                access: AccessSet::RULED
                    .into_iter()
                    .enumerate()
                    .filter(|(bit, _)| access & (1 << bit) != 0)
                    .fold(created, |set, (_, access)| set.with(access)),
                ..rule("any", if allow { Verdict::Allow } else { Verdict::Deny })
            }
        })
}

fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec(any_rule(), 0..6).prop_map(|mut rules| {
        for (index, rule) in rules.iter_mut().enumerate() {
            rule.name = index.to_string().into();
        }
        rules
    })
}

fn any_script() -> impl Strategy<Value = Script> {
    prop_oneof![
        Just(Script::None),
        Just(Script::Command),
        Just(Script::Stdin),
        any_program().prop_map(Script::File),
        prop::sample::select(vec!["m", "n", "o"]).prop_map(|name| Script::Module(name.to_owned())),
    ]
}

fn any_program() -> impl Strategy<Value = Program> {
    let writers = prop_oneof![Just(Writers::Root), (0..3_u32).prop_map(Writers::User), Just(Writers::Others)];
    (any_path(), any::<bool>(), prop::option::of(any_path()), writers)
        .prop_map(|(path, at_path, seen_as, writers)| Program { at_path, seen_as, writers, ..Program::at(path) })
}

fn any_subject() -> impl Strategy<Value = Subject> {
    let who = (any_program(), any_script(), prop::option::of(any_path()), 0..3_u32);
    let trust = (any::<bool>(), any::<bool>(), prop::sample::select(vec![vec![], vec!["LD_PRELOAD"]]));
    (who, trust).prop_map(|((exe, script, environment, uid), (in_user_namespace, traced, loader))| Subject {
        exe,
        environment,
        uids: Uids { real: 0, effective: uid, saved: 0, fs: 0 },
        in_user_namespace,
        traced,
        loader,
        ..subject("/", script)
    })
}

fn any_family() -> impl Strategy<Value = Subject> {
    (any_subject(), prop::option::of(any_subject()))
        .prop_map(|(subject, parent)| Subject { parent: parent.map(Box::new), ..subject })
}

fn any_site() -> impl Strategy<Value = Site> {
    (any_path(), any_path(), 0..3_u32).prop_map(|(path, prefix, owner)| Site { path, prefix, owner })
}

fn any_access() -> impl Strategy<Value = Access> {
    use Access::{Delete, Link, List, Read, Rename, Special, Symlink, Write};
    prop::sample::select(vec![Read, Write, Rename, Link, Symlink, Special, Delete, List])
}

fn is_text(subject: &Subject) -> bool {
    let names = |program: &Program| {
        program.path.to_str().is_some() && program.seen_as.iter().all(|path| path.to_str().is_some())
    };
    let script = match &subject.script {
        Script::File(file) => names(file),
        Script::None | Script::Module(_) | Script::Command | Script::Stdin => true,
    };
    script && names(&subject.exe) && subject.parent.as_deref().is_none_or(is_text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_decision_names_its_rule_and_only_rules_allow(
        rules in any_rules(), subject in any_family(), site in any_site(), access in any_access(), creates in any::<bool>()
    ) {
        let policy = Policy::new(rules);
        let request = Request::new(&subject, &site, NAME.as_ref(), access).creating(creates);
        let decision = policy.decide(&request);
        let named = decision.rule.as_deref().and_then(|name| policy.rules().iter().find(|rule| *rule.name == *name));
        match (decision.reason, named) {
            (Reason::Rule, Some(rule)) => prop_assert_eq!(decision.verdict, rule.verdict),
            (Reason::Distrusted(_), Some(rule)) => {
                prop_assert_eq!((decision.verdict, rule.verdict), (Verdict::Deny, Verdict::Allow));
            }
            (Reason::NoRule | Reason::SpecialFile, None) => prop_assert_eq!(decision.verdict, Verdict::Deny),
            other => prop_assert!(false, "{:?}", other),
        }
        if matches!(access, Access::Special | Access::Delete | Access::List) {
            prop_assert_eq!(decision.verdict, Verdict::Deny);
        }
    }

    #[test]
    fn a_rule_before_it_that_denies_all_leaves_nothing_allowed(
        rules in any_rules(), subject in any_family(), site in any_site(), access in any_access()
    ) {
        let everything = AccessSet::RULED.into_iter().fold(AccessSet::EMPTY, AccessSet::with);
        let mut closed = vec![Rule { access: everything, ..rule("closed", Verdict::Deny) }];
        closed.extend(rules);
        prop_assert_eq!(verdict(&closed, &subject, &site, access), Verdict::Deny);
    }

    #[test]
    fn a_shadowed_rule_changes_no_decision(
        rules in any_rules(),
        subject in any_family().prop_filter("a subject whose paths are text", is_text),
        site in any_site().prop_filter("a site whose path is text", |site| site.path.to_str().is_some()),
        access in any_access(),
        creates in any::<bool>()
    ) {
        let covered: Vec<usize> = shadows(&rules).iter().map(|shadow| shadow.rule).collect();
        let fewer: Vec<Rule> = rules.iter().enumerate()
            .filter(|(index, _)| !covered.contains(index)).map(|(_, rule)| rule.clone()).collect();
        let request = Request::new(&subject, &site, NAME.as_ref(), access).creating(creates);
        prop_assert_eq!(Policy::new(rules).decide(&request), Policy::new(fewer).decide(&request));
    }

    #[test]
    fn bytes_that_are_not_text_never_help(
        rules in any_rules(), subject in any_family(), site in any_site(), access in any_access()
    ) {
        // An allow rule that names programs cannot be met by a program whose path is not text.
        let mut subject = subject;
        subject.exe.path = bytes(b"/a/\xff");
        let named: Vec<Rule> = rules.into_iter()
            .filter(|rule| rule.verdict == Verdict::Deny || !rule.exe.is_empty()).collect();
        prop_assert_eq!(verdict(&named, &subject, &site, access), Verdict::Deny);
    }
}
