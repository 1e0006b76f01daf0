use super::*;

const OPENED: &str = r#"{"hostname":"n1","output":"10:00: Notice File opened","output_fields":{"container.id":"4d5e6f708192","evt.arg.flags":"O_CREAT|O_TRUNC|O_WRONLY|O_F_CREATED","evt.is_open_write":true,"evt.time":1767225600000000000,"evt.type":"openat","fd.name":"/usr/lib/python3/dist-packages/x.pth","proc.cmdline":"python3 -m pip install x","proc.exepath":"/usr/bin/python3.12","proc.name":"python3","proc.pexepath":"/usr/bin/bash","user.uid":0},"priority":"Notice","rule":"Startup file","source":"syscall","tags":["T1546.018"],"time":"2026-01-01T00:00:00.000000000Z"}"#;

fn with(from: &str, to: &str) -> String {
    assert!(OPENED.contains(from));
    OPENED.replace(from, to)
}

/// The operation of an alert, and its path.
fn says(fields: &str) -> Option<(Operation, String)> {
    let record = format!(r#"{{"output_fields":{{{fields}}},"time":"t"}}"#);
    parse(Format::Auto, &record).unwrap().map(|event| (event.operation, event.path.into_owned()))
}

#[test]
fn an_open_for_writing() {
    let expected = Event {
        os: Some(Os::Linux),
        extension: Some("pth".into()),
        exe: Some("/usr/bin/python3.12".into()),
        args: ["python3", "-m", "pip", "install", "x"].map(Into::into).to_vec(),
        uid: Some(0),
        parent_exe: Some("/usr/bin/bash".into()),
        container: Some("4d5e6f708192".into()),
        time: Some("2026-01-01T00:00:00.000000000Z".into()),
        ..Event::new(Operation::Create, "/usr/lib/python3/dist-packages/x.pth".into())
    };
    assert_eq!(auto(OPENED), expected);
    assert_eq!(auto(&with("|O_F_CREATED", "")).operation, Operation::Modify);
    assert_eq!(
        auto(
            &with("O_CREAT|O_TRUNC|O_WRONLY|O_F_CREATED", "O_RDONLY|O_CLOEXEC")
                .replace("write\":true", "write\":false")
        )
        .operation,
        Operation::Read
    );
}

#[test]
fn what_falco_does_not_know_is_not_there() {
    let record = with("4d5e6f708192", "host")
        .replace("/usr/bin/bash", "<NA>")
        .replace(r#""user.uid":0"#, r#""user.uid":4294967295"#);
    let event = auto(&record);
    assert_eq!((event.container, event.parent_exe, event.uid), (None, None, None));
    let event = auto(&with(r#""proc.cmdline":"python3 -m pip install x","#, r#""proc.args":"-c x","#));
    assert_eq!(event.args, ["python3", "-c", "x"]);
}

#[test]
fn the_new_name_is_where_falco_puts_it() {
    let rename = r#""evt.type":"renameat2","fs.path.source":"/tmp/a","fs.path.target":"/s/x.pth""#;
    assert_eq!(says(rename), Some((Operation::Rename, "/s/x.pth".to_owned())));
    let link = r#""evt.type":"linkat","fs.path.source":"/s/x.pth","fs.path.target":"/tmp/a""#;
    assert_eq!(says(link), Some((Operation::Link, "/s/x.pth".to_owned())));
    let symlink = r#""evt.type":"symlink","fs.path.source":"/s/x.pth","fs.path.target":"../a""#;
    assert_eq!(says(symlink), Some((Operation::Symlink, "/s/x.pth".to_owned())));
    let unlink = r#""evt.type":"unlinkat","fs.path.name":"/s/x.pth""#;
    assert_eq!(says(unlink), Some((Operation::Delete, "/s/x.pth".to_owned())));
    let truncate = r#""evt.type":"ftruncate","fd.name":"/s/x.pth","fs.path.name":null"#;
    assert_eq!(says(truncate), Some((Operation::Modify, "/s/x.pth".to_owned())));
}

#[test]
fn what_failed_or_makes_no_name_is_passed_over() {
    for fields in [
        r#""evt.type":"execve","proc.exepath":"/bin/sh""#,
        r#""evt.type":"openat","evt.res":"ENOENT","fd.name":"/s/x.pth""#,
        r#""evt.type":"rename","evt.failed":true,"fs.path.target":"/s/x.pth""#,
        r#""evt.type":"openat","evt.arg.flags":"O_TMPFILE|O_RDWR","fd.name":"/s""#,
        r#""evt.type":null"#,
        "",
    ] {
        assert_eq!(says(fields), None, "{fields}");
    }
}

#[test]
fn an_alert_that_does_not_say_enough_says_what_to_add() {
    let fields = r#"{"output_fields":{"evt.type":"openat","fd.name":"/s/x.pth"}}"#;
    assert_eq!(reason(Format::Auto, fields), "a Falco alert that does not tell a write from a read: add evt.arg.flags");
    let fields = r#"{"output_fields":{"evt.type":"rename","fd.name":"/s/x.pth"}}"#;
    assert_eq!(reason(Format::Auto, fields), "a Falco alert without the path: add fs.path.*");
    let fields = r#"{"output_fields":{"evt.type":"unlink","fs.path.name":7}}"#;
    assert_eq!(reason(Format::Auto, fields), "fs.path.name is not text");
}
