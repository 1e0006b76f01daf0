//! Generated events: everything that a rule looks at is what it asks for in one event and just beside it in the next. All
//! follow from one number, which is printed.
//!
//! What `pthguard replay` takes otherwise than the engines on purpose is left out; `parity` has a list of it.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::engines::{Opinion, PUBLISHED, ask_about};
use crate::seed::Dice;

/// What is generated if nothing else is asked for: the same events each time.
const SEED: u64 = 20_260_407;
const EVENTS: usize = 5_000;

/// What the published rules say, as `engines.py` reads it.
#[derive(Deserialize)]
struct Published {
    elastic: Elastic,
    sigma: Sigma,
}

#[derive(Deserialize)]
struct Elastic {
    places: Vec<String>,
    programs: Vec<String>,
    programs_2025_12: Vec<String>,
    program_patterns: Vec<String>,
    expected_names: Vec<String>,
    expected_files: Vec<String>,
}

#[derive(Deserialize)]
struct Sigma {
    windows: Windows,
}

#[derive(Deserialize)]
struct Windows {
    expected_program: String,
    expected_files: Vec<String>,
}

/// What may stand for a star in the middle of a path.
const STARS: [&str; 16] = [
    "",
    "3",
    "3",
    "3.6",
    "3.11",
    "3.11",
    "3.12",
    "2.7",
    "3.4",
    "3.100",
    "3.11/a/b",
    "3.11/site-packages/c",
    "/",
    "3.11\n",
    "\u{e9}\u{4e2d}\u{1f40d}",
    "*",
];
/// What may stand for a star that a name follows.
const DEEPER: [&str; 10] = ["", "", "", "", "", "a/", "a/b/c/", "/", "__pycache__/", "a\nb/"];
/// Code points that text tools stumble over. Not U+017F, U+212A, U+0130 and U+0131, about whose case engines disagree, and no
/// null, which no name holds.
const ODD: [&str; 12] = [
    "\n",
    "\r\n",
    "\t",
    " ",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "\u{feff}",
    "e\u{301}",
    "\u{df}",
    "\u{c4}",
    "\u{1f40d}",
];
const FILES: [&str; 19] = [
    "evil.pth",
    "evil.pth",
    "system.pth",
    "litellm_init.pth",
    "easy-install.pth",
    ".pth",
    ".hidden.pth",
    "a.b.pth",
    "evil.pth.pth",
    "\u{e9}vil.pth",
    "evil\n.pth",
    "EVIL.PTH",
    "evil.Pth",
    "evil.pth.txt",
    "evil.pth~",
    "evilpth",
    "evil.pth\n",
    "evil.start",
    "sitecustomize.py",
];
const PROGRAMS: [&str; 13] = [
    "/bin/sh",
    "/usr/bin/bash",
    "/usr/bin/dash",
    "/usr/bin/cp",
    "/usr/bin/curl",
    "/usr/bin/rsync",
    "/usr/local/bin/uv",
    "/root/.local/bin/uv",
    "/srv/venv/bin/python3.11",
    "/opt/conda/bin/conda",
    "/usr/libexec/platform-python3.6",
    "/tmp/a b/evil",
    "/memfd:x (deleted)",
];
const OTHER_PLACES: [&str; 10] = [
    "/srv/app/venv/lib/python3.11/site-packages/",
    "/home/u/.venv/lib/python3.9/site-packages/",
    "/usr/lib/python3/",
    "/usr/lib64/python3.11/site-packages/",
    "/usr/lib/site-packages/",
    "/home/u/lib/python3.11/site-packages/",
    "/opt/lib/python3.11/site-packages/",
    "/tmp/usr/lib/python3/dist-packages/",
    "/etc/",
    "",
];
const WINDOWS_PLACES: [&str; 14] = [
    r"C:\src\venv\Lib\site-packages\",
    r"C:\Python311\Lib\site-packages\",
    r"C:\Program Files\Python 3.12\lib\site-packages\",
    r"D:\python\lib\site-packages\",
    r"C:\Python\a\b\Lib\site-packages\",
    r"C:\PythonSoftwareFoundation.Python.3.11\lib\site-packages\deeper\",
    r"\\server\share\venv\lib\site-packages\",
    r"C:\src\.venv\Lib\site-packages\",
    r"C:\src\venv2\Lib\site-packages\",
    r"C:\mypython\Lib\site-packages\",
    r"C:\Users\u\AppData\Roaming\Python\Python311\site-packages\",
    r"C:\Miniconda3\Lib\site-packages\",
    "C:/src/venv/Lib/site-packages/",
    "C:\\python\n3\\lib\\site-packages\\",
];
const WINDOWS_PROGRAMS: [&str; 8] = [
    r"C:\Python311\python.exe",
    r"C:\src\venv\Scripts\Python.EXE",
    r"C:\Python311\pythonw.exe",
    r"C:\Python311\xpython.exe",
    r"C:\Windows\System32\cmd.exe",
    r"C:\Python311\python.exe.bak",
    "python.exe",
    r"C:\uv\uv.exe",
];
const OTHER_SYSTEMS: [&str; 4] = ["darwin", "unix", "", "linux "];
const OTHER_ACTIONS: [&str; 7] = ["modification", "deletion", "change", "overwrite", "link", "open", ""];

