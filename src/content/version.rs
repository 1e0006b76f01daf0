//! Sets of releases of a package.

/// Which releases a list names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionSet(Vec<Range>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Range {
    /// Exactly this text.
    Exact(String),
    /// From the first release up to the last, both included.
    Between(Release, Release),
}

/// The numbers of a release, without zeros at the end.
type Release = Vec<u64>;

impl VersionSet {
    /// From texts, each an exact version (`1.2.3`) or a range of releases, both ends included (`60.0.0 .. 84.2.1`).
    ///
    /// There is no range without an end: a release that nobody has seen yet may run something else.
    ///
    /// # Errors
    ///
    /// When a range's ends are not numbers with dots between them, or are the wrong way round.
    pub(super) fn parse(texts: &[String]) -> Result<VersionSet, String> {
        let ranges = texts.iter().map(|text| {
            let Some((first, last)) = text.split_once("..").filter(|_| text.contains(" .. ")) else {
                return if text.trim().is_empty() {
                    Err("`versions`: empty".to_owned())
                } else {
                    Ok(Range::Exact(text.clone()))
                };
            };
            match (release(first.trim()), release(last.trim())) {
                (Some(first), Some(last)) if first <= last => Ok(Range::Between(first, last)),
                _ => Err(format!("`versions`: {} is no range of releases like \"1.0 .. 2.3\"", text.escape_default())),
            }
        });
        ranges.collect::<Result<_, _>>().map(VersionSet)
    }

    /// Whether it names `version`. Only versions of numbers and dots are in a range: `85.0rc1` has to be named itself.
    #[must_use]
    pub fn contains(&self, version: &str) -> bool {
        self.0.iter().any(|range| match range {
            Range::Exact(text) => text == version,
            Range::Between(first, last) => release(version).is_some_and(|release| (first..=last).contains(&&release)),
        })
    }
}

fn release(text: &str) -> Option<Release> {
    let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?;
    let mut numbers: Release = text.split('.').map(number).collect::<Option<_>>()?;
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::VersionSet;

    fn set(texts: &[&str]) -> Result<VersionSet, String> {
        VersionSet::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn ranges_have_both_ends() {
        let set = set(&["50.0 .. 59.8", "1.0rc1"]).expect("a set");
        for version in ["50", "50.0.0", "50.3.2", "59.8.0", "1.0rc1", "51"] {
            assert!(set.contains(version), "{version}");
        }
        for version in [
            "49.9",
            "59.8.1",
            "60",
            "1.0",
            "55rc1",
            "55.0+evil",
            "",
            "5\u{665}",
            "55.",
            "1.0rc2",
            "99999999999999999999",
        ] {
            assert!(!set.contains(version), "{version}");
        }
    }

    #[test]
    fn what_is_no_range() {
        for text in ["60 .. 50", "a .. 2", "1 ..", " .. 2", ".. 2", "", " "] {
            let found = set(&[text]);
            assert!(found.is_err() || !found.is_ok_and(|set| set.contains("1.5")), "{text:?}");
        }
        assert!(set(&["60 .. 50"]).is_err());
        assert!(!VersionSet::default().contains("1"));
    }
}
