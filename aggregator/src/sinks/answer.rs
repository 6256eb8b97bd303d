//! What a receiver's answer means. Pure.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use reqwest::Url;
use rules::Time;

use super::Sent;
use crate::forward::outbox::Outcome;
use crate::forward::text::shown;

/// An answer of a receiver, as far as it was read.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    /// Where it was asked. It may be a secret.
    pub(super) url: &'a Url,
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    /// The beginning of the body.
    pub(super) body: &'a [u8],
}

/// The longest part of an answer's body that is shown, in characters.
const SHOWN_MAX: usize = 200;
/// A shorter part of an address is no secret.
const SECRET_BYTES_MIN: usize = 8;

/// What `answer`, which came at `now`, means for the batch that it is about.
pub(super) fn understand(answer: &Answer<'_>, now: Time) -> Sent {
    let outcome = match answer.status.as_u16() {
        200..=299 => return Sent::DELIVERED,
        401 | 403 => Outcome::Unauthorized,
        429 | 503 => Outcome::Throttled(retry_after(answer.headers, now)),
        400 | 413 | 422 => Outcome::Refused,
        _ => Outcome::Failed,
    };
    Sent { outcome, why: why(answer) }
}

fn why(answer: &Answer<'_>) -> String {
    let Answer { url, status, headers, body } = answer;
    let advice = match status.as_u16() {
        300..=399 => {
            let to = headers.get(header::LOCATION).and_then(|location| url.join(location.to_str().ok()?).ok());
            // What follows the host may be a secret.
            let to = to.map(|to| format!(" at {}", to.origin().ascii_serialization())).unwrap_or_default();
            format!("; redirects are not followed: set the URL to the final address{to}")
        }
        401 | 403 => "; check the token and what it may do".to_owned(),
        404 | 405 | 410 => "; check the URL".to_owned(),
        _ => String::new(),
    };
    let said = shown(&without_address(&String::from_utf8_lossy(body), url));
    let said = match said.char_indices().nth(SHOWN_MAX) {
        _ if said.is_empty() => String::new(),
        Some((end, _)) => format!(": {}…", &said[..end]),
        None => format!(": {said}"),
    };
    format!("it answered {status}{advice}{said}")
}

/// `text` without what follows the host in `url`, as it is written there and decoded: who does not know a path often repeats
/// it.
fn without_address(text: &str, url: &Url) -> String {
    let (path, query) = (url.path(), url.query().unwrap_or_default());
    let whole = [format!("{path}?{query}"), path.to_owned()].into_iter().filter(|part| part.len() > 1);
    let written = path.split('/').chain(query.split(['&', '='])).map(str::to_owned);
    // In a path a plus is one.
    let segments = path.split('/').map(|segment| segment.replace('+', "%2B").replace('=', "%3D").replace('&', "%26"));
    let decoded = segments.chain([query.to_owned()]).flat_map(|text| {
        let pairs = form_urlencoded::parse(text.as_bytes());
        pairs.flat_map(|(name, value)| [name.into_owned(), value.into_owned()]).collect::<Vec<_>>()
    });
    let parts = decoded.chain(written).filter(|part| part.len() >= SECRET_BYTES_MIN);
    whole.chain(parts).fold(text.to_owned(), |text, part| text.replace(&part, "…"))
}

