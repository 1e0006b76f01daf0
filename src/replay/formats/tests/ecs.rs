use super::*;
use crate::model::ContentClass;

const DEFEND: &str = r#"{"agent":{"id":"c0ffee","type":"endpoint","version":"8.15.1"},"process":{"parent":{"executable":"/usr/bin/bash","pid":900},"Ext":{"ancestry":["a","b"]},"name":"python3.12","pid":4242,"executable":"/usr/bin/python3.12","args":["python3","-m","pip","install","x"],"args_count":5},"@timestamp":"2026-05-04T10:11:12.131415Z","file":{"Ext":{"original":{"path":"/tmp/x","name":"x"}},"path":"/usr/lib/python3/dist-packages/x.pth","name":"x.pth","extension":"pth"},"ecs":{"version":"8.10.0"},"data_stream":{"namespace":"default","type":"logs","dataset":"endpoint.events.file"},"host":{"hostname":"web1","os":{"Ext":{"variant":"Debian"},"kernel":"6.1","name":"Linux","family":"debian","type":"linux"},"ip":["127.0.0.1"]},"event":{"sequence":11,"created":"2026-05-04T10:11:12Z","kind":"event","module":"endpoint","action":"rename","id":"x","category":["file"],"type":["change"],"dataset":"endpoint.events.file","outcome":"unknown"},"message":"Endpoint file event","user":{"Ext":{"real":{"name":"u","id":1000}},"name":"u","id":"1000"},"group":{"id":"1000"},"container":{"id":"4d4d"}}"#;

fn defend() -> Event<'static> {
    Event {
        os: Some(Os::Linux),
        extension: Some("pth".into()),
        exe: Some("/usr/bin/python3.12".into()),
        args: ["python3", "-m", "pip", "install", "x"].map(Into::into).to_vec(),
        uid: Some(1000),
        parent_exe: Some("/usr/bin/bash".into()),
        container: Some("4d4d".into()),
        time: Some("2026-05-04T10:11:12.131415Z".into()),
        ..Event::new(Operation::Rename, "/usr/lib/python3/dist-packages/x.pth".into())
    }
}

