//! What was found out about the configuration, the API server, the clock, the certificate and the proxy, judged. Pure.

use std::path::Path;
use std::time::Duration;

use process::objects::Failure;
use rules::Time;

use super::Check;
use crate::certificates::{Examined, Published, Unread};
use crate::config::Config;
use crate::config::proxy::Via;
use crate::forward::text::shown;
use crate::ingest::identity::Admission;
use crate::options::CertificateFrom;

/// Why the API server could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// The options or files that say where it is and who asks cannot be used.
    Options(String),
    /// It gave no answer.
    Unreachable(String),
    /// It does not know who asks.
    Unknown(String),
}

/// Where and as whom the API server is asked.
const API_SERVER: &str = "API server";
const CLOCK: &str = "clock";
const CERTIFICATE: &str = "certificate";
const TRUST: &str = "published CA";
/// `Date` has whole seconds, and an answer is under way for a moment.
const OFFSET_NOTED: Duration = Duration::from_secs(5);
/// Others judge tokens and certificates by their own clocks.
const OFFSET_MAX: Duration = Duration::from_mins(5);
/// A certificate that ends so soon should have been renewed, unless it was made for a short time.
const ENDS_SOON: Duration = Duration::from_hours(7 * 24);

/// The configuration file, as it was read.
pub(super) fn configuration(path: &Path, read: &Result<Config, String>) -> Check {
    let name = "configuration";
    match read {
        Ok(config) => {
            let cluster = shown(&config.settings.cluster.name);
            let sinks = config.targets.keys().map(|name| &**name).collect::<Vec<_>>().join(", ");
            Check::ok(name, format_args!("{}: cluster {cluster}, sinks {sinks}", path.display()))
        }
        Err(problems) => Check::failed(name, problems, "correct it; the aggregator takes it over without a restart"),
    }
}

/// Whether the files that the configuration names can be read.
pub(super) fn files(read: Result<(), String>) -> Check {
    let name = "files";
    match read {
        Ok(()) => Check::ok(name, "all that the configuration names can be read and used"),
        Err(why) => {
            let advice = "put it right: with the chart, the Secret that the values name must exist, and have that key";
            Check::failed(name, why, advice)
        }
    }
}

/// Whether the API server answers, and knows who asks.
pub(super) fn api_server(asked: &Result<(), Unasked>) -> Check {
    match asked {
        Ok(()) => Check::ok(API_SERVER, "it answers"),
        Err(Unasked::Options(why)) => Check::failed(API_SERVER, why, "see --kubeconfig and --context in --help"),
        Err(Unasked::Unreachable(why)) => Check::failed(
            API_SERVER,
            format_args!("it gives no answer: {}", shown(why)),
            "in a cluster, a NetworkPolicy must let this pod reach it (networkPolicy.apiServerPorts of the chart); outside of \
             one, the kubeconfig must say where it is, see --kubeconfig and --context",
        ),
        Err(Unasked::Unknown(why)) => Check::failed(
            API_SERVER,
            format_args!("it does not know who asks: {}", shown(why)),
            "the ServiceAccount's token must be mounted (automountServiceAccountToken), or the kubeconfig's user be known",
        ),
    }
}

/// How far this machine's wall clock is ahead of the API server's, in milliseconds.
pub(super) fn clock(offset_millis: i64) -> Check {
    let off = Duration::from_millis(offset_millis.unsigned_abs());
    let direction = if offset_millis < 0 { "behind" } else { "ahead of" };
    let seen = format!("this node's is {} s {direction} the API server's", off.as_secs());
    let advice = "synchronise the clocks of nodes and control plane (NTP): tokens and certificates are judged by them; what \
                  is told goes by the API server's";
    match off {
        _ if off >= OFFSET_MAX => Check::failed(CLOCK, seen, advice),
        _ if off >= OFFSET_NOTED => Check::warning(CLOCK, seen, advice),
        _ => Check::ok(CLOCK, seen),
    }
}

/// What became of a token that is none: it must be refused, which takes a review.
pub(super) fn token_review(admission: &Admission) -> Check {
    let name = "token review";
    match admission {
        Admission::Refused(_) => Check::ok(name, "the API server says who an agent is"),
        // It is shown as text from outside already.
        Admission::Unavailable(why) => Check::failed(
            name,
            why,
            "agents cannot be let in without: grant create on tokenreviews.authentication.k8s.io in a ClusterRole",
        ),
        Admission::Admitted(node) => Check::failed(
            name,
            format_args!("the API server takes a made-up token for the agent of {}", shown(node)),
            "its authentication accepts anything: look at its flags and webhooks",
        ),
    }
}

