//! What the linked policy grants, held against tables: a right that is added shows here first.

use std::collections::{BTreeMap, BTreeSet};

use crate::module::{Allowed, Linked};

const DAEMON: &str = "pthguard_t";
const QUERY: &str = "pthguard_query_t";
/// Classes of files, in the widest sense.
const FILES: &str = "file,dir,lnk_file,fifo_file,sock_file,blk_file,chr_file";
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

#[test]
fn systemd_alone_starts_the_daemon_in_its_domain() {
    let policy = Linked::shipped();
    let transitions = policy.search(&["-T", "-c", "process", "-D", DAEMON]);
    assert_eq!(transitions, ["type_transition init_t pthguard_exec_t:process pthguard_t;"]);
    let allowed = policy.allowed(&["-t", DAEMON, "-c", "process", "-p", "transition,dyntransition"]);
    let sources: Vec<&str> = allowed.iter().map(|rule| rule.source.as_str()).collect();
    assert_eq!(sources, ["init_t"], "not even by asking for it (runcon, SELinuxContext=)");
    assert_eq!(permissions(&allowed), BTreeSet::from(["rlimitinh", "transition"]));
    // Under NoNewPrivileges the kernel wants a further right for it.
    let allowed = policy.allowed(&["-s", "init_t", "-t", DAEMON, "-c", "process2"]);
    assert!(permissions(&allowed).contains("nnp_transition"), "{allowed:?}");
    let entries = policy.allowed(&["-s", DAEMON, "-c", "file", "-p", "entrypoint"]);
    let programs: Vec<&str> = entries.iter().map(|rule| rule.target.as_str()).collect();
    assert_eq!(programs, ["pthguard_exec_t"]);
}

#[test]
fn the_tool_runs_in_the_domain_of_its_caller() {
    let policy = Linked::shipped();
    let arguments = ["-s", "sysadm_t", "-t", "pthguard_exec_t", "-c", "file", "-p", "execute_no_trans"];
    assert!(!policy.allowed(&arguments).is_empty());
    let arguments = ["-s", "sysadm_t", "-t", DAEMON, "-c", "unix_stream_socket", "-p", "connectto"];
    assert!(!policy.allowed(&arguments).is_empty());
}

#[test]
fn it_has_the_capabilities_that_it_asks_for_and_no_others() {
    let policy = Linked::shipped();
    let classes = "capability,capability2,cap_userns,cap2_userns";
    let of_the_daemon = policy.allowed(&["-s", DAEMON, "-c", classes]);
    let mut found: BTreeMap<Option<&str>, BTreeSet<&str>> = BTreeMap::new();
    for rule in &of_the_daemon {
        found.entry(rule.only_if.as_deref()).or_default().extend(permissions([rule]));
    }
    let always = ["chown", "dac_override", "dac_read_search", "fowner", "lease", "sys_admin", "sys_nice", "sys_ptrace"];
    let expected = BTreeMap::from([
        (None, BTreeSet::from(always)),
        (Some("pthguard_audit"), BTreeSet::from(["audit_write"])),
        (Some("pthguard_kill"), BTreeSet::from(["kill"])),
    ]);
    assert_eq!(found, expected);
    assert_eq!(policy.allowed(&["-s", QUERY, "-c", classes]), []);
    // Both are off until somebody says otherwise.
    for (boolean, state) in
        [("pthguard_audit", false), ("pthguard_kill", false), ("pthguard_metrics", false), ("pthguard_see_calls", true)]
    {
        let policy_file = policy.policy();
        let mut command = std::process::Command::new("seinfo");
        let said = crate::module::tool(command.args(["--flat", "-x", "-b", boolean]).arg(policy_file), "setools");
        assert_eq!(said.trim(), format!("bool {boolean} {state};"));
    }
}

#[test]
fn it_waits_with_openers_wherever_a_site_directory_may_lie() {
    let policy = Linked::shipped();
    for target in ["lib_t", "usr_t", "user_home_t", "var_t", "var_lib_t", "default_t", "tmp_t", "etc_t", "tmpfs_t"] {
        let of = |class| policy.allowed(&["-s", DAEMON, "-t", target, "-c", class]);
        let (dir, file) = (of("dir"), of("file"));
        for needed in ["open", "read", "search", "watch", "watch_reads", "watch_sb", "watch_with_perm"] {
            assert!(permissions(&dir).contains(needed), "{target}:dir {needed}");
        }
        let on_files: &[&str] =
            if target == "tmpfs_t" { &["open", "read"] } else { &["open", "read", "watch", "watch_with_perm"] };
        for needed in on_files {
            assert!(permissions(&file).contains(needed), "{target}:file {needed}");
        }
    }
}

