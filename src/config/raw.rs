//! A policy file as it was typed: every key optional, every value with its position.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Spanned, Value};

pub(super) type Text = Option<Spanned<String>>;
pub(super) type Texts = Option<Spanned<Vec<Spanned<String>>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) include_default: Option<bool>,
    pub(super) mode: Text,
    pub(super) no_rule: Text,
    #[serde(default)]
    pub(super) protect: RawProtect,
    #[serde(default)]
    pub(super) failure: RawFailure,
    #[serde(default)]
    pub(super) response: RawResponse,
    #[serde(default)]
    pub(super) log: RawLog,
    #[serde(default)]
    pub(super) state: RawState,
    #[serde(default)]
    pub(super) programs: BTreeMap<Spanned<String>, Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    pub(super) allow: Vec<Spanned<RawRule>>,
    #[serde(default)]
    pub(super) deny: Vec<Spanned<RawRule>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProtect {
    pub(super) sites: Texts,
    pub(super) extra_sites: Texts,
    pub(super) startup: Texts,
    pub(super) customize: Option<bool>,
    pub(super) discover: Option<bool>,
    pub(super) discover_below: Texts,
    pub(super) discover_except: Texts,
    pub(super) containers: Option<bool>,
    pub(super) max_size: Option<Spanned<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFailure {
    pub(super) budget_ms: Option<Spanned<i64>>,
    pub(super) timeout: Text,
    pub(super) queue_full: Text,
    pub(super) unresolved: Text,
    pub(super) unresolved_arrival: Text,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawResponse {
    pub(super) on_violation: Text,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) syslog: Option<bool>,
    pub(super) json: Text,
    pub(super) json_max_size: Option<Spanned<Value>>,
    pub(super) format: Text,
    pub(super) kernel_audit: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawState {
    pub(super) dir: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pub(super) name: Text,
    pub(super) exe: Texts,
    pub(super) script: Texts,
    pub(super) module: Texts,
    pub(super) parent: Texts,
    pub(super) uid: Option<Spanned<Value>>,
    pub(super) owner: Text,
    pub(super) environment: Text,
    pub(super) containers: Option<bool>,
    pub(super) scope: Text,
    pub(super) sites: Texts,
    pub(super) file: Texts,
    pub(super) path: Texts,
    pub(super) extension: Texts,
    pub(super) os: Texts,
    pub(super) access: Texts,
    pub(super) content: Option<Spanned<Value>>,
    #[serde(default)]
    pub(super) except: Vec<Spanned<RawExcept>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExcept {
    pub(super) exe: Texts,
    pub(super) path: Texts,
    pub(super) file: Texts,
}
