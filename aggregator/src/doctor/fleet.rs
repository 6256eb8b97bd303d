//! Who leads, and what the one that leads says of its agents and of itself. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use process::objects::Failure;
use rules::Time;
use rules::time::write_span;

use super::Check;
use crate::config::Coverage;
use crate::forward::text::shown;
use crate::leader::election::{LEASE, Record};

/// What a page of metrics says, as far as it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// `tocsin_leader`.
    pub(super) leads: Option<u64>,
    /// `tocsin_agents_expected`.
    pub(super) expected: Option<u64>,
    /// `tocsin_agents_connected`.
    pub(super) connected: Option<u64>,
    /// `tocsin_config_in_force`.
    pub(super) in_force: Option<u64>,
    /// `tocsin_told_log_unwritten_sends_total`.
    pub(super) unwritten: Option<u64>,
}

const LEADER: &str = "leader";
const AGENTS: &str = "agents";
const IN_FORCE: &str = "configuration in force";
const TOLD_LOG: &str = "told-log";

impl Figures {
    /// Reads a page in the text format of Prometheus or OpenMetrics; an error is which figure is none.
    pub(super) fn read(page: &str) -> Result<Self, String> {
        let value = |name: &str| {
            let said = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next());
            said.map(str::parse).transpose().map_err(|_| format!("{name} is no whole number"))
        };
        Ok(Self {
            leads: value("tocsin_leader")?,
            expected: value("tocsin_agents_expected")?,
            connected: value("tocsin_agents_connected")?,
            in_force: value("tocsin_config_in_force")?,
            unwritten: value("tocsin_told_log_unwritten_sends_total")?,
        })
    }
}

/// Who leads by the Lease `name`, as it was read at `now`, and where; an error says why that is not known.
pub(super) fn lease(name: &str, read: &Result<Record, Failure>, now: Time) -> Result<(Check, SocketAddr), Check> {
    let look = "look at the aggregators' pods and their logs; the first of an installation leads after 15 s";
    let record = match read {
        Ok(record) => record,
        Err(Failure::NotFound) => {
            return Err(Check::failed(LEADER, format_args!("there is no Lease {name}: nobody has led yet"), look));
        }
        Err(failure) => {
            let seen = format_args!("the Lease {name} cannot be read: {}", shown(&failure.to_string()));
            return Err(Check::failed(LEADER, seen, "see the checks of the API server and of rights"));
        }
    };
    let Record { holder, address, renewed, .. } = record;
    if holder.is_empty() {
        return Err(Check::failed(LEADER, format_args!("nobody leads: the Lease {name} was given up"), look));
    }
    let holder = shown(holder);
    let Some(renewed) = Time::parse(renewed) else {
        let seen = format_args!("the Lease {name} of {holder} does not say when it was renewed");
        return Err(Check::failed(LEADER, seen, look));
    };
    let age = Duration::from_secs(now.since(renewed).as_secs());
    if age > LEASE {
        let seen = format_args!("nobody leads: {holder} has not renewed the Lease {name} for {}", write_span(age));
        return Err(Check::failed(LEADER, seen, look));
    }
    let Ok(at) = address.parse() else {
        let advice = "who has written it? The aggregators of this release say there where they hear agents";
        return Err(Check::failed(LEADER, format_args!("the Lease {name} of {holder} says no address"), advice));
    };
    Ok((Check::ok(LEADER, format_args!("{holder} at {at}, renewed {} ago", write_span(age))), at))
}

/// What the one that leads says, whose figures are at `url`; an error is why it does not.
pub(super) fn figures(url: &str, said: &Result<Figures, String>, coverage: &Coverage) -> Vec<Check> {
    let figures = match said {
        Ok(figures) => figures,
        Err(why) => {
            let advice = "a NetworkPolicy may be in the way, or --metrics-listen names another port than the leader's";
            return vec![
                Check::failed(AGENTS, format_args!("{url} cannot be read: {}", shown(why)), advice),
                Check::not_applicable(IN_FORCE, "the leader's figures cannot be read"),
                Check::not_applicable(TOLD_LOG, "the leader's figures cannot be read"),
            ];
        }
    };
    let in_force = match figures.in_force {
        Some(1) => Check::ok(IN_FORCE, "the leader goes by what its file says"),
        Some(_) => Check::failed(
            IN_FORCE,
            "the leader goes by an earlier configuration, as it has rejected what its file says",
            "its log names what is wrong (config_rejected), and so does the check of the configuration",
        ),
        None => Check::failed(IN_FORCE, format_args!("{url} does not say"), "is that an aggregator of this release?"),
    };
    let told_log = match figures.unwritten {
        Some(0) => Check::ok(TOLD_LOG, "all that was told stands in it"),
        Some(unwritten) => Check::warning(
            TOLD_LOG,
            format_args!("{unwritten} batches have left before they stood in it: a successor may tell them again"),
            "the leader's log says why (told_log); see the checks of rights and of the API server, too",
        ),
        None => Check::not_applicable(TOLD_LOG, "what was told is kept in memory, or nobody leads"),
    };
    vec![agents(url, figures, coverage), in_force, told_log]
}

