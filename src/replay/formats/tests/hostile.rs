use proptest::prelude::*;

use super::*;

const RECORD: &str = r#"{"@timestamp":"t","event":{"action":"creation"},"file":{"path":"/a/x.pth","extension":"pth"},"process":{"args":["a","b"]}}"#;

fn result(bytes: &[u8]) -> Result<Option<Event<'static>>, Malformed> {
    let mut parser = Parser::new(Format::Auto);
    let parsed = parser.next(Chunk { line: 1, bytes: Ok(bytes) });
    parsed.map_or(Ok(None), |parsed| parsed.result.map(|event| event.map(owned)))
}

#[test]
fn a_record_that_was_cut_is_malformed() {
    for length in 1..RECORD.len() {
        let reason = result(&RECORD.as_bytes()[..length]).unwrap_err().reason;
        assert_eq!(reason, "JSON that ends too early", "{length}");
    }
    assert_eq!(reason(Format::Auto, &format!("{RECORD}{RECORD}")), "not JSON");
    assert_eq!(reason(Format::Auto, &format!("{RECORD}\0")), "not JSON");
}

#[test]
fn bytes_that_are_not_utf8_keep_nothing_from_being_read() {
    let mut record = RECORD.replace("/a/x.pth", "/a/X.pth").into_bytes();
    let at = record.iter().position(|byte| *byte == b'X').unwrap();
    record[at] = 0xff;
    assert_eq!(result(&record).unwrap().unwrap().path, "/a/\u{fffd}.pth");
}

#[test]
fn halves_of_surrogate_pairs_keep_nothing_from_being_read() {
    for (escaped, expected) in [
        (r"\ud83d\udc0d", "🐍"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\udc0d\ud83d", "\u{fffd}\u{fffd}"),
        (r"\ud83d\ud83d\udc0d", "\u{fffd}🐍"),
        (r"\\ud83d\udc0dé", "\\ud83d\u{fffd}é"),
        (r"\ud83d\n", "\u{fffd}\n"),
    ] {
        let record = RECORD.replace("x.pth", escaped);
        assert_eq!(auto(&record).path, format!("/a/{expected}"), "{escaped}");
    }
}

#[test]
fn values_of_the_wrong_type_are_said_to_be() {
    for value in ["7", "true", "{}", "[1,2]", "1.5", "-1"] {
        let record = RECORD.replace(r#""/a/x.pth""#, value);
        assert_eq!(reason(Format::Auto, &record), "file.path is not text", "{value}");
    }
    assert_eq!(parse(Format::Auto, &RECORD.replace(r#""/a/x.pth""#, "null")), Ok(None));
    assert_eq!(auto(&RECORD.replace(r#"["a","b"]"#, "7")).args, [""; 0]);
    assert_eq!(
        auto(&RECORD.replace(r#"["a","b"]"#, r#"["a",7,null,{"x":[]},[[]],-1,true]"#)).args,
        ["a", "7", "", "", "", "-1", "true"]
    );
    for value in ["7", "true", "null", "[]", "[[{}]]", r#""x""#, "1e999", "-0.5"] {
        let _ = parse(
            Format::Auto,
            &format!(
                r#"{{"event":{value},"file":{value},"winlog":{value},"output_fields":{value},"_source":{value},"pthguard":{value},"Properties":{value}}}"#
            ),
        );
    }
}

#[test]
fn a_field_that_is_there_twice_is_not_believed() {
    let record = RECORD.replace(r#""extension""#, r#""path":"/a/y.txt","extension""#);
    assert_eq!(reason(Format::Auto, &record), "file.path is there twice");
    let record = RECORD.replace(r#""process""#, r#""file.path":"/a/y.txt","process""#);
    assert_eq!(reason(Format::Auto, &record), "file.path is there twice");
}

#[test]
fn nesting_ends_somewhere() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(auto(&RECORD.replace(r#"["a","b"]"#, &deep)).args, [""]);
    assert_eq!(auto(&RECORD.replace(r#""@timestamp":"t""#, &format!(r#""x":{deep}"#))).path, "/a/x.pth");
    let objects = r#"{"a":"#.repeat(100_000) + "1" + &"}".repeat(100_000);
    assert_eq!(auto(&RECORD.replace(r#""@timestamp":"t""#, &format!(r#""x":{objects}"#))).path, "/a/x.pth");
    let wrapped = r#"{"_source":"#.repeat(100_000) + RECORD + &"}".repeat(100_000);
    assert_eq!(reason(Format::Auto, &wrapped), "not JSON");
    let dotted = format!(r#"{{"{}file.path":"/a","event":{{"action":"creation"}}}}"#, "_source.".repeat(100_000));
    assert_eq!(auto(&dotted).path, "/a");
}

#[test]
fn nul_is_a_character_like_any_other() {
    let event = auto(&RECORD.replace("x.pth", r"x.pth\u0000.txt"));
    assert_eq!(event.path, "/a/x.pth\0.txt");
}

/// Pieces of records of all formats.
fn near() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\\",
            "\\ud83d",
            "\\u",
            "\"file\":",
            "\"path\":",
            "\"file.path\":\"/a\"",
            "\"_source\":{",
            "\"event\":{\"action\":\"creation\"}",
            "\"output_fields\":{",
            "\"evt.type\":\"openat\"",
            "\"pthguard\":{",
            "\"Id\":11",
            "\"ProviderName\":\"Microsoft-Windows-Sysmon\"",
            "\"Message\":\"Image: x\"",
            "\"Properties\":[",
            "null",
            "7",
            "-1",
            "1e9",
            "type=PATH msg=audit(1.0:1): ",
            "type=SYSCALL msg=audit(1.0:1): arch=c000003e syscall=257 a2=1",
            " name=",
            "\"x\"",
            "2F61",
            " nametype=CREATE",
            " cwd=\"/\"",
            "type=EOE msg=audit(1.0:1): ",
            "node=a ",
            "\u{1d}",
            "\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_something(bytes in near(), is_json in any::<bool>()) {
        let bytes = if is_json { [&b"{"[..], &bytes].concat() } else { bytes };
        for format in Format::ALL {
            let mut parser = Parser::new(format);
            for line in bytes.split(|byte| *byte == b'\n') {
                let _ = parser.next(Chunk { line: 1, bytes: Ok(line) });
            }
            while parser.finish().is_some() {}
        }
    }

    #[test]
    fn a_record_with_any_byte_changed_is_something(at in 0_usize..RECORD.len(), byte in any::<u8>()) {
        let mut record = RECORD.as_bytes().to_vec();
        record[at] = byte;
        let _ = result(&record);
    }

    #[test]
    fn any_name_is_read_as_it_is(name in any::<String>()) {
        let record = serde_json::json!({ "event": { "action": "rename" }, "file": { "path": format!("/{name}") } });
        prop_assert_eq!(auto(&record.to_string()).path, format!("/{name}"));
    }

    #[test]
    fn mending_leaves_alone_what_is_in_order(text in any::<String>()) {
        prop_assert_eq!(super::super::json::mend(serde_json::json!({ "a": text }).to_string().as_bytes()), None);
    }
}
