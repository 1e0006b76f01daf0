//! A status for tests.

use super::*;
use crate::model::Access;

fn counts(allow: u64, deny: u64, would_deny: u64) -> Outcomes {
    Outcomes { allow, deny, would_deny }
}

pub(super) fn status() -> Status {
    let by_rule = |rule: Option<&str>, counts| ByRule { rule: rule.map(str::to_owned), counts };
    let latency = Latency {
        count: 900,
        sum_ns: 45_000_000,
        p50_ns: 40_000,
        p90_ns: 90_000,
        p99_ns: 1_200_000,
        max_ns: 48_123_456,
        within: (0..LIMITS_US.len() as u64).map(|n| (n * 100).min(899)).collect(),
    };
    Status {
        version: VERSION,
        program_version: "0.1.0".to_owned(),
        pid: 4711,
        since: "2026-11-27T08:00:00Z".to_owned(),
        since_unix: 1_795_766_400,
        mode: Mode::Enforce,
        mode_until: None,
        policy_generation: "0123456789ab".to_owned(),
        policy_sources: vec!["built-in".to_owned(), "/etc/pthguard/pthguard.toml".to_owned()],
        last_reload: Some(Reload { time: "2026-11-27T09:00:00Z".to_owned(), ok: true, error: None }),
        groups_taken_over: Some(8),
        directories: Directories { system: 10, users: 3, layered: 0, sites: 8, inside: 3, targets: 2 },
        tracked_files: 41,
        approvals: 39,
        held: 2,
        quarantine: Quarantine { files: Some(1), bytes: 12_288, capacity: 268_435_456 },
        verdicts: vec![
            Verdicts { access: Access::Read, counts: counts(812, 4, 0) },
            Verdicts { access: Access::Write, counts: counts(3, 2, 0) },
            Verdicts { access: Access::Link, counts: counts(0, 0, 0) },
        ],
        rules: vec![
            by_rule(Some("pip"), counts(3, 0, 0)),
            by_rule(Some("say \"no\" \\ to"), counts(0, 2, 0)),
            by_rule(None, counts(1, 0, 0)),
        ],
        reasons: vec![
            ByReason { reason: "approved".to_owned(), counts: counts(812, 0, 0) },
            ByReason { reason: "no-rule".to_owned(), counts: counts(0, 0, 0) },
        ],
        failures: vec![
            Failed { failure: "timeout".to_owned(), action: "deny".to_owned(), count: 1 },
            Failed { failure: "mark".to_owned(), action: "told".to_owned(), count: 0 },
        ],
        killed: 0,
        records: Records {
            dropped: 0,
            queued: 0,
            sinks: vec![Sink { sink: "json log /var/log/pthguard/events.ndjson".to_owned(), lost: 7 }],
        },
        textfile_errors: 0,
        latency_last_minute: Latency { within: vec![0; LIMITS_US.len()], ..Latency::default() },
        latency,
        queued: 0,
        kernel: Kernel {
            release: "6.18.0".to_owned(),
            features: vec![
                Feature { feature: "FAN_REPORT_FD_ERROR".to_owned(), in_use: Some(true) },
                Feature { feature: "FAN_MARK_IGNORE".to_owned(), in_use: None },
            ],
            limits: vec![Limit { limit: "max_user_groups".to_owned(), value: 128 }],
        },
        rename_gate: Switch::Off,
        discovery: Discovery::Done,
        threads: Threads { well: true, vital_standing_ms: 0, others_standing_ms: 0, looked_ms: 120 },
    }
}