/// The certificate that agents are shown, and its CA where they read it, at `now`.
pub(super) fn certificate(
    from: &CertificateFrom,
    examined: &Result<Examined, Unread>,
    published: &Published,
    now: Time,
) -> Vec<Check> {
    let serving = serving(from, examined, now);
    let CertificateFrom::Secret { config_map: Some(map), .. } = from else { return vec![serving] };
    let trust = match published {
        Published::No => return vec![serving],
        Published::Yes => Check::ok(TRUST, format_args!("ConfigMap {map} has it")),
        Published::Otherwise => Check::failed(
            TRUST,
            format_args!(
                "ConfigMap {map} has another CA than the Secret, or none: agents will not trust the aggregator"
            ),
            "the aggregators write it within half a minute: look at their logs (certificates)",
        ),
        Published::Unread(failure) => unread(TRUST, "ConfigMap", map, failure),
    };
    vec![serving, trust]
}

fn serving(from: &CertificateFrom, examined: &Result<Examined, Unread>, now: Time) -> Check {
    let (place, names) = match from {
        CertificateFrom::Files { certificate, .. } => (certificate.display().to_string(), String::new()),
        CertificateFrom::Secret { name, dns_names, .. } => (format!("Secret {name}"), dns_names.join(", ")),
    };
    let examined = match examined {
        Ok(examined) => examined,
        Err(Unread::Secret(failure)) => {
            return unread(CERTIFICATE, "Secret", place.trim_start_matches("Secret "), failure);
        }
        Err(Unread::Files(why)) => {
            return Check::failed(CERTIFICATE, why, "see --tls-cert and --tls-key in --help");
        }
    };
    let renew = "who makes it should have renewed it: the aggregators' logs say why not (certificates), or look at whoever \
                 keeps a certificate of your own";
    let Some(serving_ends) = examined.serving_ends else {
        let seen = match examined.is_empty {
            true => format!("{place} is empty"),
            false => {
                format!("{place} holds nothing that agents would accept now: it has ended, or key or CA do not fit")
            }
        };
        return Check::failed(CERTIFICATE, seen, renew);
    };
    if !examined.has_names {
        let advice = format_args!("make it for {names}");
        return Check::failed(CERTIFICATE, format_args!("{place} is not for the names that agents use"), advice);
    }
    let ends = examined.authority_ends.map_or(serving_ends, |authority| authority.min(serving_ends));
    let left = ends.since(now);
    if left < ENDS_SOON {
        let hours = left.as_secs() / 3600;
        return Check::warning(CERTIFICATE, format_args!("{place} ends in {hours} h, at {ends}"), renew);
    }
    Check::ok(CERTIFICATE, format_args!("{place} is good until {ends}"))
}

fn unread(check: &str, kind: &str, name: &str, failure: &Failure) -> Check {
    let seen = format!("the {kind} {name} cannot be read: {}", shown(&failure.to_string()));
    let advice = match failure {
        Failure::NotFound => "create it without data, as the chart does; one of your own, as cert-manager does",
        Failure::Forbidden(_) => "the ServiceAccount's Role needs get on it by name",
        _ => "see the check of the API server",
    };
    Check::failed(check, seen, advice)
}

