use super::*;

const WINLOGBEAT: &str = r#"{"@timestamp":"2026-05-04T10:11:12.131Z","event":{"action":"File created (rule: FileCreate)","code":"11","created":"2026-05-04T10:11:13Z","kind":"event","provider":"Microsoft-Windows-Sysmon"},"host":{"name":"pc1"},"log":{"level":"information"},"message":"File created:\nRuleName: -\nImage: C:\\other.exe","winlog":{"channel":"Microsoft-Windows-Sysmon/Operational","computer_name":"pc1","event_data":{"CreationUtcTime":"2026-05-04 10:11:12.131","Image":"C:\\Python312\\python.exe","ProcessGuid":"{7a2c}","ProcessId":"4242","RuleName":"-","TargetFilename":"C:\\Python312\\Lib\\site-packages\\x.pth","User":"PC1\\u","UtcTime":"2026-05-04 10:11:12.131"},"event_id":11,"opcode":"Info","process":{"pid":3000},"provider_guid":"{5770}","provider_name":"Microsoft-Windows-Sysmon","record_id":7,"user":{"identifier":"S-1-5-18"},"version":2}}"#;

fn expected() -> Event<'static> {
    Event {
        os: Some(Os::Windows),
        extension: Some("pth".into()),
        exe: Some(r"C:\Python312\python.exe".into()),
        time: Some("2026-05-04 10:11:12.131".into()),
        ..Event::new(Operation::Create, r"C:\Python312\Lib\site-packages\x.pth".into())
    }
}

#[test]
fn winlogbeat_names_the_fields() {
    assert_eq!(auto(WINLOGBEAT), expected());
    let flat = r#"{"_source":{"event.code":"11","winlog.provider_name":"Microsoft-Windows-Sysmon","winlog.event_data.TargetFilename":"C:\\Python312\\Lib\\site-packages\\x.pth","winlog":{"event_data.Image":"C:\\Python312\\python.exe","event_data":{"UtcTime":"2026-05-04 10:11:12.131"}}}}"#;
    assert_eq!(auto(flat), expected());
}

const MESSAGE: &str = r"File created:\r\nRuleName: -\r\nUtcTime: 2026-05-04 10:11:12.131\r\nProcessGuid: {7a2c}\r\nProcessId: 4242\r\nImage: C:\\Python312\\python.exe\r\nTargetFilename: C:\\Python312\\Lib\\site-packages\\x.pth\r\nCreationUtcTime: 2026-05-04 10:11:12.131\r\nUser: PC1\\u";

fn powershell(properties: &str, message: &str) -> String {
    format!(
        "{{\r\n    \"Message\":  \"{message}\",\r\n    \"Id\":  11,\r\n    \"Version\":  2,\r\n    \"ProviderName\":  \"Microsoft-Windows-Sysmon\",\r\n    \"UserId\":  {{\r\n                   \"BinaryLength\":  12\r\n               }},\r\n    \"TimeCreated\":  \"\\/Date(1777889472131)\\/\",\r\n    \"Properties\":  [\r\n{properties}\r\n                   ]\r\n}}"
    )
}

fn values(values: &[&str]) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("{{\r\n \"Value\":  {value}\r\n }}")).collect();
    values.join(",\r\n")
}

#[test]
fn powershell_prints_the_fields_in_their_order() {
    let all = [
        r#""-""#,
        r#""2026-05-04 10:11:12.131""#,
        r#""7a2c""#,
        "4242",
        r#""C:\\Python312\\python.exe""#,
        r#""C:\\Python312\\Lib\\site-packages\\x.pth""#,
        r#""2026-05-04 10:11:12.131""#,
        r#""PC1\\u""#,
    ];
    for fields in [&all[..], &all[..7], &all[1..7]] {
        assert_eq!(auto(&powershell(&values(fields), "File created: RuleName")), expected());
    }
    let deleted = [
        r#""-""#,
        r#""2026-05-04 10:11:12.131""#,
        r#""7a2c""#,
        "4242",
        r#""PC1\\u""#,
        r#""C:\\Python312\\python.exe""#,
        r#""C:\\Python312\\Lib\\site-packages\\x.pth""#,
        r#""SHA256=AB""#,
        "true",
    ];
    let event = auto(&powershell(&values(&deleted), "").replace("  11,", "  26,"));
    assert_eq!(event, Event { operation: Operation::Delete, ..expected() });
}

