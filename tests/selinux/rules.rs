//! What the linked policy grants, held against tables: a right that is added shows here first.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::module::{Allowed, Linked, tool};

const DAEMON: &str = "pthguard_t";
const QUERY: &str = "pthguard_query_t";
/// Classes of files, in the widest sense.
const FILES: [&str; 7] = ["file", "dir", "lnk_file", "fifo_file", "sock_file", "blk_file", "chr_file"];
/// What changes a file or a directory.
const CHANGES: [&str; 15] = [
    "write",
    "append",
    "create",
    "setattr",
    "unlink",
    "link",
    "rename",
    "add_name",
    "remove_name",
    "rmdir",
    "reparent",
    "relabelfrom",
    "relabelto",
    "mounton",
    "execmod",
];
/// What quarantine and restoring do, by class.
const SITE: [(&str, &[&str]); 7] = [
    ("dir", &["add_name", "remove_name", "write"]),
    ("file", &["create", "rename", "setattr", "unlink", "write"]),
    ("lnk_file", &["create", "rename", "setattr", "unlink"]),
    ("fifo_file", &["rename", "unlink"]),
    ("sock_file", &["rename", "unlink"]),
    ("blk_file", &["rename", "unlink"]),
    ("chr_file", &["rename", "unlink"]),
];
/// Types that site directories have, and the boolean without which they are not touched.
const SITE_TYPES: [(&str, Option<&str>); 8] = [
    ("lib_t", None),
    ("usr_t", None),
    ("user_home_t", Some("pthguard_manage_home")),
    ("xdg_data_t", Some("pthguard_manage_home")),
    ("var_t", Some("pthguard_manage_data")),
    ("var_lib_t", Some("pthguard_manage_data")),
    ("default_t", Some("pthguard_manage_data")),
    ("httpd_sys_content_t", Some("pthguard_manage_data")),
];
/// Directories in which the daemon makes its own.
const PARENTS: [&str; 4] = ["var_lib_t", "var_log_t", "var_run_t", "tmpfs_t"];

fn permissions<'a>(rules: impl IntoIterator<Item = &'a Allowed>) -> BTreeSet<&'a str> {
    rules.into_iter().flat_map(|rule| &rule.permissions).map(String::as_str).collect()
}

/// The rules that let a domain change files.
fn changing<'a>(rules: &'a [Allowed]) -> impl Iterator<Item = (&'a Allowed, BTreeSet<&'a str>)> {
    let of_files = rules.iter().filter(|rule| FILES.contains(&rule.class.as_str()));
    let changes = |rule: &'a Allowed| permissions([rule]).into_iter().filter(|name| CHANGES.contains(name)).collect();
    of_files.map(move |rule| (rule, changes(rule))).filter(|(_, changes): &(_, BTreeSet<_>)| !changes.is_empty())
}

#[test]
fn systemd_alone_starts_the_daemon_in_its_domain() {
    let policy = Linked::shipped();
    let transitions = policy.search(&["-T", "-c", "process", "-D", DAEMON]);
    assert_eq!(transitions, ["type_transition init_t pthguard_exec_t:process pthguard_t;"]);
    let allowed =
        policy.allowed(&["-t", DAEMON, "-c", "process,process2", "-p", "transition,dyntransition,nnp_transition"]);
    let sources: BTreeSet<&str> = allowed.iter().map(|rule| rule.source.as_str()).collect();
    assert_eq!(sources, BTreeSet::from(["init_t"]), "not even by asking for it (runcon, SELinuxContext=)");
    // Under NoNewPrivileges the kernel wants a further right for it.
    let granted = permissions(&allowed);
    assert!(granted.contains("nnp_transition") && !granted.contains("dyntransition"), "{granted:?}");
    let entries = policy.of(DAEMON).iter().filter(|rule| rule.has_any(&["entrypoint"]));
    let programs: Vec<&str> = entries.map(|rule| rule.target.as_str()).collect();
    assert_eq!(programs, ["pthguard_exec_t"]);
}

