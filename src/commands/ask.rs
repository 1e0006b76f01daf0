//! Asking a person.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use super::{CommandError, Options};

/// Longest answer that is read.
const MAX_ANSWER: u64 = 1024;

/// Whether the person at the terminal says yes. Only `y` and `yes` are.
///
/// # Errors
/// There is no terminal.
pub(super) fn is_confirmed(question: &str, options: Options<'_>) -> Result<bool, CommandError> {
    if options.yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Err(CommandError::NoTerminal);
    }
    Ok(says_yes(question, &mut io::stdin().lock(), &mut io::stderr().lock())?)
}

fn says_yes(question: &str, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<bool> {
    write!(output, "{question} [y/N] ")?;
    output.flush()?;
    let mut answer = String::new();
    input.take(MAX_ANSWER).read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        let asked = |answer: &str| {
            let mut shown = Vec::new();
            (says_yes("approve?", &mut answer.as_bytes(), &mut shown).unwrap(), String::from_utf8(shown).unwrap())
        };
        for answer in ["y\n", "yes\n", " Y \n", "YES"] {
            assert_eq!(asked(answer), (true, "approve? [y/N] ".to_owned()), "{answer:?}");
        }
        for answer in ["", "\n", "n\n", "yep\n", "\ny\n", "no, y\n", &"y".repeat(5000)] {
            assert!(!asked(answer).0, "{answer:?}");
        }
    }
}