#[test]
fn powershell_prints_types_below_its_depth_and_the_message_all_the_same() {
    let types = [r#""System.Diagnostics.Eventing.Reader.EventProperty""#; 8].join(",\r\n");
    assert_eq!(auto(&powershell(&types, MESSAGE)), expected());
    assert_eq!(auto(&powershell("", MESSAGE)), expected());
}

#[test]
fn a_message_that_has_a_field_twice_is_not_believed() {
    let message = format!(r"{MESSAGE}\r\nImage: C:\\other.exe");
    assert_eq!(reason(Format::Auto, &powershell("", &message)), "Image is there twice");
    assert_eq!(reason(Format::Auto, &powershell("", "File created:")), "a Sysmon event without TargetFilename");
}

#[test]
fn whole_exports_are_read_through_the_input() {
    let text = format!("[\r\n{},\r\n{}\r\n]\r\n", powershell("", MESSAGE), powershell("", MESSAGE));
    let bytes: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let mut input = crate::replay::Input::new(&bytes[..]);
    let mut parser = Parser::new(Format::Auto);
    let mut lines = Vec::new();
    while let Some(chunk) = input.next_chunk().unwrap() {
        let parsed = parser.next(chunk).unwrap();
        assert_eq!(parsed.result, Ok(Some(expected())));
        lines.push(parsed.line);
    }
    assert_eq!((lines.len(), lines[0]), (2, 2));
}

#[test]
fn sysmon_for_linux_has_the_same_events() {
    let record = WINLOGBEAT
        .replace("Microsoft-Windows-Sysmon", "Linux-Sysmon")
        .replace(r"C:\\Python312\\Lib\\site-packages\\x.pth", "/usr/lib/python3/dist-packages/x.pth")
        .replace(r"C:\\Python312\\python.exe", "/usr/bin/python3.12")
        .replace(r"PC1\\u", "root");
    let event = auto(&record);
    assert_eq!((event.os, event.uid, &*event.path), (Some(Os::Linux), Some(0), "/usr/lib/python3/dist-packages/x.pth"));
}

#[test]
fn exported_event_logs_have_the_same_names() {
    let nested = r##"{"Event":{"#attributes":{"xmlns":"x"},"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Sysmon","Guid":"5770"}},"EventID":11},"EventData":{"RuleName":"-","UtcTime":"2026-05-04 10:11:12.131","Image":"C:\\Python312\\python.exe","TargetFilename":"C:\\Python312\\Lib\\site-packages\\x.pth"}}}"##;
    assert_eq!(auto(nested), expected());
    let flat = r#"{"SourceName":"Microsoft-Windows-Sysmon","EventID":11,"UtcTime":"2026-05-04 10:11:12.131","Image":"C:\\Python312\\python.exe","TargetFilename":"C:\\Python312\\Lib\\site-packages\\x.pth"}"#;
    assert_eq!(auto(flat), expected());
}

#[test]
fn other_events_are_passed_over() {
    for id in ["1", "2", "15", "255"] {
        assert_eq!(
            parse(Format::Auto, &WINLOGBEAT.replace(r#""event_id":11"#, &format!(r#""event_id":{id}"#))),
            Ok(None)
        );
    }
    let unknown = WINLOGBEAT.replace(r"C:\\Python312\\python.exe", "<unknown process>");
    assert_eq!(auto(&unknown).exe, None);
}