/// The proxy to each sink, if there is one. Of the variables by which other programs find a proxy, these are `set`.
pub(super) fn proxy(ways: &[(&str, Option<Via>)], set: &[&str]) -> Check {
    let name = "proxy";
    if ways.iter().any(|(_, via)| via.is_some()) {
        let way = |(sink, via): &(&str, Option<Via>)| match via {
            Some(via) => format!("sink {sink} is reached through {via}"),
            None => format!("sink {sink} directly"),
        };
        return Check::ok(name, ways.iter().map(way).collect::<Vec<_>>().join(", "));
    }
    if set.is_empty() {
        return Check::not_applicable(name, "none: sinks are reached directly");
    }
    Check::warning(
        name,
        format_args!("{} is set and not followed: sinks are reached directly", set.join(", ")),
        "name the proxy in proxy.http and proxy.https, or take the variable away",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Outcome::{self, Failed, NotApplicable, Ok as Well, Warning};
    use super::*;
    use crate::certificates::Origin;
    use crate::ingest::identity::Refusal;

    const NOW: Time = Time::from_millis(1_777_593_600_000); // 2026-05-01T00:00:00Z

    #[track_caller]
    fn is(check: &Check, outcome: Outcome, says: &str) {
        assert_eq!(check.outcome, outcome, "{check:?}");
        assert!(format!("{} => {}", check.seen, check.advice).contains(says), "{check:?}");
        assert_eq!(check.advice.is_empty(), matches!(outcome, Well | NotApplicable), "{check:?}");
    }

    #[test]
    fn a_configuration_is_read_or_all_that_is_wrong_is_said() {
        let path = Path::new("/etc/c.yaml");
        let config = Config::parse("clusterName: here\nsinks: {a: {type: stdout}, b: {type: stdout}}", "tocsin");
        let read = configuration(path, &config.map_err(|problems| problems.to_string()));
        is(&read, Well, "/etc/c.yaml: cluster here, sinks a, b");
        is(&configuration(path, &Err("line 1\nline 2".into())), Failed, "line 1 line 2 => correct it");
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        is(&files(Ok(())), Well, "can be read");
        is(&files(Err("sinks.x.tokenFile: cannot read /t".into())), Failed, "cannot read /t => put it right");
    }

    #[test]
    fn an_api_server_answers_and_knows_who_asks() {
        is(&api_server(&Ok(())), Well, "it answers");
        is(&api_server(&Err(Unasked::Options("no file".into()))), Failed, "no file => see --kubeconfig");
        is(
            &api_server(&Err(Unasked::Unreachable("refused".into()))),
            Failed,
            "no answer: refused => in a cluster, a Netw",
        );
        is(&api_server(&Err(Unasked::Unknown("401".into()))), Failed, "not know who asks: 401 => the ServiceAccount's");
    }

    #[test]
    fn a_clock_that_is_off_is_noted_and_one_that_is_far_off_is_wrong() {
        is(&clock(0), Well, "0 s ahead of");
        is(&clock(-4_999), Well, "4 s behind");
        is(&clock(5_000), Warning, "5 s ahead of the API server's => synchronise");
        is(&clock(-299_999), Warning, "299 s behind");
        is(&clock(300_000), Failed, "300 s ahead of");
        is(&clock(i64::MIN), Failed, "behind");
    }

    #[test]
    fn a_token_that_is_none_must_be_refused() {
        is(&token_review(&Admission::Refused(Refusal::NoToken)), Well, "who an agent is");
        is(&token_review(&Admission::Unavailable("403".into())), Failed, "403 => agents cannot be let in");
        is(&token_review(&Admission::Admitted("node-1".into())), Failed, "for the agent of node-1");
    }

    fn kept() -> CertificateFrom {
        CertificateFrom::Secret {
            name: "s".into(),
            origin: Origin::Made,
            config_map: Some("m".into()),
            dns_names: vec!["a.b.svc".into()],
        }
    }

    fn good() -> Examined {
        let days = |days: u64| Some(NOW + Duration::from_hours(24 * days));
        Examined { is_empty: false, serving_ends: days(60), has_names: true, authority_ends: days(3000) }
    }

    #[test]
    fn a_certificate_is_there_fits_and_does_not_end_soon() {
        let check = |examined| certificate(&kept(), &examined, &Published::Yes, NOW).remove(0);
        is(&check(Ok(good())), Well, "Secret s is good until 2026-06-30T");
        is(&check(Ok(Examined { is_empty: true, serving_ends: None, ..good() })), Failed, "Secret s is empty");
        is(&check(Ok(Examined { serving_ends: None, ..good() })), Failed, "holds nothing that agents would accept");
        is(&check(Ok(Examined { has_names: false, ..good() })), Failed, "=> make it for a.b.svc");
        let soon = Some(NOW + Duration::from_hours(167));
        is(&check(Ok(Examined { serving_ends: soon, ..good() })), Warning, "ends in 167 h, at 2026-05-07T23");
        is(&check(Ok(Examined { authority_ends: soon, ..good() })), Warning, "ends in 167 h");
        is(
            &check(Err(Unread::Secret(Failure::NotFound))),
            Failed,
            "Secret s cannot be read: it does not exist => create",
        );
        let forbidden = Unread::Secret(Failure::Forbidden("403".into()));
        is(&check(Err(forbidden)), Failed, "=> the ServiceAccount's Role needs get on it by name");
        let files = CertificateFrom::Files { certificate: "/a".into(), key: "/b".into() };
        let of_files = certificate(&files, &Err(Unread::Files("/a: cannot be read".into())), &Published::No, NOW);
        is(&of_files[0], Failed, "/a: cannot be read => see --tls-cert");
        assert_eq!(of_files.len(), 1);
    }

    #[test]
    fn agents_find_the_ca_in_the_config_map() {
        let check = |published| certificate(&kept(), &Ok(good()), &published, NOW).remove(1);
        is(&check(Published::Yes), Well, "ConfigMap m has it");
        is(&check(Published::Otherwise), Failed, "another CA than the Secret");
        is(&check(Published::Unread(Failure::NotFound)), Failed, "the ConfigMap m cannot be read: it does not exist");
    }

    #[test]
    fn the_proxy_is_named_and_one_that_is_not_followed_too() {
        let direct = [("team", None)];
        is(&proxy(&direct, &[]), NotApplicable, "directly");
        let said = "HTTPS_PROXY, http_proxy is set and not followed: sinks are reached directly => name the proxy in proxy.http";
        is(&proxy(&direct, &["HTTPS_PROXY", "http_proxy"]), Warning, said);
        let via = Via { address: "http://proxy.example:3128/".parse().expect("an address"), credentials: None };
        let said = "sink in is reached through http://proxy.example:3128, sink team directly";
        is(&proxy(&[("in", Some(via)), ("team", None)], &["HTTPS_PROXY"]), Well, said);
    }
}
