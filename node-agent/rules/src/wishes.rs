//! What the annotations of a pod ask for.

use std::time::Duration;

use crate::catalogue::Kind;
use crate::finding::Severity;
use crate::time::parse_span;
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
            sustain: annotations.sustain.as_deref().and_then(sustain),
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

fn sustain(text: &str) -> Option<Duration> {
    parse_span(text.trim()).map(|span| span.min(SUSTAIN_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sustain_is_a_span_of_at_most_a_day() {
        for (text, seconds) in [(" 1h30m ", Some(5_400)), ("9999h", Some(24 * 3_600)), ("ten minutes", None)] {
            assert_eq!(sustain(text).map(|span| span.as_secs()), seconds, "{text}");
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
