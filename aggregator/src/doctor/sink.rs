//! What a sink does with a dry run, judged. Pure.

use reqwest::Url;

use super::Check;
use crate::config::proxy::Via;
use crate::config::{Address, HttpTarget, SinkTarget};
use crate::forward::outbox::Outcome;
use crate::forward::text::shown;
use crate::sinks::Tried;

/// What was found of a sink.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Where it is, if that is known. It may be a secret.
    pub(super) url: Option<Url>,
    /// The proxy that it is reached through.
    pub(super) via: Option<Via>,
    /// How far one came.
    pub(super) reached: Reached,
}

/// How far one came with a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// The file that says where it is does not, and why.
    NoUrl(String),
    /// It is not known whether it is reached through a proxy, and why.
    NoWay(String),
    /// Its name has no address, and why.
    NoAddress(String),
    /// Nobody takes a connection there, and why.
    NoConnection(String),
    /// It was asked.
    Asked(Tried),
    /// There is nobody to ask: it is standard output.
    Nobody,
}

/// What to do about a proxy that is not there.
const PROXY: &str = "correct proxy.http and proxy.https";

/// What it means for the sink `name` at `target` that this was found.
pub(super) fn judge(name: &str, target: &SinkTarget, found: &Found) -> Check {
    let check = format!("sink {name}");
    let (http, is_webhook) = match target {
        SinkTarget::Ingest(http) => (http, false),
        SinkTarget::Webhook(http) => (http, true),
        SinkTarget::Stdout => return Check::ok(check, "it is standard output"),
    };
    let Found { url, via, reached } = found;
    let (host, address) = (host(url.as_ref()), address(name, http));
    match (reached, via) {
        (Reached::Nobody, _) => Check::ok(check, "it is standard output"),
        (Reached::NoUrl(why), _) => Check::failed(
            check,
            why,
            "write the address into it: with the chart, see that the sink's Secret is there and has the key that \
             existingSecretUrlKey names",
        ),
        (Reached::NoWay(why), _) => Check::failed(
            check,
            why,
            "correct the file: with the chart, the Secret that proxy.existingSecret names, and its keys http, https and noProxy",
        ),
        (Reached::NoAddress(why), Some(via)) => Check::failed(
            check,
            format_args!("{host} is reached through the proxy {via}, and that has no address: {}", shown(why)),
            format_args!("{PROXY}, or look at the cluster's DNS; a NetworkPolicy must let port 53 through"),
        ),
        (Reached::NoConnection(why), Some(via)) => Check::failed(
            check,
            format_args!(
                "{host} is reached through the proxy {via}, and nobody takes a connection there: {}",
                shown(why)
            ),
            format_args!("{PROXY}, or let the aggregator through firewalls and NetworkPolicies"),
        ),
        (Reached::NoAddress(why), None) => Check::failed(
            check,
            format_args!("{host} has no address: {}", shown(why)),
            format_args!("correct {address}, or look at the cluster's DNS; a NetworkPolicy must let port 53 through"),
        ),
        (Reached::NoConnection(why), None) => Check::failed(
            check,
            format_args!("nobody takes a connection at {host}: {}", shown(why)),
            format_args!("correct {address}, or let the aggregator through firewalls and NetworkPolicies"),
        ),
        (Reached::Asked(tried), via) => asked(name, http, is_webhook, (host, via.as_ref()), tried),
    }
}