#[test]
fn the_tool_runs_in_the_domain_of_its_caller_and_reaches_the_daemon() {
    let policy = Linked::shipped();
    // Of unconfined_t the virtual machine tells.
    let run = policy.allowed(&["-s", "sysadm_t", "-t", "pthguard_exec_t", "-c", "file", "-p", "execute_no_trans"]);
    assert!(!run.is_empty());
    let connect = policy.allowed(&["-s", "sysadm_t", "-t", DAEMON, "-c", "unix_stream_socket", "-p", "connectto"]);
    assert!(!connect.is_empty());
}

#[test]
fn it_has_the_capabilities_that_it_asks_for_and_no_others() {
    let policy = Linked::shipped();
    let of = |domain| policy.of(domain).iter().filter(|rule| rule.class.starts_with("cap"));
    let mut found: BTreeMap<Option<&str>, BTreeSet<&str>> = BTreeMap::new();
    for rule in of(DAEMON) {
        found.entry(rule.only_if.as_deref()).or_default().extend(permissions([rule]));
    }
    let always = ["chown", "dac_override", "dac_read_search", "fowner", "lease", "sys_admin", "sys_nice", "sys_ptrace"];
    let expected = BTreeMap::from([
        (None, BTreeSet::from(always)),
        (Some("pthguard_audit"), BTreeSet::from(["audit_write"])),
        (Some("pthguard_kill"), BTreeSet::from(["kill"])),
    ]);
    assert_eq!(found, expected);
    assert_eq!(of(QUERY).next(), None);

    let said = tool(Command::new("seinfo").args(["-b", "-x"]).arg(policy.policy()), "setools");
    let booleans: BTreeSet<&str> = said.lines().filter_map(|line| line.trim().strip_prefix("bool pthguard_")).collect();
    let expected =
        ["audit false;", "kill false;", "manage_data true;", "manage_home true;", "metrics false;", "see_calls true;"];
    assert_eq!(booleans, BTreeSet::from(expected));
}

#[test]
fn it_waits_with_openers_wherever_a_site_directory_may_lie() {
    let policy = Linked::shipped();
    for target in ["lib_t", "tmp_t", "unlabeled_t"] {
        let rules = policy.allowed(&["-s", DAEMON, "-t", target, "-c", "dir,file"]);
        let of = |class: &str| permissions(rules.iter().filter(|rule| rule.class == class && rule.only_if.is_none()));
        for needed in ["open", "read", "search", "watch", "watch_reads", "watch_sb", "watch_with_perm"] {
            assert!(of("dir").contains(needed), "{target}:dir {needed}");
        }
        for needed in ["open", "read", "watch", "watch_with_perm"] {
            assert!(of("file").contains(needed), "{target}:file {needed}");
        }
    }
}

#[test]
fn it_changes_its_own_files_and_what_quarantine_and_restoring_need() {
    let rules = Linked::shipped().of(DAEMON);
    let site: BTreeMap<&str, BTreeSet<&str>> = SITE.iter().map(|(c, p)| (*c, p.iter().copied().collect())).collect();
    let append = BTreeSet::from(["append", "write"]);
    let mut seen = BTreeSet::new();
    for (rule, changes) in changing(rules) {
        let (target, class, only_if) = (rule.target.as_str(), rule.class.as_str(), rule.only_if.as_deref());
        let as_site = SITE_TYPES.contains(&(target, only_if)) && site.get(class) == Some(&changes);
        if as_site {
            seen.insert((target, class));
        }
        let fits = match (target, class) {
            // Never rewritten, renamed or removed.
            ("pthguard_log_t", "file") => changes == BTreeSet::from(["append", "create"]),
            ("pthguard_log_t", "dir") => changes == BTreeSet::from(["add_name", "create", "write"]),
            ("pthguard_conf_t" | "pthguard_exec_t" | "pthguard_unit_t", _) => false,
            // Its own, and its own /proc/self; not those of what it asks.
            _ if target.starts_with("pthguard_") => only_if.is_none() && target != QUERY,
            // What every domain has, the system log, and what systemd hands over open.
            ("devtty_t" | "null_device_t" | "zero_device_t" | "console_device_t", "chr_file")
            | ("setrans_runtime_t" | "devlog_t" | "init_runtime_t", "sock_file") => changes == append,
            ("init_t", "fifo_file") | ("init_tmpfs_t", "file") => changes == append && !rule.has_any(&["open"]),
            ("textrel_shlib_t", "file") => rule.source == "domain" && changes == BTreeSet::from(["execmod"]),
            ("var_lib_t", class) if only_if == Some("pthguard_metrics") => changes == site[class],
            (parent, "dir") if PARENTS.contains(&parent) && only_if.is_none() => changes.is_subset(&site["dir"]),
            _ => as_site,
        };
        assert!(fits, "{rule:?}");
    }
    let wanted = SITE_TYPES.iter().flat_map(|(target, _)| SITE.iter().map(move |(class, _)| (*target, *class)));
    assert_eq!(seen, wanted.collect());
}

