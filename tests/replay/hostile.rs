//! Records that somebody has made to be a nuisance. What is around them is judged all the same.

use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::place::{Place, document, error, lines, status, text};
use super::records::{self, BASH, DPKG, FILE};

#[test]
fn good_records_between_bad_ones_are_judged() {
    let place = Place::new();
    let good = records::ecs(BASH).to_string();
    let deep = format!("{{\"x\":{}1{},{}", "[".repeat(100_000), "]".repeat(100_000), &good[1..]);
    let wrapped = format!("{}{good}{}", "{\"_source\":".repeat(50_000), "}".repeat(50_000));
    let mut invalid = good.replace("x.pth", "X.pth").into_bytes();
    let at = invalid.windows(5).position(|name| name == b"X.pth").unwrap();
    invalid[at] = 0xff;
    let typed = |value: &str| good.replace(&format!("{FILE:?}"), value);
    let bad: [(Vec<u8>, &str); 14] = [
        (good.as_bytes()[..good.len() / 2].to_vec(), "malformed"),
        (vec![b'a'; 10_000_000], "malformed"),
        (good.repeat(30_000).into(), "malformed"),
        (invalid, "deny"),
        (deep.into(), "deny"),
        (wrapped.into(), "malformed"),
        (typed("7").into(), "malformed"),
        (typed("{\"a\":[]}").into(), "malformed"),
        (typed("null").into(), "none"),
        (b"[1,2,3]".to_vec(), "malformed"),
        (vec![0; 4], "malformed"),
        (vec![0xff; 64], "malformed"),
        (format!("{good}\0").into(), "malformed"),
        (good.replace("/usr/bin/bash", "/usr/bin/ba\\u0000sh").into(), "deny"),
    ];
    let mut file = Vec::new();
    for (record, _) in &bad {
        file.extend_from_slice(record);
        file.push(b'\n');
        file.extend_from_slice(good.as_bytes());
        file.push(b'\n');
    }
    let (status, said) = place.each(file);
    assert_eq!((status, said.len()), (1, 2 * bad.len()));
    for (at, (_, verdict)) in bad.iter().enumerate() {
        assert_eq!((said[2 * at].0.as_str(), said[2 * at + 1].0.as_str()), (*verdict, "deny"), "record {at}: {said:?}");
    }
    let (_, answer) = place.json(&["records"]);
    let malformed: u64 = answer["malformed"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!((&answer["records"], malformed, &answer["other"]), (&28.into(), 10, &1.into()), "{answer:#}");
}

/// What a terminal obeys, or what makes a line look like another.
fn is_obeyed(c: char) -> bool {
    c != '\n'
        && (c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

#[test]
fn no_name_speaks_to_the_terminal() {
    let place = Place::new();
    let evil = "/tmp/\u{1b}]0;x\u{7}\u{9b}2J\r\n\u{7f}\u{202e}\u{200b}evil";
    let by = |exe: &str, args: &[&str], path: &str| {
        let mut record = records::ecs(BASH);
        record["process"] = json!({ "executable": exe, "args": args });
        record["file"]["path"] = path.into();
        record
    };
    let path = "/usr/lib/python3/dist-packages/\u{1b}[2J\u{9b}1m\u{202e}.pth";
    let script = by("/usr/bin/python3", &["python3", evil], path);
    let relative = by("/usr/bin/python3", &["python3", "\u{9b}2J.py"], path);
    let records = [by(evil, &[], path), script, relative, by("C:\\\u{9b}2J", &[], path)];
    place.file("records", records::all(&records) + "\u{1b}[2J\u{9b}\n");
    place.policy_file(
        "other.toml",
        "[[allow]]\nname = \"evil\"\nexe = [\"/tmp/*\"]\nscope = \"any\"\naccess = [\"write\"]\ncontent = \"any\"\n",
    );
    for arguments in [
        &["records"][..],
        &["--json", "records"],
        &["--each", "records"],
        &["--diff", "other.toml", "records"],
        &["--json", "--diff", "other.toml", "records"],
        &["--suggest", evil, "records"],
        &["--suggest", "\u{9b}2J.py", "records"],
        &["--suggest", "C:\\\u{9b}2J", "records"],
        &["--suggest", "\u{9b}2J", "records"],
        &["\u{9b}2J"],
    ] {
        let output = place.run(arguments);
        let said = [text(&output), error(&output)].concat();
        assert!(!said.is_empty() && !said.contains(is_obeyed), "{arguments:?}: {said:?}");
    }
    // And nothing is lost by it where programs read.
    let answer = document(&place.run(&["--json", "records"]));
    let items = answer["items"].as_array().unwrap();
    assert!(items.iter().any(|item| item["executable"] == evil && item["path"] == path), "{answer:#}");
    assert!(items.iter().any(|item| item["script"] == evil), "{answer:#}");
}

#[test]
fn files_that_are_none() {
    let place = Place::new();
    place.file("empty", "");
    place.file("blank", " \n\t\r\n\n");
    place.file("nul", [0; 100_000]);
    assert_eq!(status(&place.run(&["empty", "blank"])), 0);
    assert_eq!(place.json(&["empty", "blank"]).1["records"], 0);
    assert_eq!(place.json(&["nul"]).1["malformed"][0]["count"], 1);
    assert_eq!(place.json(&["/dev/null"]).1["records"], 0);
    for cut in [1, 2, 3, 5, 7, 100, 101] {
        // A byte order mark and half of a character.
        let bytes = records::utf16(&records::all(&[records::ecs(BASH)]));
        place.file("cut", &bytes[..cut]);
        let (code, answer) = place.json(&["cut"]);
        assert!(code == 0 && answer["records"].as_u64().unwrap() < 2, "{cut}: {answer:#}");
    }
}

#[test]
fn a_fifo_that_ends() {
    let place = Place::new();
    let fifo = place.root.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let records = records::all(&[records::ecs(BASH), records::ecs(DPKG)]);
    let answer = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut fifo = OpenOptions::new().write(true).open(&fifo).unwrap();
            // In the middle of a record, and ends so.
            fifo.write_all(&records.as_bytes()[..10]).unwrap();
            fifo.write_all(&records.as_bytes()[10..]).unwrap();
            fifo.write_all(b"{\"event\"").unwrap();
        });
        let answer = place.json(&["fifo"]).1;
        writer.join().unwrap();
        answer
    });
    assert_eq!((&answer["records"], &answer["malformed"][0]["count"]), (&3.into(), &1.into()), "{answer:#}");
}