fn asked(name: &str, http: &HttpTarget, is_webhook: bool, (host, via): (String, Option<&Via>), tried: &Tried) -> Check {
    let (check, address, Tried { status, sent }) = (format!("sink {name}"), address(name, http), tried);
    let why = &sent.why;
    let Some(status) = status else {
        return match sent.outcome {
            Outcome::Unauthorized => {
                let advice = "write the token into it: with the chart, see that the Secret of the sink's token is there and \
                              has the key";
                Check::failed(check, why, advice)
            }
            _ if why.contains("certificate") || why.contains("caFile") => Check::failed(
                check,
                format_args!("{host}: {why}"),
                format_args!("name the CA that signed its certificate in sinks.{name}.caFile (caBundle of the chart)"),
            ),
            _ => Check::failed(
                check,
                format_args!("{host}: {why}"),
                format_args!("look at what is there, and at {address} and sinks.{name}.timeout"),
            ),
        };
    };
    let through = via.map(|via| format!(" through the proxy {via}")).unwrap_or_default();
    let host = host + &through;
    let asked = if is_webhook { "HEAD" } else { "a batch of no records" };
    match (status.as_u16(), sent.outcome) {
        (407, _) => Check::failed(
            check,
            why,
            "the files http and https of proxy.folder have the address with name and password (http://name:password@host:3128); \
             they are read again when they change",
        ),
        (401 | 403, _) => {
            let advice = match (&http.token_file, &http.address) {
                (Some(file), _) => format!(
                    "the receiver refuses the token in {}: write the right one into it, or let it do more; it is read \
                     again when it changes",
                    file.display()
                ),
                (None, Address::Written(_)) => {
                    format!("the receiver wants a token: name its file in sinks.{name}.tokenFile")
                }
                (None, Address::File(_)) => format!(
                    "correct {address}, or, if the receiver wants a token beside it, name its file in sinks.{name}.tokenFile"
                ),
            };
            Check::failed(check, format_args!("{host}: {why}"), advice)
        }
        (_, Outcome::Delivered) => Check::ok(check, format_args!("{host} takes {asked}: {status}")),
        // Who lets one in far enough to say that has accepted the token.
        (_, Outcome::Refused) => Check::ok(check, format_args!("{host} refuses {asked}, and nothing else: {status}")),
        (405 | 501, _) if is_webhook => Check::ok(
            check,
            format_args!("{host} answers, but not to HEAD ({status}): whether it takes records is not known"),
        ),
        (_, Outcome::Throttled(_)) => {
            Check::warning(check, format_args!("{host}: {why}"), "it has too much to do now: try again later")
        }
        _ if is_webhook && !status.is_redirection() => Check::warning(
            check,
            format_args!("{host}: {why}, when it was asked for HEAD"),
            format_args!("perhaps it knows POST alone; else correct {address}"),
        ),
        _ => Check::failed(
            check,
            format_args!("{host}: {why}"),
            format_args!("correct {address}, or look at the receiver's log"),
        ),
    }
}

/// What is shown of where it is: a path may be a secret.
fn host(url: Option<&Url>) -> String {
    let port = url.and_then(Url::port_or_known_default).unwrap_or_default();
    format!("{}:{port}", url.and_then(Url::host_str).unwrap_or_default())
}