/// How long the receiver wants to be left alone (RFC 9110 §10.2.3): seconds, or a date, which is measured against its
/// own clock if it says what that shows.
fn retry_after(headers: &HeaderMap, now: Time) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = headers.get(header::DATE).and_then(|date| Time::of_http_date(date.to_str().ok()?)).unwrap_or(now);
    Some(Time::of_http_date(text)?.since(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT

    #[track_caller]
    fn check(status: u16, headers: &[(&'static str, &str)], body: &[u8], outcome: Outcome, why: &str) {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().expect("a header value")))
            .collect();
        let status = StatusCode::from_u16(status).expect("a status");
        let url = "https://h/services/T00/hunter2hunter2?key=hunter3hunter3".parse().expect("a URL");
        let sent = understand(&Answer { url: &url, status, headers: &headers, body }, NOW);
        assert_eq!(sent, Sent { outcome, why: why.to_owned() });
    }

    #[test]
    fn every_status_has_its_meaning() {
        use Outcome::{Delivered, Failed, Refused, Throttled, Unauthorized};
        for status in [200, 201, 202, 204, 207] {
            check(status, &[], b"anything", Delivered, "");
        }
        for (status, outcome, why) in [
            (301, Failed, "301 Moved Permanently; redirects are not followed: set the URL to the final address"),
            (400, Refused, "400 Bad Request"),
            (401, Unauthorized, "401 Unauthorized; check the token and what it may do"),
            (403, Unauthorized, "403 Forbidden; check the token and what it may do"),
            (404, Failed, "404 Not Found; check the URL"),
            (408, Failed, "408 Request Timeout"),
            (409, Failed, "409 Conflict"),
            (413, Refused, "413 Payload Too Large"),
            (422, Refused, "422 Unprocessable Entity"),
            (429, Throttled(None), "429 Too Many Requests"),
            (500, Failed, "500 Internal Server Error"),
            (503, Throttled(None), "503 Service Unavailable"),
            (504, Failed, "504 Gateway Timeout"),
        ] {
            check(status, &[], b"", outcome, &format!("it answered {why}"));
        }
    }

    #[test]
    fn what_a_receiver_repeats_decoded_is_struck_out_too() {
        // As an address of a logic app has it: base64, with its + and / and = in percent.
        let url = "https://h/workflows/in%20one?sig=hunter2%2Bhunter3%2Fhunter4%3D".parse().expect("a URL");
        let said = b"no trigger for sig=hunter2+hunter3/hunter4=";
        let sent = understand(
            &Answer { url: &url, status: StatusCode::NOT_FOUND, headers: &HeaderMap::new(), body: said },
            NOW,
        );
        assert!(!sent.why.contains("hunter"), "{}", sent.why);
    }

    #[test]
    fn a_receiver_says_in_seconds_or_by_date_when_to_come_back() {
        let throttled = |seconds| Outcome::Throttled(Some(Duration::from_secs(seconds)));
        let answered = "it answered 429 Too Many Requests";
        check(429, &[("retry-after", "120")], b"", throttled(120), answered);
        check(429, &[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], b"", throttled(30), answered);
        let (theirs, then) = ("Sun, 06 Nov 1994 09:50:00 GMT", "Sun, 06 Nov 1994 09:50:05 GMT");
        check(429, &[("retry-after", then), ("date", theirs)], b"", throttled(5), answered);
        check(429, &[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], b"", throttled(0), answered);
        check(429, &[("retry-after", "soon")], b"", Outcome::Throttled(None), answered);
        check(429, &[("retry-after", "-5")], b"", Outcome::Throttled(None), answered);
    }

    #[test]
    fn what_it_says_is_shown_cleaned_and_cut() {
        check(500, &[], b"no\nroom \x1b[31m", Outcome::Failed, "it answered 500 Internal Server Error: no room [31m");
        check(500, &[], b"\xff", Outcome::Failed, "it answered 500 Internal Server Error: \u{fffd}");
        let cut = format!("it answered 500 Internal Server Error: {}…", "x".repeat(200));
        check(500, &[], &b"x".repeat(70_000), Outcome::Failed, &cut);
    }

    #[test]
    fn a_redirect_names_where_it_leads_without_its_secrets() {
        let why =
            "it answered 302 Found; redirects are not followed: set the URL to the final address at https://other:1";
        check(302, &[("location", "https://other:1/in?key=hunter2")], b"", Outcome::Failed, why);
        let why = "it answered 308 Permanent Redirect; redirects are not followed: set the URL to the final address at https://h";
        check(308, &[("location", "/services/T00/hunter2hunter2/")], b"", Outcome::Failed, why);
    }

    #[test]
    fn an_address_that_is_repeated_is_not_shown() {
        for (body, shown) in [
            ("Cannot POST /services/T00/hunter2hunter2", "Cannot POST …"),
            ("no /services/T00/hunter2hunter2?key=hunter3hunter3 here", "no … here"),
            ("unknown: hunter2hunter2, hunter3hunter3", "unknown: …, …"),
            ("T00 is no team", "T00 is no team"),
        ] {
            let why = format!("it answered 404 Not Found; check the URL: {shown}");
            check(404, &[], body.as_bytes(), Outcome::Failed, &why);
        }
    }
}