#[test]
fn elastic_defend_says_everything() {
    assert_eq!(auto(DEFEND), defend());
    let wrapped = format!(r#"{{"_index":"logs","_id":"1","_source":{DEFEND},"sort":[1]}}"#);
    assert_eq!(auto(&wrapped), defend());
}

#[test]
fn text_is_borrowed_where_it_can_be() {
    let mut parser = Parser::new(Format::Auto);
    let event = parser.next(Chunk { line: 1, bytes: Ok(DEFEND.as_bytes()) }).unwrap().result.unwrap().unwrap();
    let texts =
        event.args.iter().chain([&event.path]).chain(&event.extension).chain(&event.exe).chain(&event.container);
    assert!(texts.chain(&event.parent_exe).chain(&event.time).all(|text| matches!(text, Cow::Borrowed(_))));
}

#[test]
fn dots_lead_where_nesting_does() {
    let flat = r#"{"@timestamp":"2026-05-04T10:11:12.131415Z","event.action":["rename"],"event.category":"file","file.path":["/usr/lib/python3/dist-packages/x.pth"],"file":{"extension":"pth"},"process.executable":"/usr/bin/python3.12","process":{"args":["python3","-m","pip","install","x"],"parent.executable":"/usr/bin/bash"},"host.os":{"type":"linux"},"user.id":1000,"container.id":"4d4d","file.path.text":"/other","process.parent.executable.caseless":"x"}"#;
    assert_eq!(auto(flat), defend());
    assert_eq!(auto(&format!(r#"{{"_source":{flat}}}"#)), defend());
}

#[test]
fn the_extension_is_the_records_own() {
    let record = r#"{"event":{"action":"creation"},"file":{"path":"C:\\Python312\\Lib\\site-packages\\x.pth"}}"#;
    let event = auto(record);
    assert_eq!((event.extension, event.os), (None, Some(Os::Windows)));
    assert_eq!(event.path, r"C:\Python312\Lib\site-packages\x.pth");
}

#[test]
fn actions_are_operations_or_none() {
    let action = |action: &str| {
        let record = format!(
            r#"{{"event":{{"action":{action}}},"file":{{"path":"/a/x.pth"}},"host":{{"os":{{"type":"macos"}}}}}}"#
        );
        parse(Format::Auto, &record).unwrap().map(|event| (event.operation, event.os.unwrap()))
    };
    for (word, operation) in [
        (r#""creation""#, Operation::Create),
        (r#""overwrite""#, Operation::Modify),
        (r#""modification""#, Operation::Modify),
        (r#""deletion""#, Operation::Delete),
        (r#""link""#, Operation::Link),
        (r#""open""#, Operation::Read),
        (r#"["created"]"#, Operation::Create),
        (r#"["updated","attributes_modified"]"#, Operation::Modify),
        (r#"["attributes_modified","created","updated"]"#, Operation::Create),
        (r#"["moved"]"#, Operation::Rename),
        (r#"["deleted"]"#, Operation::Delete),
    ] {
        assert_eq!(action(word), Some((operation, Os::MacOs)), "{word}");
    }
    for word in [r#"["attributes_modified"]"#, r#""initial_scan""#, r#""exec""#, "7", "{}", r#"[7]"#] {
        assert_eq!(action(word), None, "{word}");
    }
}

#[test]
fn what_is_no_operation_on_a_file_is_passed_over() {
    for record in [
        r#"{"event":{"action":"creation","category":["registry"]},"file":{"path":"/a"}}"#,
        r#"{"event":{"action":"creation","outcome":"failure"},"file":{"path":"/a"}}"#,
        r#"{"event":{"action":"creation"},"file":{"name":"x.pth"}}"#,
        r#"{"event":{"action":"creation"},"file":{"path":""}}"#,
        r#"{"event":{"action":"start","category":["process"]},"process":{"executable":"/bin/sh"}}"#,
    ] {
        assert_eq!(parse(Format::Ecs, record), Ok(None), "{record}");
    }
}

#[test]
fn without_an_action_the_type_counts() {
    let record =
        r#"{"event":{"category":["file"],"type":["creation"]},"file":{"path":"/a"},"host":{"os":{"family":"darwin"}}}"#;
    assert_eq!((auto(record).operation, auto(record).os), (Operation::Create, Some(Os::MacOs)));
}

#[test]
fn escapes_are_undone() {
    let record = r#"{"event":{"action":"creation"},"file":{"path":"\/a\/\u00e9\ud83d\udc0d\t\"\\.pth"},"user":{"id":"S-1-5-18","effective":{"id":"0"}}}"#;
    assert_eq!((&*auto(record).path, auto(record).uid), ("/a/é🐍\t\"\\.pth", Some(0)));
}

const OWN: &str = r#"{"@timestamp":"2026-03-20T09:46:40.123456Z","event":{"kind":"alert","category":["file","intrusion_detection"],"type":["change","denied"],"action":"rename","outcome":"failure","reason":"rule","duration":123456},"rule":{"name":"no-shells"},"file":{"path":"/srv/a\\x20\\\\b/site-packages/e\\u{202e}vil.pth","name":"evil.pth","extension":"pth","inode":"7","size":34},"process":{"pid":4242,"executable":"/usr/bin/python3.12","args":["python3","-c","a\\x0ab"],"parent":{"pid":4000,"executable":"/usr/bin/da\\\\sh"}},"user":{"id":"0"},"container":{"id":"4d","runtime":"docker"},"host":{"os":{"type":"linux"}},"threat":{"technique":{"id":["T1546.018"]}},"pthguard":{"verdict":"deny","reason":"rule","mode":"enforce","access":"rename","script":"/opt/\\\\x","content":"code","line":"import os; os.system(\"x\")"}}"#;

#[test]
fn the_guards_own_records_come_back_as_they_were() {
    let expected = Event {
        os: Some(Os::Linux),
        extension: Some("pth".into()),
        exe: Some("/usr/bin/python3.12".into()),
        args: ["python3", "-c", "a\nb"].map(Into::into).to_vec(),
        script: Some(r"/opt/\x".into()),
        uid: Some(0),
        parent_exe: Some(r"/usr/bin/da\sh".into()),
        container: Some("4d".into()),
        content: Some(ContentClass::Code),
        line: Some("import os; os.system(\"x\")".into()),
        verdict: Some("deny".into()),
        time: Some("2026-03-20T09:46:40.123456Z".into()),
        ..Event::new(Operation::Rename, "/srv/a \\b/site-packages/e\u{202e}vil.pth".into())
    };
    assert_eq!(auto(OWN), expected, "a denied one too");
    assert_eq!(parse(Format::Own, OWN), Ok(Some(expected)));
}

#[test]
fn what_the_guard_did_itself_is_no_operation() {
    for action in ["quarantine", "baseline", "held", "listing", "start", "suppressed", "repeated", "failure", "created"]
    {
        assert_eq!(
            parse(Format::Auto, &OWN.replace(r#""action":"rename""#, &format!(r#""action":"{action}""#))),
            Ok(None)
        );
    }
    assert_eq!(auto(&OWN.replace(r#""action":"rename""#, r#""action":"special""#)).operation, Operation::Special);
    assert_eq!(parse(Format::Own, DEFEND), Ok(None), "somebody else's");
    let start = r#"{"event":{"action":"read"},"host":{"os":{"type":"linux"}},"pthguard":{"mode":"audit"}}"#;
    assert_eq!(parse(Format::Auto, start), Ok(None));
}

#[test]
fn a_name_that_is_not_utf8_or_was_cut_stays_escaped() {
    for path in [r"/a/\\xff\\\\.pth", r"/a/b\\{+17 bytes}"] {
        let record = OWN.replace(r"/srv/a\\x20\\\\b/site-packages/e\\u{202e}vil.pth", path);
        assert_eq!(auto(&record).path, path.replace(r"\\", r"\"));
    }
}
