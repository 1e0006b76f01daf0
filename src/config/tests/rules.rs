//! Which rules are accepted.

use super::{alone, faults, load_ok, writer};

#[test]
fn a_rule_that_lets_in_whatever_an_interpreter_runs_is_refused() {
    for exe in ["/usr/bin/python3*", "/usr/bin/*", "/opt/**", "/usr/bin/perl5.36", "/bin/busybox", "/usr/bin/d*"] {
        let message = faults(&writer("x", exe));
        assert!(message.starts_with("f1:3: allow rule \"x\""), "{exe}: {message}");
        assert!(message.contains("add script or module"), "{exe}: {message}");
    }
    load_ok(&["[[allow]]\nname = \"x\"\nexe = [\"/usr/bin/python3*\"]\nscript = [\"/srv/x\"]\naccess = [\"write\"]\n\
               content = \"any\"\n"]);
    let everything = "[[allow]]\nname = \"x\"\nexe = [\"/usr/bin/python3*\"]\nscript = [\"/**\"]\naccess = [\"write\"]\n\
                      content = \"any\"\n";
    assert!(faults(everything).starts_with("f1:4: script: \"/**\" matches every script"));
    let nobody = "[[allow]]\nname = \"x\"\nmodule = [\"pip\"]\naccess = [\"write\"]\ncontent = \"any\"\n";
    assert!(faults(nobody).starts_with("f1:1: allow rule \"x\" would let in every program"));
}

#[test]
fn no_interpreter_may_read_what_is_not_approved() {
    for more in ["", "script = [\"/usr/bin/py3compile\"]\n"] {
        let text = format!("[[allow]]\nname = \"x\"\nexe = [\"/usr/bin/python3*\"]\n{more}access = [\"read\"]\n");
        assert!(faults(&text).contains("take \"read\" out of access"));
    }
    let mixed = "[[allow]]\nname = \"x\"\nexe = [\"/usr/bin/python3*\"]\nmodule = [\"x\"]\naccess = [\"write\", \"read\"]\n\
                 content = \"any\"\n";
    assert!(faults(mixed).contains("take \"read\" out of access"));
    load_ok(&["[[allow]]\nname = \"x\"\nexe = [\"/usr/bin/borg-native\"]\naccess = [\"read\"]\n"]);
}

#[test]
fn rules_say_what_they_are_about() {
    for (rule, fault) in [
        ("[[allow]]\nexe = [\"/x\"]\naccess = [\"read\"]\n", "f1:1: the rule has no name"),
        ("[[allow]]\nname = \"\"\nexe = [\"/x\"]\naccess = [\"read\"]\n", "f1:2: a rule's name"),
        ("[[deny]]\nname = \"x\"\n", "f1:1: the rule has no access"),
        ("[[deny]]\nname = \"x\"\naccess = []\n", "f1:3: access is empty"),
        ("[[deny]]\nname = \"x\"\naccess = [\"special\"]\n", "f1:3: access: FIFOs"),
        ("[[deny]]\nname = \"x\"\naccess = [\"list\"]\n", "f1:3: access: no rule decides about \"list\""),
        ("[[deny]]\nname = \"x\"\naccess = [\"delete\"]\n", "f1:3: access: no rule decides about \"delete\""),
        ("[[deny]]\nname = \"x\"\naccess = [\"make\"]\n", "f1:3: access: \"make\" is not one of \"read\", "),
        ("[[deny]]\nname = \"x\"\nexe = []\naccess = [\"read\"]\n", "f1:3: exe is empty"),
        ("[[deny]]\nname = \"x\"\nsites = []\naccess = [\"read\"]\n", "f1:3: sites is empty"),
        ("[[deny]]\nname = \"x\"\nuid = []\naccess = [\"read\"]\n", "f1:3: uid must be"),
        ("[[deny]]\nname = \"x\"\nuid = [-1]\naccess = [\"read\"]\n", "f1:3: uid must be"),
        ("[[deny]]\nname = \"x\"\nuid = \"root\"\naccess = [\"read\"]\n", "f1:3: uid must be"),
        ("[[deny]]\nname = \"x\"\nscope = \"own\"\naccess = [\"read\"]\n", "f1:3: scope must be"),
        ("[[deny]]\nname = \"x\"\nscript = [\"pip\"]\naccess = [\"read\"]\n", "f1:3: script: \"pip\" must be"),
        ("[[deny]]\nname = \"x\"\nmodule = [\"p*\"]\naccess = [\"read\"]\n", "f1:3: module: \"p*\" is not"),
        ("[[deny]]\nname = \"x\"\ncontent = \"any\"\naccess = [\"write\"]\n", "f1:3: content limits"),
        ("[[allow]]\nname = \"x\"\nexe = [\"/x\"]\naccess = [\"link\"]\n", "f1:1: allow rule \"x\" does not say what"),
        ("[[deny]]\nname = \"x\"\nowner = \"root\"\naccess = [\"read\"]\n", "f1:3: owner limits whom"),
        ("[[deny]]\nname = \"x\"\nenvironment = \"any\"\naccess = [\"read\"]\n", "f1:3: environment limits whom"),
        ("[[deny]]\nname = \"x\"\nfile = [\"*.pth\"]\naccess = [\"read\"]\n", "f1:3: file: \"*.pth\" is not"),
        ("[[deny]]\nname = \"x\"\nparent = []\naccess = [\"read\"]\n", "f1:3: parent is empty"),
        (
            "[[allow]]\nname = \"x\"\nexe = [\"/x\"]\nowner = \"me\"\naccess = [\"read\"]\n",
            "f1:4: owner must be \"root\" or \"user\" or \"any\"",
        ),
        (
            "[[allow]]\nname = \"x\"\nexe = [\"/x\"]\nscope = \"same-environment\"\ncontainers = true\naccess = [\"read\"]\n",
            "f1:1: rule \"x\": with containers = true",
        ),
        (
            "[[allow]]\nname = \"x\"\nexe = [\"/x\"]\naccess = [\"read\"]\ncontent = \"any\"\n",
            "f1:5: content limits what a writer brings",
        ),
        (
            "[[allow]]\nname = \"x\"\nexe = [\"/x\"]\naccess = [\"write\"]\ncontent = [\"safe\"]\n",
            "f1:5: content: \"safe\" is not one of \"empty\", \"paths\", \"known\", \"imports\", \"code\"",
        ),
        (
            "[[allow]]\nname = \"x\"\nexe = [\"/x\"]\naccess = [\"write\"]\ncontent = [\"broken\"]\n",
            "f1:5: content: what stops an interpreter",
        ),
        (
            "[[allow]]\nname = \"x\"\nexe = [\"/x\"]\naccess = [\"write\"]\ncontent = []\n",
            "f1:5: content must be \"any\" or a list of",
        ),
    ] {
        let message = faults(rule);
        assert!(message.starts_with(fault), "{rule}: {message}");
    }
}