#[test]
fn it_reads_no_passwords_has_no_network_and_executes_nothing_in_its_own_domain() {
    let policy = Linked::shipped();
    let passwords = policy.allowed(&["-s", DAEMON, "-t", "shadow_t", "-c", "file,lnk_file"]);
    assert!(passwords.iter().all(|rule| permissions([rule]).is_subset(&BTreeSet::from(["getattr"]))), "{passwords:?}");
    for domain in [DAEMON, QUERY] {
        let rules = policy.of(domain);
        let has = |name: &str| rules.iter().find(|rule| rule.has_any(&[name]));
        let never = ["execute_no_trans", "execmem", "execstack", "execheap", "setexec", "setcurrent", "setfscreate"];
        for name in never {
            assert_eq!(has(name), None, "{domain} {name}");
        }
        // What every domain has of the network needs a socket that it cannot make.
        for rule in
            rules.iter().filter(|rule| rule.class.contains("socket") && rule.has_any(&["create", "bind", "connect"]))
        {
            let is_own = rule.target == domain || (rule.source == "domain" && rule.class.starts_with("unix_"));
            assert!(is_own && matches!(rule.class.as_str(), "unix_stream_socket" | "unix_dgram_socket"), "{rule:?}");
        }
        let powers =
            ["security", "bpf", "perf_event", "system", "key", "service", "io_uring", "dbus", "user_namespace"];
        assert_eq!(rules.iter().find(|rule| powers.contains(&rule.class.as_str()) && rule.target != domain), None);
    }
    // What it asks can tell it something, and that is all.
    for (rule, _) in changing(policy.of(QUERY)).filter(|(rule, _)| rule.source != "domain") {
        let is_a_pipe = rule.class == "fifo_file" && matches!(rule.target.as_str(), DAEMON | QUERY);
        let is_itself = rule.target == QUERY && rule.class == "file"; // /proc/self
        assert!(is_a_pipe || is_itself, "{rule:?}");
    }
}

#[test]
fn it_traces_and_ends_others_only_where_a_boolean_says_so() {
    let policy = Linked::shipped();
    let powerful = ["ptrace", "sigkill", "sigstop", "signal", "setsched", "transition", "dyntransition", "setrlimit"];
    let over_others = policy.of(DAEMON).iter().filter(|rule| rule.class == "process" && rule.target != DAEMON);
    for rule in over_others.filter(|rule| rule.has_any(&powerful)) {
        let fits = match (rule.target.as_str(), rule.only_if.as_deref()) {
            ("domain", Some("pthguard_see_calls")) => permissions([rule]) == BTreeSet::from(["ptrace"]),
            ("domain", Some("pthguard_kill")) => permissions([rule]) == BTreeSet::from(["sigkill", "signull"]),
            (QUERY, None) => permissions([rule]) == BTreeSet::from(["sigkill", "signull", "transition"]),
            _ => false,
        };
        assert!(fits, "{rule:?}");
    }
    // ptrace is to read: nobody's /proc/PID/mem can be opened for writing.
    assert_eq!(policy.allowed(&["-s", DAEMON, "-t", "init_t", "-c", "file", "-p", "write,append"]), []);
}
