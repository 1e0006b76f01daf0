#![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

use proptest::prelude::*;

use super::*;

type Found = (u64, Result<Vec<u8>, Malformed>);

/// A source that gives as many bytes at once as the list says, again and again.
struct Portions<'a> {
    bytes: &'a [u8],
    sizes: Vec<usize>,
    at: usize,
}

impl Read for Portions<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes.get(self.at % self.sizes.len()).copied().unwrap_or(1);
        self.at += 1;
        let length = size.max(1).min(buffer.len());
        self.bytes.read(&mut buffer[..length])
    }
}

fn all(source: impl Read) -> Vec<Found> {
    let mut input = Input::new(source);
    let mut found = Vec::new();
    while let Some(chunk) = input.next_chunk().unwrap() {
        found.push((chunk.line, chunk.bytes.map(<[u8]>::to_vec)));
    }
    found
}

fn texts(bytes: &[u8]) -> Vec<(u64, String)> {
    all(bytes).into_iter().map(|(line, bytes)| (line, String::from_utf8(bytes.unwrap()).unwrap())).collect()
}

fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn lines_are_numbered_and_blank_ones_are_passed_over() {
    let expected = vec![(1, r#"{"a":1}"#.to_owned()), (3, "type=EOE x".to_owned()), (5, "last".to_owned())];
    assert_eq!(texts(b"{\"a\":1}\r\n\n type=EOE x\n  \nlast"), expected);
    assert_eq!(texts(b""), []);
    assert_eq!(texts(b"\n\r\n  "), []);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_record() {
    assert_eq!(texts(b"\xef\xbb\xbf{\"a\":1}\n{}"), [(1, r#"{"a":1}"#.to_owned()), (2, "{}".to_owned())]);
    assert_eq!(texts(b"\xef\xbb\xbf"), []);
    assert_eq!(all(&b"\xef\xbb"[..]), [(1, Ok(b"\xef\xbb".to_vec()))], "half a mark");
}

#[test]
fn objects_over_many_lines_are_a_chunk_each() {
    let array = "[\r\n    {\r\n        \"a\":  \"}{\\\"[\",\r\n        \"b\":  [\r\n                  {\r\n                  }\r\n              ]\r\n    },\r\n    {\r\n        \"a\":  2\r\n    }\r\n]\r\n";
    let found = texts(array.as_bytes());
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 9]);
    assert!(found.iter().all(|(_, text)| serde_json::from_str::<serde_json::Value>(text).is_ok()), "{found:?}");
    assert_eq!(texts(&utf16(array)), found);

    assert_eq!(texts(b"{\n\"a\": 1\n}\n{\n\"a\": 2\n}{}").len(), 3, "one after the other");
    assert_eq!(texts(br#"[{"a":[1]},{"b":{}} , {"c":"]"}]"#).len(), 3, "an array in one line");
    assert_eq!(texts(b"[]"), []);
    assert_eq!(texts(b"[\n  {\n    \"a\": [\n      {}\n    ]\n  }\n]").len(), 1);
    assert_eq!(texts(b"[\n{\n\"a\": [\n{\n\"b\": 1\n},\n{\n}\n]\n},\n{\n}\n]").len(), 2, "not indented");
}

#[test]
fn a_broken_object_costs_only_itself() {
    let sound = "    {\n        \"a\": 1,\n        \"b\": [\n            {\n                \"c\": 2\n            }\n        ]\n    }";
    let is_sound = |text: &String| serde_json::from_str::<serde_json::Value>(text).is_ok();
    for broken in [
        "    {\n        \"a\": \"no end,\n        \"b\": 1\n    }",
        "    {\n        \"a\": \"no end",
        "    {\n        \"a\": {\n            \"b\": 1\n    }",
        "    {\n        \"a\": [\n            1\n    }",
        "    {\n        \"a\": 1}\n        \"b\": 1\n    }",
        "    {\n        \"a\": [}\n    }",
        "    {\n        \"a\":",
        "    no object\n        at all",
        "    {\n        \"a\": ]\n    }",
    ] {
        let file = format!("[\n{sound},\n{broken},\n{sound},\n{sound}\n]\n");
        let found = texts(file.as_bytes());
        let left = found.iter().filter(|(_, text)| text.contains("\"c\": 2") && is_sound(text)).count();
        assert_eq!(left, 3, "{broken}\n{found:#?}");
        assert!(found.len() > 3 && found.len() < 7, "{found:#?}");
    }
    for broken in [r#"{"a":{"b":1"#, r#"{"a":[1}"#, r#"{"a":1,"#] {
        let found = texts(format!(r#"[{{"c":1}},{broken},{{"c":2}},{{"c":3}}]"#).as_bytes());
        let left = found.iter().filter(|(_, text)| text.starts_with("{\"c\"") && is_sound(text)).count();
        assert_eq!(left, 3, "{broken}\n{found:#?}");
    }
}

#[test]
fn what_is_too_long_is_passed_over_and_not_held() {
    let long = "x".repeat(10 * MAX_CHUNK);
    let lines = format!("{{\"a\":1}}\n{{\"a\":\"{long}\"}}\n{{\"a\":2}}\n{long}");
    let mut input = Input::new(lines.as_bytes());
    let mut found = Vec::new();
    while let Some(chunk) = input.next_chunk().unwrap() {
        found.push((chunk.line, chunk.bytes.map(<[u8]>::len)));
    }
    assert_eq!(found, [(1, Ok(7)), (2, Err(TOO_LONG)), (3, Ok(7)), (4, Err(TOO_LONG))]);
    assert!(input.line.capacity() <= 4 * MAX_CHUNK, "{}", input.line.capacity());
    assert_eq!(input.bytes_read(), u64::try_from(lines.len()).unwrap());

    for (open, between, close) in [("[\n", "\n  ", "\n]"), ("[", "", "]")] {
        let objects = format!("{open}{between}{{\"a\":1}},{between}{{\"a\":\"{long}\"}},{between}{{\"a\":2}}{close}");
        let mut input = Input::new(objects.as_bytes());
        let mut found = Vec::new();
        while let Some(chunk) = input.next_chunk().unwrap() {
            found.push(chunk.bytes.map(<[u8]>::len));
        }
        assert_eq!(found, [Ok(7), Err(TOO_LONG), Ok(7)]);
        assert!(input.objects.capacity() <= 2 * MAX_CHUNK);
    }
}

#[test]
fn the_longest_line_is_whole() {
    for (length, is_whole) in [(MAX_CHUNK - 1, true), (MAX_CHUNK, true), (MAX_CHUNK + 1, false)] {
        for end in ["", "\n", "\nx"] {
            let found = all(format!("{}{end}", "x".repeat(length)).as_bytes());
            assert_eq!(found[0].1.is_ok(), is_whole, "{length} {end:?}");
        }
    }
}

#[test]
fn deep_nesting_ends() {
    let deep = format!("[\n{}", "{\"a\":".repeat(100_000));
    assert!(!all(deep.as_bytes()).is_empty());
    let deep = format!("[{{\"a\":{}1{}}}, {{\"b\":1}}]", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(all(deep.as_bytes()).last().unwrap().1.as_deref(), Ok(&b"{\"b\":1}"[..]));
}

#[test]
fn half_characters_of_utf16_are_replaced() {
    let units = [0xfeff, u16::from(b'a'), 0xd83d, u16::from(b'b'), 0xdc0d, 0xd83d, 0xdc0d, 0xd83d];
    let mut bytes: Vec<u8> = units.into_iter().flat_map(u16::to_le_bytes).collect();
    assert_eq!(texts(&bytes), [(1, "a\u{fffd}b\u{fffd}🐍\u{fffd}".to_owned())]);
    bytes.push(0);
    assert!(texts(&bytes)[0].1.ends_with('\u{fffd}'));
}

/// Bytes that come near what the form of a file hangs on.
fn near() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            "{", "}", "[", "]", ",", "\"", "\\", "\n", "\r\n", "    ", "{\n", "[\n", "},\n  {", "\"a\":1", "\u{feff}",
            "type=", "é",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        Just(vec![0xff, 0xfe]),
        Just(vec![0]),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn where_reads_end_makes_no_difference(bytes in near(), sizes in prop::collection::vec(1_usize..9, 1..6)) {
        let whole = all(&bytes[..]);
        prop_assert_eq!(&all(Portions { bytes: &bytes, sizes, at: 0 }), &whole);
        prop_assert_eq!(&all(Portions { bytes: &bytes, sizes: vec![1], at: 0 }), &whole);
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(all(&bytes[..]).len() <= bytes.len());
    }

    #[test]
    fn chunks_are_within_the_limit(bytes in near(), limit in 1_usize..20) {
        let mut objects = Objects::new(limit);
        objects.begin();
        let mut at = 0;
        while at < bytes.len() {
            let step = objects.step(bytes[at]);
            prop_assert!(objects.capacity() <= 2 * limit.max(8));
            at += usize::from(step != Step::EndsBefore);
            if step != Step::More {
                objects.begin();
            }
        }
    }

    #[test]
    fn utf16_is_what_it_was_made_from(text in any::<String>()) {
        let mut decoded = String::new();
        let bytes = utf16(&text);
        Decoder::new(Portions { bytes: &bytes, sizes: vec![1, 3], at: 0 }).read_to_string(&mut decoded).unwrap();
        prop_assert_eq!(decoded, text);
    }

    #[test]
    fn objects_come_out_as_they_went_in(count in 0_usize..6, indent in 0_usize..6, newline in prop::sample::select(vec!["\n", "\r\n"])) {
        let object = serde_json::json!({ "a": "}{\\\"", "b": [{ "c": [[], {}] }, { "d": "é🐍" }], "e": {} });
        let objects = vec![object.clone(); count];
        let mut text = Vec::new();
        let indent = " ".repeat(indent);
        let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        serde::Serialize::serialize(&objects, &mut serde_json::Serializer::with_formatter(&mut text, formatter)).unwrap();
        let text = String::from_utf8(text).unwrap().replace('\n', newline);
        for bytes in [text.as_bytes().to_vec(), utf16(&text), format!("\u{feff}{text}").into_bytes()] {
            let found = all(&bytes[..]);
            prop_assert_eq!(found.len(), count);
            for (_, bytes) in found {
                prop_assert_eq!(&serde_json::from_slice::<serde_json::Value>(&bytes.unwrap()).unwrap(), &object);
            }
        }
    }
}
