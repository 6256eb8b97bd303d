//! Points in time and spans, as the rules and the wire see them.
//!
//! `now` is always a parameter: the API server's clock (`Date` of its answers plus monotonic time since), never this
//! machine's. Spans are [`std::time::Duration`].

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time: milliseconds since the Unix epoch.
///
/// In JSON it is an RFC 3339 string (the API's `metav1.Time` and `metav1.MicroTime`), in binary formats an integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// The time that many milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The span from `earlier` to this time; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This time moved by `millis`, which may be negative.
    #[must_use]
    pub const fn shifted(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Reads a date as HTTP prefers it (RFC 9110 §5.6.7, an RFC 2822 date in GMT): `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn of_http_date(text: &str) -> Option<Self> {
        static DATES: DateTimeParser = DateTimeParser::new();
        DATES.parse_timestamp(text).ok().map(|at| Self(at.as_millisecond()))
    }

    /// Reads an RFC 3339 timestamp; `None` when the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_millisecond()))
    }
}

/// What spans are written with, and how many milliseconds each is.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a span like `90s` or `1h30m`: numbers with a unit each (ms, s, m, h, d); `None` when the text is none.
pub fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == &rest[..unit_end])?;
        millis = millis.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

/// A span as one would write it: in the largest unit that gives a whole number.
pub fn write_span(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let (unit, factor) = UNITS
        .iter()
        .rev()
        .find(|(_, factor)| millis.is_multiple_of(*factor))
        .expect("every number is a multiple of one");
    format!("{}{unit}", millis / factor)
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 with milliseconds; a time outside the years that it can say is given as its number.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(out, "{at:.3}"),
            Err(_) => write!(out, "{}ms", self.0),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rfc3339;

        impl de::Visitor<'_> for Rfc3339 {
            type Value = Time;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an RFC 3339 timestamp")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                Time::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Rfc3339)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_both_of_the_apis_forms() {
        let time = Time::parse("2026-05-01T02:14:05Z").expect("metav1.Time");
        assert_eq!(Time::parse("2026-05-01T02:14:05.000000Z"), Some(time), "metav1.MicroTime");
        assert_eq!(time.to_string(), "2026-05-01T02:14:05.000Z");
        assert_eq!(Time::parse("yesterday"), None);
    }

    #[test]
    fn reads_dates_of_http() {
        assert_eq!(Time::of_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Time::from_millis(784_111_777_000)));
        assert_eq!(Time::of_http_date("1994-11-06T08:49:37Z"), None);
    }

    #[test]
    fn spans_are_numbers_with_units() {
        for (text, millis) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1d", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_span(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "30", "s", "5 m", "-5m", "1.5h", "5M", "5é", "1y", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }

    #[test]
    fn a_span_is_written_as_one_would_say_it() {
        for text in ["250ms", "90s", "5m", "36h", "1d", "0s"] {
            assert_eq!(write_span(parse_span(text).expect("a span")), text);
        }
    }

    #[test]
    fn spans_saturate_instead_of_wrapping() {
        let early = Time::from_millis(1_000);
        let late = early + Duration::from_secs(2);
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(Time::from_millis(i64::MIN) - Duration::MAX, Time::from_millis(i64::MIN));
        assert_eq!(Time::from_millis(i64::MAX) + Duration::MAX, Time::from_millis(i64::MAX));
    }
}
