//! Text that comes from pods, events and termination messages is untrusted. Before anybody reads it, secrets are
//! struck out, control and direction-changing characters go, and it is cut. Pure.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex_lite::Regex;

/// The longest text that is shown, in characters.
const SHOWN_MAX: usize = 300;
const STRUCK_OUT: &str = "[redacted]";

/// What is struck out: the pattern, and what stays of it.
static SECRETS: LazyLock<Vec<(Regex, String)>> = LazyLock::new(|| {
    [
        // user:password@ in an address
        (r"(?i)(\b[a-z][a-z0-9+.-]*://)[^\s/@]+@", format!("${{1}}{STRUCK_OUT}@")),
        // Authorization: Bearer abc, Basic abc
        (r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}", format!("${{1}} {STRUCK_OUT}")),
        // password=abc, "api_key": "abc", AWS_SECRET_ACCESS_KEY: abc
        (
            r#"(?i)([a-z0-9_-]*(?:passw(?:or)?d|secret|token|api[_-]?key|access[_-]?key|credential)[a-z0-9_-]*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&]+)"#,
            format!("${{1}}{STRUCK_OUT}"),
        ),
        // JSON Web Tokens wherever they stand
        (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?", STRUCK_OUT.to_owned()),
    ]
    .into_iter()
    .map(|(pattern, kept)| (Regex::new(pattern).expect("a pattern that the tests compile"), kept))
    .collect()
});

/// `text` as it may be shown.
pub fn shown(text: &str) -> String {
    let plain: String = text.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect();
    let struck_out = SECRETS.iter().fold(Cow::Borrowed(plain.as_str()), |text, (pattern, kept)| {
        pattern.replace_all(&text, kept).into_owned().into()
    });
    let words = struck_out.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// No control character, nothing invisible, nothing that turns the direction of writing.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(shown(text), expected);
    }

    #[test]
    fn secrets_are_struck_out() {
        check("dial postgres://app:hunter2@db:5432/x: refused", "dial postgres://[redacted]@db:5432/x: refused");
        check("Authorization: Bearer abcdefgh12345", "Authorization: Bearer [redacted]");
        check("DB_PASSWORD=hunter2 is wrong", "DB_PASSWORD=[redacted] is wrong");
        check(r#"{"api_key": "a b c", "n": 1}"#, r#"{"api_key": [redacted], "n": 1}"#);
        check("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl back", "got [redacted] back");
        check("AWS_SECRET_ACCESS_KEY: AKIA/xyz", "AWS_SECRET_ACCESS_KEY: [redacted]");
    }

    #[test]
    fn ordinary_text_stays() {
        check("Back-off pulling image \"api:1.8.3\"", "Back-off pulling image \"api:1.8.3\"");
        check("0/3 nodes are available: 3 Insufficient cpu.", "0/3 nodes are available: 3 Insufficient cpu.");
    }

    #[test]
    fn what_cannot_be_seen_or_turns_text_around_goes() {
        check("a\u{202e}b\u{0007}c\nd\t\u{200b}e", "a b c d e");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(shown(&"é".repeat(10_000)).chars().count(), SHOWN_MAX + 1);
    }
}