fn agents(url: &str, figures: &Figures, coverage: &Coverage) -> Check {
    let advice = "look at the node-agents that are not ready: kubectl get pods -o wide, and their logs; after some minutes \
                  an issue AgentSilent names the node";
    match (figures.leads, figures.expected, figures.connected) {
        (Some(1), ..) if *coverage != Coverage::Agents => {
            Check::not_applicable(AGENTS, "there are none: the aggregator watches pods itself")
        }
        (Some(1), Some(0), _) => Check::warning(
            AGENTS,
            "none is expected: no pod of their DaemonSet is on a node",
            "where there should be agents, look at the DaemonSet, its selectors and its events",
        ),
        (Some(1), Some(expected), Some(connected)) if expected == connected => {
            Check::ok(AGENTS, format_args!("{connected} of {expected} are connected"))
        }
        (Some(1), Some(expected), Some(connected)) => {
            Check::failed(AGENTS, format_args!("{connected} of {expected} are connected"), advice)
        }
        _ => Check::failed(
            AGENTS,
            format_args!("the aggregator at {url} does not lead, or has only just begun to"),
            "try again in a minute; then look at its log",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome::{Failed, NotApplicable, Ok as Well, Warning};
    use super::*;

    fn now() -> Time {
        Time::parse("2026-05-01T00:00:20.5Z").expect("a time")
    }

    fn held(holder: &str, address: &str, renewed: &str) -> Record {
        let (holder, address, renewed) = (holder.into(), address.into(), renewed.into());
        Record { holder, address, renewed, ..Record::default() }
    }

    #[test]
    fn a_leader_is_one_that_has_renewed_in_time() {
        let (holder, address) = ("pod-a_1", "10.0.0.7:8443");
        for (read, outcome, seen) in [
            (Ok(held(holder, address, "2026-05-01T00:00:05.5Z")), Well, "pod-a_1 at 10.0.0.7:8443, renewed 15s ago"),
            (Ok(held(holder, address, "2026-05-01T00:00:30Z")), Well, "pod-a_1 at 10.0.0.7:8443, renewed 0s ago"),
            (
                Ok(held(holder, address, "2026-05-01T00:00:04.5Z")),
                Failed,
                "nobody leads: pod-a_1 has not renewed the Lease l for 16s",
            ),
            (Ok(held(holder, address, "")), Failed, "the Lease l of pod-a_1 does not say when it was renewed"),
            (Ok(held("", "", "2026-05-01T00:00:20Z")), Failed, "nobody leads: the Lease l was given up"),
            (Ok(held("x\u{202e}\ny", "", "2026-05-01T00:00:20Z")), Failed, "the Lease l of x y says no address"),
            (Ok(held("y", "a host:1", "2026-05-01T00:00:20Z")), Failed, "the Lease l of y says no address"),
            (Err(Failure::NotFound), Failed, "there is no Lease l: nobody has led yet"),
            (Err(Failure::Forbidden("403: no".into())), Failed, "the Lease l cannot be read: not allowed: 403: no"),
        ] {
            let check = match lease("l", &read, now()) {
                Ok((check, at)) => {
                    assert_eq!(at.to_string(), address);
                    check
                }
                Err(check) => check,
            };
            assert_eq!((check.outcome, &*check.seen), (outcome, seen));
            assert_eq!(check.advice.is_empty(), outcome == Well, "{check:?}");
        }
    }

    #[test]
    fn what_is_asked_of_a_page_is_read_and_nothing_else() {
        let page = "# HELP tocsin_leader x\ntocsin_leader 1\ntocsin_agents_expected_more 7\ntocsin_agents_expected 3 1700\n\
                    tocsin_config_in_force{a=\"b\"} 1\n\
                    tocsin_told_log_unwritten_sends_total 2\n# EOF\n";
        let read = Figures { leads: Some(1), expected: Some(3), unwritten: Some(2), ..Figures::default() };
        assert_eq!(Figures::read(page), Ok(read));
        assert_eq!(Figures::read(""), Ok(Figures::default()));
        let error = Figures::read("tocsin_told_log_unwritten_sends_total NaN\n").expect_err("no number");
        assert_eq!(error, "tocsin_told_log_unwritten_sends_total is no whole number");
    }

    #[test]
    fn the_leader_has_all_its_agents_its_configuration_and_its_told_log() {
        let whole =
            Figures { leads: Some(1), expected: Some(3), connected: Some(3), in_force: Some(1), unwritten: Some(0) };
        let outcomes = |figures: Figures| {
            let checks = figures_of(&Ok(figures));
            for check in &checks {
                let is_well = matches!(check.outcome, Well | NotApplicable);
                assert_eq!(check.advice.is_empty(), is_well, "{check:?}");
            }
            <[_; 3]>::try_from(checks.iter().map(|check| check.outcome).collect::<Vec<_>>()).expect("three")
        };
        assert_eq!(outcomes(whole), [Well, Well, Well]);
        assert_eq!(outcomes(Figures { connected: Some(2), ..whole }), [Failed, Well, Well]);
        assert_eq!(outcomes(Figures { expected: Some(0), connected: Some(0), ..whole }), [Warning, Well, Well]);
        assert_eq!(outcomes(Figures { leads: Some(0), ..whole }), [Failed, Well, Well]);
        assert_eq!(outcomes(Figures { in_force: Some(0), ..whole }), [Well, Failed, Well]);
        assert_eq!(outcomes(Figures { unwritten: Some(4), ..whole }), [Well, Well, Warning]);
        let alone = figures("http://x/metrics", &Ok(Figures { expected: Some(0), ..whole }), &Coverage::Cluster);
        assert_eq!((alone[0].outcome, &*alone[0].name), (NotApplicable, "agents"));
        assert_eq!(outcomes(Figures::default()), [Failed, Failed, NotApplicable]);
        let unread = figures_of(&Err("refused\x1b".into()));
        assert_eq!(
            unread.iter().map(|check| check.outcome).collect::<Vec<_>>(),
            [Failed, NotApplicable, NotApplicable]
        );
        assert_eq!(unread[0].seen, "http://x/metrics cannot be read: refused");
    }

    fn figures_of(said: &Result<Figures, String>) -> Vec<Check> {
        figures("http://x/metrics", said, &Coverage::Agents)
    }
}
