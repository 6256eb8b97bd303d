//! What the annotations of a pod ask for.

use std::time::Duration;

use crate::catalogue::Kind;
use crate::finding::Severity;
use crate::view::Annotations;

/// The longest sustain that an annotation can ask for.
const SUSTAIN_MAX: Duration = Duration::from_hours(24);

/// What the annotations of a pod ask for. What cannot be read is as if it were not there.
#[derive(Default)]
pub(crate) struct Wishes<'a> {
    ignore: Option<&'a str>,
    /// `tocsin.dev/severity`.
    pub(crate) severity: Option<Severity>,
    /// `tocsin.dev/sustain`.
    pub(crate) sustain: Option<Duration>,
}

impl<'a> Wishes<'a> {
    pub(crate) fn of(annotations: &'a Annotations) -> Self {
        Self {
            ignore: annotations.ignore.as_deref(),
            severity: annotations.severity.as_deref().and_then(severity),
            sustain: annotations.sustain.as_deref().and_then(span),
        }
    }

    /// Whether `kind` is not to be told.
    pub(crate) fn ignore(&self, kind: Kind) -> bool {
        self.ignore.is_some_and(|list| {
            list.split(',').map(str::trim).any(|word| {
                word.eq_ignore_ascii_case("all")
                    || word.eq_ignore_ascii_case("true")
                    || word.eq_ignore_ascii_case(kind.name())
            })
        })
    }
}

fn severity(text: &str) -> Option<Severity> {
    let severities = [Severity::Info, Severity::Warning, Severity::Critical];
    severities.into_iter().find(|severity| severity.to_string().eq_ignore_ascii_case(text.trim()))
}

/// A span like `90s`, `10m`, `1h30m`.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut span = None;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (number, unit_on) = rest.split_at(digits);
        let unit = unit_on.chars().next()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        let part = Duration::from_secs(number.parse::<u32>().ok()?.into()) * seconds;
        span = Some(span.unwrap_or(Duration::ZERO) + part);
        rest = &unit_on[1..];
    }
    span.map(|span| span.min(SUSTAIN_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_units() {
        let seconds = |text| span(text).map(|span| span.as_secs());
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds(" 1h30m "), Some(5400));
        assert_eq!(seconds("9999h"), Some(24 * 3600));
        for none in ["", "10", "m", "ten minutes", "10d", "-5m", "4294967296s", "5é"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }

    #[test]
    fn kinds_to_ignore_are_a_list_or_all() {
        let kind = Kind::named("OOMKilled").expect("a kind");
        let ignore = |list| Wishes { ignore: list, ..Wishes::default() }.ignore(kind);
        assert!(ignore(Some("NotReady, oomkilled")) && ignore(Some("all")) && ignore(Some("true")));
        assert!(!ignore(Some("NotReady")) && !ignore(Some("")) && !ignore(Some("OOM")) && !ignore(None));
    }

    #[test]
    fn severities_are_read_in_any_case() {
        assert_eq!(severity("Critical"), Some(Severity::Critical));
        assert_eq!(severity("urgent"), None);
    }
}
