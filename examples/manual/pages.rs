//! The pages and completions, as text. `tests/packages` reads them, too.

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use pthguard::cli::Cli;
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

/// The manual's section for what administrators run.
const SECTION: &str = "8";

/// What the program's own page says beside its options.
const PROGRAM: &str = r#".SH EXIT STATUS
.TP
.B 0
Fine.
.TP
.B 1
There is something to look at: a finding of
.BR pthguard\-scan (8),
files that are held, a request that
.BR pthguard\-explain (8)
or
.BR pthguard\-replay (8)
would deny.
.TP
.B 2
The command line, the policy, or an environment in which the guard cannot run.
.SH FILES
.TP
.I /etc/pthguard/pthguard.toml
The policy, on top of the one that is built in; see
.BR pthguard.toml (5).
.TP
.I /etc/pthguard/pthguard.d/*.toml
More of it, read by name.
.TP
.I /var/lib/pthguard
Approvals, approved bytes, the quarantine, and
.IR control ,
the socket of the guard that runs.
It belongs to root alone.
.TP
.I /var/log/pthguard/events.ndjson
Records, one line of JSON each, unless
.B log.json
says otherwise.
.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT
Stop.
Whoever waits for an answer is let go at once, unless a service manager keeps the groups for the next guard.
.TP
.B SIGHUP
Load the policy anew.
One with faults changes nothing.
.TP
.B SIGUSR1
Open the log file anew: it was moved away.
"#;

/// Every page: its file's name and its text.
pub(crate) fn pages(date: &str) -> Result<Vec<(String, String)>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add_pages(&program, date, &mut pages)?;
    Ok(pages)
}

fn add_pages(command: &Command, date: &str, pages: &mut Vec<(String, String)>) -> Result<()> {
    let page = Man::new(command.clone())
        .section(SECTION)
        .date(date)
        .source(format!("pthguard {}", env!("CARGO_PKG_VERSION")))
        .manual("System Administration");
    let is_program = command.get_name() == Cli::command().get_name();
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    name(command).to_writer(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    if is_program {
        text.extend(PROGRAM.as_bytes());
    }
    see_also(command).to_writer(&mut text)?;
    let text = String::from_utf8(text).context("a page that is no UTF-8")?;
    pages.push((page.get_filename(), tidy(&text)));
    for below in command.get_subcommands() {
        add_pages(below, date, pages)?;
    }
    Ok(())
}

/// The NAME section, for apropos(1): of what the command does, the first sentence.
fn name(command: &Command) -> Roff {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let line = about.lines().next().unwrap_or_default();
    let sentence = line.split_once(". ").map_or(line, |(first, _)| first).trim_end_matches('.');
    let mut page = Roff::default();
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{} - {}{}", title(command), sentence[..1].to_lowercase(), &sentence[1..]))]);
    page
}

fn see_also(command: &Command) -> Roff {
    let title = title(command);
    let mut others: Vec<String> = command.get_subcommands().map(self::title).collect();
    if let Some((above, _)) = title.rsplit_once('-') {
        others.push(above.to_owned());
    }
    others.sort();
    let mut page = Roff::default();
    page.control("SH", ["SEE ALSO"]);
    for other in others {
        page.text([bold(other), roman(format!("({SECTION}),"))]);
    }
    page.text([bold("pthguard.toml"), roman("(5)")]);
    page
}

fn title(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// Without what mandoc and man find fault with in what clap_mangen writes: blanks at the end of a line, line breaks beside
/// paragraphs, and the definition of the apostrophe before each section.
fn tidy(text: &str) -> String {
    let is_noise = |line: &&str| *line == ".br" || line.contains(".ds Aq ");
    let line = |line: &str| match line.trim_end() {
        "" => ".sp\n".to_owned(),
        line => format!("{line}\n"),
    };
    text.replace("\\*(Aq", "\\(aq").lines().filter(|line| !is_noise(line)).map(line).collect()
}

/// Completions, under the names by which the shells look for them.
pub(crate) fn completions() -> Vec<(String, String)> {
    let shells = [(Shell::Bash, "pthguard.bash"), (Shell::Zsh, "_pthguard"), (Shell::Fish, "pthguard.fish")];
    let completion = |(shell, name): (Shell, &str)| {
        let mut script = Vec::new();
        generate(shell, &mut Cli::command(), "pthguard", &mut script);
        (name.to_owned(), String::from_utf8_lossy(&script).into_owned())
    };
    shells.map(completion).into()
}

/// The day that the pages bear.
pub(crate) fn date() -> Result<String> {
    let moment = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => OffsetDateTime::from_unix_timestamp(seconds.parse().context("SOURCE_DATE_EPOCH is no number")?)?,
        Err(_) => OffsetDateTime::now_utc(),
    };
    Ok(moment.date().format(&Iso8601::DATE)?)
}
