//! The same operations as different recorders tell them.

use serde_json::{Value, json};

/// A startup file of the distribution's Python.
pub(crate) const FILE: &str = "/usr/lib/python3/dist-packages/x.pth";

/// A process of root.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub(crate) exe: &'static str,
    pub(crate) args: &'static [&'static str],
}

pub(crate) const BASH: Who = Who { exe: "/usr/bin/bash", args: &["bash", "-c", "echo"] };
pub(crate) const DPKG: Who = Who { exe: "/usr/bin/dpkg", args: &["dpkg", "--unpack", "x.deb"] };
pub(crate) const PIP: Who =
    Who { exe: "/usr/bin/python3.11", args: &["/usr/bin/python3.11", "/usr/bin/pip", "install", "x"] };

fn with(mut record: Value, section: &str, value: Value) -> Value {
    record[section] = value;
    record
}

pub(crate) fn ecs_of(path: &str, who: Who, uid: u32) -> Value {
    json!({
        "@timestamp": "2026-05-04T10:11:12.131Z",
        "event": { "kind": "event", "category": ["file"], "type": ["creation"], "action": "creation" },
        "file": { "path": path, "name": "x.pth", "extension": "pth" },
        "process": { "pid": 4242, "executable": who.exe, "args": who.args, "parent": { "executable": "/usr/bin/bash" } },
        "user": { "id": uid.to_string() },
        "host": { "os": { "type": "linux" } },
    })
}

/// Elastic Defend's.
pub(crate) fn ecs(who: Who) -> Value {
    ecs_of(FILE, who, 0)
}

pub(crate) fn dotted(who: Who) -> Value {
    json!({
        "event.category": "file", "event.action": ["creation"], "file.path": FILE, "file.extension": "pth",
        "process.executable": who.exe, "process.args": who.args, "user.id": 0, "host.os.type": "linux",
    })
}

/// As a search in Elasticsearch answers.
pub(crate) fn wrapped(who: Who) -> Value {
    json!({ "_index": "logs", "_id": "1", "_source": ecs(who), "sort": [1] })
}

/// This guard's.
pub(crate) fn own(who: Who, content: Option<&str>) -> Value {
    let mut guard = json!({ "verdict": "would-deny", "reason": "no-rule", "mode": "audit", "access": "write" });
    if let Some(content) = content {
        guard["content"] = content.into();
    }
    with(ecs(who), "pthguard", guard)
}

pub(crate) fn falco(who: Who) -> Value {
    json!({
        "output": "Notice File opened", "priority": "Notice", "rule": "Startup file", "time": "2026-01-01T00:00:00Z",
        "output_fields": {
            "evt.type": "openat", "evt.arg.flags": "O_CREAT|O_TRUNC|O_WRONLY|O_F_CREATED", "fd.name": FILE,
            "proc.exepath": who.exe, "proc.cmdline": who.args.join(" "), "user.uid": 0, "container.id": "host",
        },
    })
}

/// Sysmon's event 11 of Linux, as a Beat sends it. It has no command line.
pub(crate) fn winlogbeat(who: Who) -> Value {
    json!({
        "@timestamp": "2026-05-04T10:11:12.131Z",
        "event": { "code": "11", "kind": "event", "provider": "Linux-Sysmon" },
        "winlog": {
            "provider_name": "Linux-Sysmon", "event_id": 11,
            "event_data": {
                "Image": who.exe, "ProcessId": "4242", "TargetFilename": FILE, "User": "root",
                "UtcTime": "2026-05-04 10:11:12.131",
            },
        },
    })
}

/// The same as `Get-WinEvent | ConvertTo-Json` prints it.
pub(crate) fn powershell(who: Who) -> Value {
    let values = ["-", "2026-05-04 10:11:12.131", "{7a2c}", "4242", who.exe, FILE, "2026-05-04 10:11:12.131", "root"];
    let properties: Vec<_> = values.iter().map(|value| json!({ "Value": value })).collect();
    json!({ "Message": "File created:", "Id": 11, "Version": 2, "ProviderName": "Linux-Sysmon", "Properties": properties })
}

/// The lines that the audit daemon logs of one event.
pub(crate) fn auditd(serial: u32, who: Who) -> String {
    let line = |kind: &str, rest: &str| format!("type={kind} msg=audit(1777889472.131:{serial}): {rest}\n");
    let call = format!(
        "arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1=7ffd00 a2=241 a3=1b6 items=2 ppid=900 pid=4242 \
         auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 comm=\"x\" exe=\"{}\" \
         key=\"startup\"",
        who.exe
    );
    let title: String = who.args.join("\0").bytes().map(|byte| format!("{byte:02X}")).collect();
    [
        line("SYSCALL", &call),
        line("CWD", "cwd=\"/\""),
        line("PATH", "item=0 name=\"/usr/lib/python3/dist-packages/\" inode=7 mode=040755 nametype=PARENT"),
        line("PATH", &format!("item=1 name=\"{FILE}\" inode=8 mode=0100644 nametype=CREATE")),
        line("PROCTITLE", &format!("proctitle={title}")),
        line("EOE", ""),
    ]
    .concat()
}

/// As `>` of Windows PowerShell writes it.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// JSON lines.
pub(crate) fn all(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}
