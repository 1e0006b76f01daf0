#![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

mod ecs;
mod falco;
mod hostile;
mod sysmon;

use super::*;
use crate::model::Os;
use crate::replay::event::Operation;

/// What one record says.
fn parse(format: Format, record: &str) -> Result<Option<Event<'static>>, Malformed> {
    let mut parser = Parser::new(format);
    let parsed = parser.next(Chunk { line: 1, bytes: Ok(record.as_bytes()) }).unwrap();
    assert_eq!(parsed.line, 1);
    parsed.result.map(|event| event.map(owned))
}

fn auto(record: &str) -> Event<'static> {
    parse(Format::Auto, record).unwrap().unwrap()
}

fn reason(format: Format, record: &str) -> &'static str {
    parse(format, record).unwrap_err().reason
}

fn owned(event: Event<'_>) -> Event<'static> {
    let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
    Event {
        os: event.os,
        operation: event.operation,
        path: own(event.path),
        extension: event.extension.map(own),
        exe: event.exe.map(own),
        args: event.args.into_iter().map(own).collect(),
        script: event.script.map(own),
        uid: event.uid,
        parent_exe: event.parent_exe.map(own),
        container: event.container.map(own),
        content: event.content,
        line: event.line.map(own),
        verdict: event.verdict.map(own),
        time: event.time.map(own),
    }
}

#[test]
fn formats_have_a_word_each() {
    assert!(Format::ALL.into_iter().all(|format| Format::named(format.as_str()) == Some(format)));
    assert_eq!(Format::named("elastic"), None);
}

#[test]
fn what_is_nothing_that_is_known_is_said_to_be() {
    for record in ["plain text", "[1]", "\"text\"", "12", "<xml/>", "\u{0}"] {
        assert_eq!(reason(Format::Auto, record), "of no known format", "{record}");
    }
    for record in ["{}", r#"{"a":1}"#, r#"{"event":"login","user":"root","host":7,"file":null,"process":[1]}"#] {
        assert_eq!(parse(Format::Auto, record), Ok(None), "{record}");
    }
}

#[test]
fn a_format_that_was_asked_for_is_the_only_one_that_is_read() {
    let falco = r#"{"output_fields":{"evt.type":"unlink","fs.path.name":"/a/x.pth"}}"#;
    assert_eq!(auto(falco).operation, Operation::Delete);
    assert_eq!(parse(Format::Ecs, falco), Ok(None));
    assert_eq!(reason(Format::Auditd, falco), "not a line of the audit log");
    assert_eq!(reason(Format::Falco, "type=EOE msg=audit(1.0:1): "), "of no known format");
}

#[test]
fn what_the_input_passed_over_is_malformed() {
    let malformed = Malformed::because("too much");
    let mut parser = Parser::new(Format::Auto);
    assert_eq!(parser.next(Chunk { line: 7, bytes: Err(malformed) }), Some(Parsed { line: 7, result: Err(malformed) }));
}
