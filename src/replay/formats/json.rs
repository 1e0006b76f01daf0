//! One pass over a JSON record that takes from it what any of the formats needs, and skips the rest unread.
//!
//! A field is found by its way from the outermost object, `file` and in it `path`. It does not matter where a recorder
//! nests and where it writes a dot (`"file.path"`), nor whether the record was exported with a wrapper.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::super::event::Malformed;

mod key;
mod value;

pub(super) use self::key::Key;
use self::key::{Place, Step, step};
pub(super) use self::value::Value;
use self::value::ValueSeed;

/// What was found in a record.
#[derive(Debug)]
pub(super) struct Record<'a> {
    values: [Value<'a>; Key::COUNT],
    /// Whether it has a section of the guard's own.
    pub(super) has_guard: bool,
    /// Whether it has Falco's section.
    pub(super) has_output_fields: bool,
    malformed: Option<Malformed>,
}

impl<'a> Record<'a> {
    pub(super) fn has(&self, key: Key) -> bool {
        self.values[key as usize] != Value::Absent
    }

    /// Whether it is one of these texts.
    pub(super) fn is(&self, key: Key, texts: &[&str]) -> bool {
        matches!(&self.values[key as usize], Value::Text(text) if texts.contains(&&**text))
    }

    /// The value, which is not there any more afterwards.
    pub(super) fn take(&mut self, key: Key) -> Value<'a> {
        std::mem::take(&mut self.values[key as usize])
    }

    /// A value that must be text if it is there. One text in an array is what some exports make of it.
    pub(super) fn text(&mut self, key: Key) -> Result<Option<Cow<'a, str>>, Malformed> {
        match self.take(key) {
            Value::Absent => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            Value::List(mut list) if list.len() < 2 => Ok(list.pop()),
            Value::List(_) => Err(Malformed::because(key.is_not_text())),
            Value::Number(_) | Value::Flag(_) | Value::Other => Err(Malformed::because(key.is_not_text())),
        }
    }

    /// All the texts of a value.
    pub(super) fn texts(&mut self, key: Key) -> Vec<Cow<'a, str>> {
        match self.take(key) {
            Value::Text(text) => vec![text],
            Value::List(list) => list,
            Value::Absent | Value::Number(_) | Value::Flag(_) | Value::Other => Vec::new(),
        }
    }

    /// A number, be it written as text.
    pub(super) fn number(&mut self, key: Key) -> Option<u64> {
        match self.take(key) {
            Value::Number(number) => Some(number),
            Value::Text(text) => text.parse().ok(),
            Value::List(list) => list.first()?.parse().ok(),
            Value::Absent | Value::Flag(_) | Value::Other => None,
        }
    }

    /// A user id. Windows has none that is a number.
    pub(super) fn uid(&mut self, key: Key) -> Option<u32> {
        let uid = u32::try_from(self.number(key)?).ok()?;
        (uid != u32::MAX).then_some(uid)
    }

    fn keep(&mut self, key: Key, value: Value<'a>) {
        let kept = &mut self.values[key as usize];
        if *kept == Value::Absent {
            *kept = value;
        } else if value != Value::Absent {
            // Readers differ in which of them counts.
            self.malformed.get_or_insert(Malformed::because(key.is_twice()));
        }
    }
}

/// Reads a record.
pub(super) fn read(text: &str) -> Result<Record<'_>, Malformed> {
    let values = [const { Value::Absent }; Key::COUNT];
    let mut record = Record { values, has_guard: false, has_output_fields: false, malformed: None };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Walk { place: Place::Root, record: &mut record }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| match error.classify() {
        Category::Eof => Malformed::because("JSON that ends too early"),
        Category::Syntax | Category::Data | Category::Io => Malformed::because("not JSON"),
    })?;
    match record.malformed {
        None => Ok(record),
        Some(malformed) => Err(malformed),
    }
}

/// The record with replacement characters for what JSON cannot hold: bytes that are not UTF-8, halves of surrogate pairs.
/// Either can be in a file's name, which must not keep the record from being read. `None` if there are none.
pub(super) fn mend(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut mended = String::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        let begin = at + found;
        at = begin + 2;
        let Some(unit) = unit_at(&text, begin) else {
            // Whatever is escaped, it is one character, and perhaps not one of a single byte.
            at = (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            continue;
        };
        at = begin + 6;
        match (unit, unit_at(&text, at)) {
            (0xd800..=0xdbff, Some(0xdc00..=0xdfff)) => at += 6,
            (0xd800..=0xdfff, _) => {
                mended.push_str(&text[kept..begin]);
                mended.push(char::REPLACEMENT_CHARACTER);
                kept = at;
            }
            _ => {}
        }
    }
    let is_in_order = kept == 0 && matches!(text, Cow::Borrowed(_));
    (!is_in_order).then(|| mended + &text[kept..])
}

/// The unit of UTF-16 that `\uNNNN` at this place stands for.
fn unit_at(text: &str, begin: usize) -> Option<u16> {
    let digits = text.get(begin..begin + 6)?.strip_prefix("\\u")?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

/// Reads an object at a place; anything else there is passed over.
struct Walk<'r, 'a> {
    place: Place,
    record: &'r mut Record<'a>,
}

impl<'a> DeserializeSeed<'a> for Walk<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Walk<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        self.record.has_guard |= self.place == Place::Guard;
        self.record.has_output_fields |= self.place == Place::Falco;
        while let Some(step) = map.next_key_seed(KeyAt(self.place))? {
            match step {
                Step::Into(place) => map.next_value_seed(Walk { place, record: &mut *self.record })?,
                Step::Take(key) => {
                    let value = map.next_value_seed(ValueSeed)?;
                    self.record.has_guard |= key.is_guard();
                    self.record.keep(key, value);
                }
                Step::Skip => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a name, and tells where it leads from a place.
struct KeyAt(Place);

impl<'a> DeserializeSeed<'a> for KeyAt {
    type Value = Step;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Step, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyAt {
    type Value = Step;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Step, E> {
        Ok(step(self.0, name))
    }
}