/// Makes events out of a row of random numbers.
struct Events {
    dice: Dice,
    published: Published,
}

impl Events {
    fn new(seed: u64) -> Events {
        let facts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/detection/published.json");
        let published = serde_json::from_str(&fs::read_to_string(facts).unwrap()).unwrap();
        Events { dice: Dice::new(seed, 0), published }
    }

    /// As many as `PTHGUARD_DETECTION_EVENTS` says, from the number `PTHGUARD_DETECTION_SEED`.
    fn from_environment() -> Vec<Value> {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|error| panic!("{name} is a number: {error}")))
        };
        let seed = number("PTHGUARD_DETECTION_SEED").unwrap_or(SEED);
        let count = number("PTHGUARD_DETECTION_EVENTS").map_or(EVENTS, |count| count as usize);
        println!("PTHGUARD_DETECTION_SEED={seed} PTHGUARD_DETECTION_EVENTS={count}");
        Events::new(seed).take(count)
    }

    fn take(mut self, count: usize) -> Vec<Value> {
        (0..count).map(|number| self.event(number)).collect()
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.dice.below(100) < percent
    }

    fn index(&mut self, length: usize) -> usize {
        self.dice.below(length as u64) as usize
    }

    fn one<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.index(choices.len())]
    }

    fn event(&mut self, number: usize) -> Value {
        match self.dice.below(100) {
            0..55 => self.mixed(number),
            55..73 => self.of_a_program(number),
            73..88 => self.in_a_place(number),
            _ => self.of_a_windows_program(number),
        }
    }

    /// Everything may be as the rules want it, or beside that.
    fn mixed(&mut self, number: usize) -> Value {
        let system = match self.dice.below(100) {
            0..50 => "linux",
            50..66 => "windows",
            66..95 => "macos",
            _ => self.one(&OTHER_SYSTEMS),
        };
        // Now and then a path of the other kind. A system without a name would be told by it.
        let is_strange = ["linux", "windows", "macos"].contains(&system) && self.percent(5);
        let is_windows = (system == "windows") != is_strange;
        let path = if is_windows { self.windows_path() } else { self.unix_path() };
        let program = if is_windows { self.windows_program() } else { self.unix_program() };
        let action = match self.dice.below(100) {
            0..80 => "creation",
            80..90 => "rename",
            _ => self.one(&OTHER_ACTIONS),
        };
        let mut event = written(number, system, action);
        if !is_windows && self.percent(2) {
            event["host"]["os"] = json!({});
        }
        if self.percent(2) {
            event["event"] = json!({"kind": "event", "category": ["file"]});
        }
        event["file"] = self.file(&path);
        event["process"] = self.process(number, &program);
        event
    }

    /// All depends on the program: one that is excluded, or looks like it.
    fn of_a_program(&mut self, number: usize) -> Value {
        let place = self.place();
        let program = self.excluded_program();
        let program = self.beside(&program);
        plain(number, "linux", &format!("{place}{}", self.one(&FILES[..10])), &program)
    }

    /// All depends on the place.
    fn in_a_place(&mut self, number: usize) -> Value {
        let place = self.place();
        let place = self.beside(place.trim_end_matches('/'));
        plain(number, "linux", &format!("{place}/{}", self.one(&FILES[..10])), "/bin/sh")
    }

    /// All depends on the program and the name.
    fn of_a_windows_program(&mut self, number: usize) -> Value {
        let place = self.one(&WINDOWS_PLACES[..7]).trim_end_matches('\\');
        let file = self.index(self.published.sigma.windows.expected_files.len());
        let file = self.published.sigma.windows.expected_files[file].clone();
        let file = if self.percent(50) { file } else { format!("\\{}", self.beside(&file[1..])) };
        let program = format!(r"C:\Python311{}", self.published.sigma.windows.expected_program);
        let program = if self.percent(50) { program } else { self.beside(&program) };
        plain(number, "windows", &format!("{place}{file}"), &program)
    }

    /// A directory that Elastic's rule looks at.
    fn place(&mut self) -> String {
        let place = self.index(self.published.elastic.places.len());
        let place = self.published.elastic.places[place].clone();
        self.filled(place.strip_suffix('*').expect("a pattern for what is in a directory"))
    }

    /// A text, or one that is nearly it.
    fn beside(&mut self, text: &str) -> String {
        match self.dice.below(6) {
            0 | 1 => text.to_owned(),
            2 => format!("{}{text}", self.one(&["/srv", "x", "/", ".", "C:"])),
            3 => format!("{text}{}", self.one(&["x", "/x", ".1", " ", "\nx"])),
            4 => self.spoilt(text),
            _ => self.shouted(text),
        }
    }

    /// Path, name and extension, most of the time as one belongs to the other.
    fn file(&mut self, path: &str) -> Value {
        let name = last(path).to_owned();
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_owned());
        let name = match self.dice.below(100) {
            0..94 => Some(name),
            94..97 => None,
            _ => Some(self.file_name()),
        };
        let extension = match self.dice.below(100) {
            0..90 => extension,
            90..93 => None,
            93..97 => Some("pth".to_owned()),
            _ => Some(self.one(&["txt", "PTH", ".pth", "pth ", "", "pthx"]).to_owned()),
        };
        let mut file = Map::new();
        let path = if self.percent(98) { Some(path.to_owned()) } else { None };
        for (field, value) in [("path", path), ("name", name), ("extension", extension)] {
            if let Some(value) = value {
                file.insert(field.to_owned(), value.into());
            }
        }
        Value::Object(file)
    }

    fn process(&mut self, number: usize, program: &str) -> Value {
        let name = last(program).to_owned();
        let name = match self.dice.below(100) {
            0..80 => Some(name),
            80..84 => None,
            84..93 => Some(self.expected_name()),
            _ => {
                let name = self.expected_name();
                Some(self.spoilt(&name))
            }
        };
        let mut process = Map::new();
        process.insert("pid".to_owned(), (1000 + number).into());
        if self.percent(97) {
            process.insert("executable".to_owned(), program.into());
        }
        if let Some(name) = name {
            process.insert("name".to_owned(), name.into());
        }
        Value::Object(process)
    }

    fn unix_path(&mut self) -> String {
        let (name, deeper) = (self.file_name(), self.one(&DEEPER).to_owned());
        let path = match self.dice.below(100) {
            0..45 => format!("{}{deeper}{name}", self.place()),
            45..85 => {
                let above = self.one(&["/usr", "/usr/local", "/srv/venv", "/Library/Frameworks/Python.framework", ""]);
                let minor = self.dice.below(30);
                let minor = if self.percent(70) { 5 + minor % 12 } else { minor * 4 };
                format!("{above}/lib/python3.{minor}/site-packages/{deeper}{name}")
            }
            _ => format!("{}{deeper}{name}", self.one(&OTHER_PLACES)),
        };
        self.changed(path)
    }

    fn windows_path(&mut self) -> String {
        // Most of the places are near misses.
        let hits = if self.percent(60) { 7 } else { WINDOWS_PLACES.len() };
        let (place, name) = (self.one(&WINDOWS_PLACES[..hits]), self.file_name());
        let path = if self.percent(25) {
            let expected = self.index(self.published.sigma.windows.expected_files.len());
            format!("{}{}", place.trim_end_matches('\\'), self.published.sigma.windows.expected_files[expected])
        } else {
            format!("{place}{name}")
        };
        self.changed(path)
    }

    fn file_name(&mut self) -> String {
        match self.dice.below(100) {
            0..60 => self.one(&FILES[..10]).to_owned(),
            60..75 => self.one(&FILES).to_owned(),
            75..90 => self.expected_file(),
            90..95 => {
                let file = self.expected_file();
                self.spoilt(&file)
            }
            _ => format!("{}{}.pth", self.one(&ODD), self.one(&ODD)),
        }
    }

    fn expected_file(&mut self) -> String {
        let files = self.index(self.published.elastic.expected_files.len());
        self.published.elastic.expected_files[files].clone()
    }

    fn expected_name(&mut self) -> String {
        let name = self.index(self.published.elastic.expected_names.len());
        let name = self.published.elastic.expected_names[name].clone();
        self.filled(&name)
    }

    fn unix_program(&mut self) -> String {
        if self.percent(55) {
            return self.one(&PROGRAMS).to_owned();
        }
        let program = self.excluded_program();
        self.beside(&program)
    }

    fn excluded_program(&mut self) -> String {
        let Elastic { programs, programs_2025_12, program_patterns, .. } = &self.published.elastic;
        let all = [programs, programs_2025_12, program_patterns, program_patterns].map(Vec::as_slice).concat();
        let program = all[self.index(all.len())].clone();
        self.filled(&program)
    }

    fn windows_program(&mut self) -> String {
        match self.dice.below(100) {
            0..50 => format!(r"C:\Python3{}{}", self.dice.below(15), self.published.sigma.windows.expected_program),
            50..60 => {
                let program = format!(r"C:\Python311{}", self.published.sigma.windows.expected_program);
                self.spoilt(&program)
            }
            _ => self.one(&WINDOWS_PROGRAMS).to_owned(),
        }
    }

    /// A pattern with something for each of its stars.
    fn filled(&mut self, pattern: &str) -> String {
        let mut parts = pattern.split('*');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            // EQL in Python takes a line break at the very end for none.
            let star = self.one(&STARS);
            text.push_str(if part.is_empty() { star.trim_end_matches('\n') } else { star });
            text.push_str(part);
        }
        text
    }

    /// Sometimes one character off, or in other letters.
    fn changed(&mut self, text: String) -> String {
        match self.dice.below(100) {
            0..78 => text,
            78..90 => self.spoilt(&text),
            _ => self.shouted(&text),
        }
    }

    /// One character more, fewer or another.
    fn spoilt(&mut self, text: &str) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        if characters.is_empty() {
            return self.one(&ODD[3..]).to_owned();
        }
        let place = self.index(characters.len());
        match self.dice.below(6) {
            0 => drop(characters.remove(place)),
            1 => characters.insert(place, characters[place]),
            2 => characters[place] = if characters[place].is_ascii_uppercase() { 'q' } else { 'Q' },
            3 => {
                characters[place] =
                    self.one(&["/", "\\", ".", "-", "_", "%", "*", "?", "0", "x"]).chars().next().unwrap()
            }
            // Before a character, so never a line break at the end.
            4 => drop(characters.splice(place..place, self.one(&ODD).chars())),
            _ => characters.swap(place, (place + 1) % text.chars().count()),
        }
        let text: String = characters.into_iter().collect();
        text.trim_end_matches('\n').to_owned()
    }

    /// In capitals, or here and there.
    fn shouted(&mut self, text: &str) -> String {
        let all = self.percent(40);
        text.chars()
            .map(|c| if all || self.percent(30) { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect()
    }
}

/// An event that a sensor could have written, without file and process.
fn written(number: usize, system: &str, action: &str) -> Value {
    json!({
        "@timestamp": format!("2026-11-27T12:{:02}:{:02}.000000Z", number / 60 % 60, number % 60),
        "event": {"kind": "event", "category": ["file"], "type": ["creation"], "action": action},
        "host": {"name": "generated", "os": {"type": system}},
        "user": {"id": "1000"},
    })
}

/// A creation in which everything fits together.
fn plain(number: usize, system: &str, path: &str, program: &str) -> Value {
    let mut event = written(number, system, "creation");
    let (name, of_program) = (last(path), last(program));
    event["file"] = json!({"path": path, "name": name});
    if let Some((_, extension)) = name.rsplit_once('.') {
        event["file"]["extension"] = json!(extension);
    }
    event["process"] = json!({"pid": 1000 + number, "executable": program, "name": of_program});
    event
}

/// The last part of a path of any system.
fn last(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// The generated events, and what the engines say of them; asked once.
pub(crate) fn generated() -> &'static (Vec<Value>, Vec<Opinion>) {
    static GENERATED: OnceLock<(Vec<Value>, Vec<Opinion>)> = OnceLock::new();
    GENERATED.get_or_init(|| judged(Events::from_environment()))
}

/// The events that are generated if nothing else is asked for, whatever is.
pub(crate) fn usual() -> (Vec<Value>, Vec<Opinion>) {
    judged(Events::new(SEED).take(EVENTS))
}

fn judged(events: Vec<Value>) -> (Vec<Value>, Vec<Opinion>) {
    let opinions = ask_about(&events, &[]);
    (events, opinions)
}

/// How often each published rule fires on the events; fail where one of them hardly ever does, or nearly always.
fn census(opinions: &[Opinion]) {
    let all = opinions.len();
    let least = all / 25;
    let some = opinions.iter().filter(|opinion| !opinion.published().is_empty()).count();
    println!("{all} events, {some} on which a rule fires");
    for rule in PUBLISHED {
        let fires = opinions.iter().filter(|opinion| opinion.has(rule)).count();
        println!("  {rule}: {fires}");
        assert!(fires >= least && all - fires >= least, "{rule} fires on {fires} of {all}: it is hardly tested");
    }
    assert!(some >= all / 3 && some <= all - all / 3, "a rule fires on {some} of {all} events, it ought to be half");
}

/// What the generator makes is worth comparing.
#[test]
fn generated_events_make_every_rule_fire_and_none_always() {
    let (events, opinions) = generated();
    census(opinions);
    for rule in ["elastic-seed", "elastic-current"] {
        let cased = format!("{rule}/cased");
        let differ = opinions.iter().filter(|opinion| opinion.has(rule) != opinion.has(&cased)).count();
        println!("  {rule}: {differ} differ where case counts");
        assert!(differ > 0, "no event of {} tells whether case counts", events.len());
    }
}