/// It is read to the end that it has by then.
#[test]
fn a_file_that_grows() {
    let place = Place::new();
    let record = records::all(&[records::ecs(DPKG)]);
    let path = place.file("records", record.repeat(1000));
    let ends = AtomicBool::new(false);
    let (answer, added) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            let mut added = 0_u64;
            while !ends.load(Ordering::Relaxed) && added < 20_000 {
                file.write_all(record.as_bytes()).unwrap();
                added += 1;
            }
            added
        });
        let answer = place.json(&["records"]).1;
        ends.store(true, Ordering::Relaxed);
        (answer, writer.join().unwrap())
    });
    let records = answer["records"].as_u64().unwrap();
    assert!((1000..=1000 + added).contains(&records), "{records} of {added} more: {answer:#}");
}

/// Names of programs and directories are an attacker's to choose, and as many as he likes.
#[test]
fn a_million_programs_in_little_memory() {
    let place = Place::new();
    // A small one, for speed.
    let policy = "include_default = false\n[protect]\nsites = [\"/opt/*/lib/python3/site-packages\", \"/opt/*/site-packages\"]\n";
    let policy = place.policy_file("small.toml", policy);
    let mut command = Command::new("sh");
    // Kilobytes of address space, half of which are the program itself and what it reads at once.
    command.args(["-c", "ulimit -v 200000 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_pthguard"), "replay", "--json"]);
    command.arg("--config").arg(&policy).arg("-");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            let mut stdin = BufWriter::with_capacity(1 << 16, stdin);
            for at in 0..1_000_000 {
                let site = at % 1000;
                let written = writeln!(
                    stdin,
                    "{{\"event\":{{\"action\":\"creation\"}},\"file\":{{\"path\":\"/opt/{site}/lib/python3/site-packages/x.pth\"}},\"process\":{{\"executable\":\"/tmp/{at}\"}}}}"
                );
                if written.is_err() {
                    return; // it has ended, and its status says so
                }
            }
            // Few, but as long as they can be.
            let long = "x".repeat(900_000);
            for at in 0..300 {
                let record = json!({
                    "event": { "action": "creation" }, "file": { "path": format!("/opt/{at}{long}/site-packages/x.pth") },
                    "process": { "executable": "/tmp/1" },
                });
                if writeln!(stdin, "{record}").is_err() {
                    return;
                }
            }
        });
        child.wait_with_output().unwrap()
    });
    let answer = document(&output);
    let items = answer["items"].as_array().unwrap();
    assert_eq!((status(&output), &answer["records"]), (1, &1_000_300.into()));
    let listed: u64 = items.iter().map(|item| item["count"].as_u64().unwrap()).sum();
    assert!(items.len() >= 1000 && answer["further"] == 1_000_300 - listed, "{} items", items.len());
}

/// Long names of programs do not fill the memory either.
#[test]
fn programs_with_endless_names() {
    let place = Place::new();
    let long = "x".repeat(900_000);
    let path = place.root.join("records");
    let mut file = BufWriter::new(fs::File::create(&path).unwrap());
    for at in 0..400 {
        let exe = format!("/tmp/{at}{long}");
        writeln!(file, "{{\"event\":{{\"action\":\"creation\"}},\"file\":{{\"path\":{FILE:?}}},\"process\":{{\"executable\":\"{exe}\"}}}}").unwrap();
    }
    drop(file);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 300000 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_pthguard"), "replay"]);
    let output = command.arg("--config").arg(&place.policy).arg(&path).output().unwrap();
    assert_eq!(status(&output), 1, "{}", error(&output));
    assert!(text(&output).starts_with("400 records: 400 operations"));
}

#[test]
fn lines_are_whole_whatever_is_in_them() {
    let place = Place::new();
    place.file("a\nb", records::all(&[records::ecs(BASH)]) + "{\n");
    let output = place.run(&["--each", "a\nb"]);
    let said: Vec<Value> = lines(&output);
    assert_eq!((said.len(), &said[1]["file"]), (2, &"a\nb".into()));
    let output = place.run(&["a\nb"]);
    assert!(text(&output).contains("  a\\x0ab:2: JSON that ends too early\n"), "{}", text(&output));
}

#[test]
fn an_answer_that_nobody_reads() {
    let place = Place::new();
    place.file("records", records::all(&[records::ecs(BASH)]).repeat(10_000));
    let mut child =
        place.command().args(["--each", "records"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 2);
    assert!(error(&output).contains("cannot write the answer"), "{}", error(&output));
}