/// Where it is said where it is.
fn address(name: &str, http: &HttpTarget) -> String {
    match &http.address {
        Address::Written(_) => format!("sinks.{name}.url"),
        Address::File(path) => format!("the address in {}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::super::Outcome::{self as Judged, Failed, Ok as Well, Warning};
    use super::*;
    use crate::config::Proxy;
    use crate::sinks::Sent;

    fn url() -> Url {
        "https://hooks.example.com/secret/path".parse().expect("an address")
    }

    fn target(token: Option<&str>) -> HttpTarget {
        HttpTarget {
            address: Address::Written(url()),
            token_file: token.map(Into::into),
            ca_file: None,
            proxy: Proxy::default(),
            timeout: Duration::from_secs(1),
        }
    }

    fn tried(status: u16, outcome: Outcome, why: &str) -> Reached {
        let status = (status != 0).then(|| StatusCode::from_u16(status).expect("a status"));
        Reached::Asked(Tried { status, sent: Sent { outcome, why: why.to_owned() } })
    }

    #[track_caller]
    fn is(target: &SinkTarget, reached: &Reached, outcome: Judged, says: &str) {
        goes(target, None, reached, outcome, says);
    }

    #[track_caller]
    fn goes(target: &SinkTarget, via: Option<&Via>, reached: &Reached, outcome: Judged, says: &str) {
        let found = Found { url: Some(url()), via: via.cloned(), reached: reached.clone() };
        let check = judge("team", target, &found);
        assert_eq!(check.outcome, outcome, "{check:?}");
        let said = format!("{} => {}", check.seen, check.advice);
        assert!(said.contains(says) && !said.contains("/secret"), "{check:?}");
        assert_eq!(check.advice.is_empty(), outcome == Well, "{check:?}");
    }

    #[test]
    fn what_is_in_the_way_of_both_types_is_named_with_what_to_do() {
        use Outcome::{Delivered, Failed as NotTaken, Throttled, Unauthorized};
        for wrap in [SinkTarget::Ingest, SinkTarget::Webhook] {
            let (with, without) = (wrap(target(Some("/t/token"))), wrap(target(None)));
            is(&with, &tried(200, Delivered, ""), Well, "hooks.example.com:443 takes");
            is(&with, &tried(401, Unauthorized, "it answered 401"), Failed, "refuses the token in /t/token: write");
            is(&with, &tried(403, Unauthorized, "it answered 403"), Failed, "refuses the token in /t/token: write");
            is(&without, &tried(401, Unauthorized, "it answered 401"), Failed, "name its file in sinks.team.tokenFile");
            is(
                &with,
                &tried(0, Unauthorized, "tokenFile /t/token is empty"),
                Failed,
                "is empty => write the token into it",
            );
            is(
                &with,
                &tried(0, NotTaken, "it cannot be reached: invalid peer certificate"),
                Failed,
                "sinks.team.caFile",
            );
            is(
                &with,
                &tried(0, NotTaken, "it did not answer in time"),
                Failed,
                "sinks.team.url and sinks.team.timeout",
            );
            is(&with, &tried(302, NotTaken, "it answered 302"), Failed, "correct sinks.team.url");
            is(&with, &tried(429, Throttled(None), "it answered 429"), Warning, "try again later");
            is(&with, &Reached::NoAddress("nx".into()), Failed, "hooks.example.com:443 has no address: nx => correct");
            is(
                &with,
                &Reached::NoConnection("refused".into()),
                Failed,
                "a connection at hooks.example.com:443: refused",
            );
        }
    }

    #[test]
    fn one_that_takes_batches_may_refuse_an_empty_one_and_must_be_there() {
        let ingest = SinkTarget::Ingest(target(None));
        is(&ingest, &tried(422, Outcome::Refused, "it answered 422"), Well, "refuses a batch of no records");
        for status in [404, 405, 500] {
            is(&ingest, &tried(status, Outcome::Failed, "it answered"), Failed, "correct sinks.team.url");
        }
    }

    #[test]
    fn an_address_in_a_file_is_where_that_file_is() {
        let webhook = SinkTarget::Webhook(HttpTarget { address: Address::File("/t/url".into()), ..target(None) });
        let unread = Reached::NoUrl("urlFile /t/url is empty".into());
        is(&webhook, &unread, Failed, "urlFile /t/url is empty => write the address into it");
        let refused = Reached::NoConnection("refused".into());
        is(&webhook, &refused, Failed, "hooks.example.com:443: refused => correct the address in /t/url");
        let found = tried(404, Outcome::Failed, "it answered");
        is(&webhook, &found, Warning, "else correct the address in /t/url");
        let found = tried(302, Outcome::Failed, "it answered");
        is(&webhook, &found, Failed, "correct the address in /t/url, or look");
        let found = tried(403, Outcome::Unauthorized, "it answered");
        is(&webhook, &found, Failed, "correct the address in /t/url, or, if the receiver wants a token");
    }

    #[test]
    fn a_webhook_need_not_know_head() {
        let webhook = SinkTarget::Webhook(target(None));
        for status in [405, 501] {
            is(&webhook, &tried(status, Outcome::Failed, "it answered"), Well, "is not known");
        }
        for status in [404, 500] {
            is(&webhook, &tried(status, Outcome::Failed, "it answered"), Warning, "perhaps it knows POST alone");
        }
    }

    #[test]
    fn a_proxy_on_the_way_is_named_and_so_is_what_it_does_not_do() {
        use Outcome::{Delivered, Failed as NotTaken, Unauthorized};
        let sink = SinkTarget::Ingest(target(None));
        let via = Via { address: "http://proxy.example:3128/".parse().expect("an address"), credentials: None };
        for (reached, outcome, says) in [
            (
                tried(200, Delivered, ""),
                Well,
                "hooks.example.com:443 through the proxy http://proxy.example:3128 takes",
            ),
            (
                tried(404, NotTaken, "no"),
                Failed,
                "hooks.example.com:443 through the proxy http://proxy.example:3128: no",
            ),
            (tried(0, NotTaken, "not through it"), Failed, "hooks.example.com:443: not through it"),
            (tried(407, Unauthorized, "the proxy answered 407"), Failed, "answered 407 => the files http and https"),
            (Reached::NoWay("https: wrong".into()), Failed, "https: wrong => correct the file"),
            (Reached::NoAddress("nx".into()), Failed, "that has no address: nx => correct proxy.http"),
            (Reached::NoConnection("refused".into()), Failed, "connection there: refused => correct proxy.http"),
        ] {
            goes(&sink, Some(&via), &reached, outcome, says);
        }
    }

    #[test]
    fn standard_output_is_always_there() {
        is(&SinkTarget::Stdout, &Reached::Nobody, Well, "standard output");
    }
}
