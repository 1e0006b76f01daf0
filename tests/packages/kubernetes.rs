//! The manifest, without a cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use pthguard::config::{Config, JsonTarget, Source};
use pthguard::model::Mode;
use serde_json::Value;

use crate::here;
use crate::site::run_for;

const MANIFEST: &str = "packaging/kubernetes/daemonset.yaml";
/// It carries the schemas of Kubernetes' own API, by version.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";
/// The oldest in which the manifest's fields exist, and the newest that the validator knows.
const VERSIONS: [&str; 2] = ["1.30.0", "1.37.0"];
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);

/// A virtual environment with the validator, kept below the build directory.
fn validator() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(fetched)
}

fn fetched() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubernetes");
    let program = home.join("bin/kubernetes-validate");
    if !program.exists() {
        let made = run_for(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&home), DOWNLOAD_LIMIT);
        made.result().unwrap_or_else(|error| panic!("blocked: python3 -m venv (package python3-venv): {error}"));
        let mut pip = Command::new(home.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", VALIDATOR]);
        let fetched = run_for(&mut pip, DOWNLOAD_LIMIT);
        fetched.result().unwrap_or_else(|error| panic!("blocked: {VALIDATOR} cannot be fetched: {error}"));
    }
    program
}

/// The manifest's documents.
fn documents() -> Vec<Value> {
    const AS_JSON: &str = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let python = validator().with_file_name("python");
    let read = run_for(Command::new(python).args(["-c", AS_JSON]).arg(here(MANIFEST)), DOWNLOAD_LIMIT);
    read.result().unwrap();
    serde_json::from_str(&read.stdout).unwrap()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn the_manifest_is_what_kubernetes_asks_for() {
    for version in VERSIONS {
        let mut validate = Command::new(validator());
        validate.args(["--strict", "--no-warn", "--kubernetes-version", version]).arg(here(MANIFEST));
        let done = run_for(&mut validate, DOWNLOAD_LIMIT);
        assert!(done.status.success(), "{version}: {}{}", done.stdout, done.stderr);
    }
    // What the validator does not look at.
    let broken = tempfile::NamedTempFile::new().unwrap();
    fs::write(&broken, fs::read_to_string(here(MANIFEST)).unwrap().replace("hostPID", "hostPid")).unwrap();
    let done = run_for(Command::new(validator()).arg("--strict").arg(broken.path()), DOWNLOAD_LIMIT);
    assert!(!done.status.success(), "the validator takes anything");
}

#[test]
fn the_policy_of_the_cluster_loads() {
    let documents = documents();
    let policy = of_kind(&documents, "ConfigMap")["data"]["pthguard.toml"].as_str().unwrap().to_owned();
    let source = Source { name: MANIFEST.to_owned(), text: policy };
    let config = Config::from_sources(&[source]).unwrap();
    assert_eq!(config.mode, Mode::Audit, "what nobody has looked at is not enforced");
    assert!(config.protect.containers);
    assert_eq!(config.log.json, JsonTarget::Stdout);
}

/// What the API would refuse or the guard would miss, and no schema tells.
#[test]
fn the_parts_of_the_manifest_fit_together() {
    let documents = documents();
    for document in documents.iter().filter(|document| document["kind"] != "Namespace") {
        assert_eq!(document["metadata"]["namespace"], of_kind(&documents, "Namespace")["metadata"]["name"]);
    }
    let set = of_kind(&documents, "DaemonSet");
    let (spec, template) = (&set["spec"], &set["spec"]["template"]);
    assert_eq!(spec["selector"]["matchLabels"], template["metadata"]["labels"]);
    let pod = &template["spec"];
    assert_eq!(pod["serviceAccountName"], of_kind(&documents, "ServiceAccount")["metadata"]["name"]);
    assert_eq!(pod["hostPID"], true);
    let container = &pod["containers"][0];
    for mount in container["volumeMounts"].as_array().unwrap() {
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("the volume of a mount");
        if let Some(map) = volume.get("configMap") {
            assert_eq!(map["name"], of_kind(&documents, "ConfigMap")["metadata"]["name"]);
        }
    }
    // What the guard asks for at its start, and what entering the node's namespace takes.
    let source = fs::read_to_string(here("src/daemon/privileges.rs")).unwrap();
    let needed = source.split("const NEEDED").nth(1).unwrap().split("];").next().unwrap();
    let needed = needed.split("Capability::CAP_").skip(1).map(|rest| rest.split(',').next().unwrap());
    let capabilities = container["securityContext"]["capabilities"]["add"].as_array().unwrap();
    for name in needed.chain(["SYS_CHROOT"]) {
        assert!(capabilities.contains(&Value::from(name)), "no {name}");
    }
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], true);
}