#[test]
fn rules_that_say_what_other_tools_say_are_checked_as_well() {
    for (rule, fault) in [
        ("path = []", "f1:4: path is empty"),
        ("path = [\"x\"]", "f1:4: path: \"x\" must be an absolute path"),
        ("path = [\"like:\"]", "f1:4: path: \"like:\" has nothing after"),
        (
            "path = [\"regex:(\"]",
            "f1:4: path: \"regex:(\" is not a regular expression that can be used: unclosed group",
        ),
        ("extension = [\".pth\"]", "f1:4: extension: \".pth\" is none: write it without a dot"),
        ("os = [\"Linux\"]", "f1:4: os: \"Linux\" is not one of \"linux\", \"macos\", \"windows\""),
        ("sites = [\"like:/a\"]", "f1:4: sites: \"like:/a\" must be an absolute path"),
        ("[[deny.except]]", "f1:4: except names nothing"),
        ("[[deny.except]]\nfile = [\"*\"]", "f1:5: file: \"*\" is not"),
        ("[[deny.except]]\nuid = [0]", "f1:5: unknown field `uid`"),
    ] {
        let message = faults(&format!("[[deny]]\nname = \"x\"\naccess = [\"create\"]\n{rule}\n"));
        assert!(message.starts_with(fault), "{rule}: {message}");
    }
    let allow = "[[allow]]\nname = \"x\"\nexe = [\"/x\"]\naccess = [\"create\"]\ncontent = \"any\"\n";
    load_ok(&[allow]);
    let message = faults(&format!("{allow}[[allow.except]]\nexe = [\"/y\"]\n"));
    assert!(message.starts_with("f1:6: except is for deny rules"), "{message}");
    let message = faults(&allow.replace("/x", "like:*/x"));
    assert!(message.starts_with("f1:3: allow rule \"x\": \"like:*/x\" is no glob"), "{message}");
    let message = faults(&allow.replace("content = \"any\"\n", ""));
    assert!(message.contains("does not say what content"), "{message}");
}

#[test]
fn a_policy_that_only_reports_cannot_be_enforced() {
    assert_eq!(load_ok(&["no_rule = \"allow\"\n"]).mode.as_str(), "audit");
    let message = faults("no_rule = \"allow\"\nmode = \"enforce\"\n");
    assert!(message.contains("such a policy only reports"), "{message}");
    assert!(faults("no_rule = \"maybe\"\n").starts_with("f1:1: no_rule must be \"deny\" or \"allow\""));
}

#[test]
fn a_program_of_an_interpreter_stays_in_its_environment_unless_told_otherwise() {
    let text = alone(&format!(
        "{}{}",
        "[[allow]]\nname = \"m\"\nexe = [\"/usr/bin/python3\"]\nmodule = [\"m\"]\naccess = [\"write\"]\ncontent = \"any\"\n",
        writer("native", "/usr/bin/x")
    ));
    let config = load_ok(&[&text]);
    let scopes: Vec<&str> = config.policy.rules().iter().map(|rule| rule.scope.as_str()).collect();
    assert_eq!(scopes, ["same-environment", "any"]);
}

#[test]
fn a_rule_that_can_never_match_is_an_error_that_names_both() {
    let text = alone(&format!("{}{}", writer("wide", "/opt/x*"), writer("narrow", "/opt/xy")));
    assert_eq!(
        faults(&text),
        "f1:9: rule \"narrow\" can never match: rule \"wide\" (f1:4) is asked first and covers it; narrow that one or \
         remove this one"
    );
}

#[test]
fn two_rules_of_one_name_are_refused() {
    let message = faults(&writer("dpkg", "/opt/dpkg"));
    assert!(message.starts_with("f1:1: there is another rule \"dpkg\" (built-in:"), "{message}");
}