#[test]
fn it_changes_its_own_files_and_what_quarantine_and_restoring_need() {
    let policy = Linked::shipped();
    let rules = policy.allowed(&["-s", DAEMON, "-c", FILES, "-p", &CHANGES.join(",")]);
    let site: BTreeMap<&str, BTreeSet<&str>> = SITE.iter().map(|(c, p)| (*c, p.iter().copied().collect())).collect();
    for rule in rules {
        let changes: BTreeSet<&str> = permissions([&rule]).into_iter().filter(|p| CHANGES.contains(p)).collect();
        let target = rule.target.as_str();
        let is_on_the_way = PARENTS.contains(&target) && rule.class == "dir" && changes == site["dir"];
        let of_site = SITE_TYPES.iter().find(|(name, _)| *name == target);
        let fits = match (target, rule.class.as_str()) {
            // Never rewritten, renamed or removed.
            ("pthguard_log_t", "file") => changes == BTreeSet::from(["append", "create"]),
            ("pthguard_log_t", "dir") => changes == BTreeSet::from(["add_name", "create", "write"]),
            ("pthguard_conf_t" | "pthguard_exec_t" | "pthguard_unit_t", _) => false,
            ("pthguard_metrics_t", "file") => rule.only_if.as_deref() == Some("pthguard_metrics"),
            // Its own, and its own /proc/self.
            _ if target.starts_with("pthguard_") => rule.only_if.is_none(),
            // What every domain has, the system log, and what systemd hands over open.
            ("devtty_t" | "null_device_t" | "zero_device_t" | "console_device_t", "chr_file")
            | ("setrans_runtime_t" | "devlog_t" | "init_runtime_t", "sock_file") => {
                changes == BTreeSet::from(["append", "write"])
            }
            ("init_t", "fifo_file") | ("init_tmpfs_t", "file") => {
                changes == BTreeSet::from(["append", "write"]) && !rule.has_any(&["open"])
            }
            (_, class) => {
                let fits_site = of_site.is_some_and(|(_, boolean)| {
                    rule.only_if.as_deref() == *boolean && site.get(class).is_some_and(|needed| changes == *needed)
                });
                let metrics = target == "var_lib_t" && rule.only_if.as_deref() == Some("pthguard_metrics");
                fits_site || (metrics && class == "dir") || is_on_the_way
            }
        };
        assert!(fits, "{rule:?}");
    }
    for (name, boolean) in SITE_TYPES {
        let found = policy.allowed(&["-s", DAEMON, "-t", name, "-c", "file", "-p", "rename"]);
        assert!(found.iter().any(|rule| rule.only_if.as_deref() == boolean), "{name}: {found:?}");
    }
}

#[test]
fn it_reads_no_passwords_has_no_network_and_executes_nothing_in_its_own_domain() {
    let policy = Linked::shipped();
    for secret in ["shadow_t"] {
        let rules = policy.allowed(&["-s", DAEMON, "-t", secret, "-c", "file,lnk_file"]);
        assert!(
            rules.iter().all(|rule| !rule.has_any(&["read", "open", "map", "watch", "write", "append"])),
            "{rules:?}"
        );
    }
    for domain in [DAEMON, QUERY] {
        let executed = policy.allowed(&["-s", domain, "-c", "file", "-p", "execute_no_trans,execmod"]);
        // Libraries with text relocations are every domain's, as the reference policy has it.
        assert!(
            executed.iter().all(|rule| rule.source == "domain" && !rule.has_any(&["execute_no_trans"])),
            "{executed:?}"
        );
        let memory = "execmem,execstack,execheap,setexec,setcurrent,setcap,setfscreate";
        assert_eq!(policy.allowed(&["-s", domain, "-c", "process", "-p", memory]), []);

        let rules = policy.allowed(&["-s", domain]);
        // What every domain has of the network needs a socket that it cannot make.
        let sockets = rules.iter().filter(|rule| rule.class.contains("socket") && rule.source != "domain");
        for rule in sockets {
            assert!(matches!(rule.class.as_str(), "unix_stream_socket" | "unix_dgram_socket"), "{rule:?}");
        }
        let forbidden =
            ["security", "bpf", "perf_event", "system", "key", "kernel_service", "io_uring", "binder", "dbus"];
        let found = rules.iter().find(|rule| forbidden.contains(&rule.class.as_str()) && rule.target != domain);
        assert_eq!(found, None);
    }
    // What it asks can tell it something, and that is all.
    let changed = policy.allowed(&["-s", QUERY, "-c", FILES, "-p", &CHANGES.join(",")]);
    for rule in changed.iter().filter(|rule| rule.source != "domain") {
        let is_a_pipe = rule.class == "fifo_file" && matches!(rule.target.as_str(), DAEMON | QUERY);
        let is_itself = rule.target == QUERY && matches!(rule.class.as_str(), "file" | "fifo_file");
        assert!(is_a_pipe || is_itself, "{rule:?}");
    }
}

#[test]
fn it_traces_and_ends_others_only_where_a_boolean_says_so() {
    let policy = Linked::shipped();
    let rules = policy.allowed(&["-s", DAEMON, "-c", "process"]);
    let powerful = ["ptrace", "sigkill", "sigstop", "signal", "setsched", "transition", "dyntransition", "setrlimit"];
    for rule in rules.iter().filter(|rule| rule.source == DAEMON && rule.target != DAEMON && rule.has_any(&powerful)) {
        let (target, boolean) = (rule.target.as_str(), rule.only_if.as_deref());
        let fits = match target {
            "domain" if rule.has_any(&["ptrace"]) => boolean == Some("pthguard_see_calls"),
            "domain" => boolean == Some("pthguard_kill"),
            QUERY => permissions([rule]) == BTreeSet::from(["sigkill", "signull", "transition"]),
            _ => false,
        };
        assert!(fits, "{rule:?}");
    }
    // ptrace is to read: nobody's /proc/PID/mem can be opened for writing.
    let memory = policy.allowed(&["-s", DAEMON, "-t", "init_t", "-c", "file", "-p", "write,append"]);
    assert_eq!(memory, []);
}
