//! What a scrape says.

use std::time::Duration;

use process::{Clock, Mark};
use prometheus_client::encoding::text::encode;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rules::{Evidence, Finding, FindingId, Incarnation, Owner, Seen, State, Subject, Time};
use wire::Epoch;

use super::*;
use crate::leader::election::Role;
use crate::observe::fleet::Strength;
use crate::settings::{Settings, SinkSettings};

fn scrape(core: &Arc<Core>, shown: Shown) -> String {
    scrape_with(core, shown, Written::of_memory(core.clock().clone()))
}

fn scrape_with(core: &Arc<Core>, shown: Shown, told: Written) -> String {
    let (metrics, registry) = Metrics::new(Arc::default(), Arc::default());
    metrics.stand(Standing {
        leadership: Leadership::alone(core.clock().clone()),
        ingest: Counts::default(),
        tls: tls(),
    });
    metrics.lead(Leading {
        core: Arc::clone(core),
        observed: watch::channel(shown).1,
        attempts: Attempts::default(),
        told,
    });
    text_of(&registry)
}

/// Its certificate is valid until the year 2100.
fn tls() -> Arc<ServerTls> {
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(2100, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    Arc::new(ServerTls::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes()).expect("a server"))
}

fn text_of(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).expect("written");
    text
}

/// The value of the one line that begins with `series`.
fn value(text: &str, series: &str) -> u64 {
    let mut found = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = found.next().unwrap_or_else(|| panic!("no {series} in\n{text}"));
    assert_eq!(found.next(), None, "{series} is there once");
    value.parse().expect("a number")
}

fn finding(kind: &str, pod: &str, severity: Severity) -> Finding {
    let kind = Kind::named(kind).expect("it is in the catalogue");
    let subject = Subject { namespace: "shop".into(), pod: pod.into(), uid: pod.into(), ..Subject::default() };
    Finding {
        id: FindingId::of(kind, &subject),
        kind,
        owner: Owner { kind: "Deployment".into(), name: pod.into() },
        subject,
        incarnation: Incarnation(1),
        state: State::Active,
        since: Time::from_millis(0),
        seen: Seen::Happening,
        severity,
        evidence: Evidence::default(),
    }
}

fn core() -> Arc<Core> {
    let clock = Clock::by_hand(Time::from_millis(1_000_000));
    let sinks = [(Arc::from("log"), SinkSettings::default())].into();
    let settings = Settings { sinks, ..Settings::default() };
    Arc::new(Core::new(Pipeline::new(settings, Epoch(1), 7, clock.now()), clock))
}

#[test]
fn the_books_can_be_checked_from_one_scrape() {
    let core = core();
    core.with(|pipeline, now| {
        let findings = vec![
            finding("Unschedulable", "a", Severity::Warning),
            finding("Unschedulable", "b", Severity::Critical),
            finding("Unschedulable", "c", Severity::Info),
        ];
        pipeline.on_own_findings(findings, now);
    });
    let text = scrape(&core, Shown::default());
    assert_eq!(value(&text, "tocsin_findings_observed_total"), 3);
    let decided = text.lines().filter_map(|line| line.strip_prefix("tocsin_findings{")?.split_once("} "));
    assert_eq!(decided.map(|(_, count)| count.parse::<u64>().expect("a number")).sum::<u64>(), 3, "{text}");
    assert_eq!(value(&text, "tocsin_findings{decision=\"queued\",state=\"pending\"}"), 2);
    assert_eq!(value(&text, "tocsin_findings{decision=\"unrouted\",state=\"final\"}"), 1);
    assert_eq!(value(&text, "tocsin_findings{decision=\"inhibited\",state=\"final\"}"), 0);
    assert_eq!(value(&text, "tocsin_findings{decision=\"inhibited\",state=\"pending\"}"), 0);
    assert_eq!(value(&text, "tocsin_issues_open{kind=\"Unschedulable\",severity=\"critical\"}"), 1);
    assert_eq!(value(&text, "tocsin_issues_open{kind=\"Unschedulable\",severity=\"info\"}"), 0, "nobody is told");
    assert_eq!(value(&text, "tocsin_issues_open{kind=\"NodeNotReady\",severity=\"critical\"}"), 0);
    assert_eq!(value(&text, "tocsin_sink_queued{sink=\"log\"}"), 2);
    assert_eq!(value(&text, "tocsin_sink_health{sink=\"log\",health=\"working\"}"), 1);
    assert_eq!(value(&text, "tocsin_sink_health{sink=\"log\",health=\"failing\"}"), 0);
}

#[test]
fn agents_watches_and_the_configuration_are_shown() {
    let core = core();
    core.clock().advance(Duration::from_secs(90));
    let strength = Strength { expected: 5, connected: 3, silent: 2 };
    let watches =
        ["unscheduled_pods", "nodes", "agent_pods"].map(|name| (name.into(), process::watch::Health::default()));
    let text = scrape(&core, Shown { strength, uncovered: 7, shed: 4, watches: watches.into() });
    assert_eq!(value(&text, "tocsin_agents_expected"), 5);
    assert_eq!(value(&text, "tocsin_agents_connected"), 3);
    assert_eq!(value(&text, "tocsin_agents_silent"), 2);
    assert_eq!(value(&text, "tocsin_agents_uncovered"), 7);
    assert_eq!(value(&text, "tocsin_findings_without_room{observer=\"aggregator\"}"), 4);
    assert_eq!(value(&text, "tocsin_watch_live{watch=\"nodes\"}"), 0);
    assert_eq!(value(&text, "tocsin_watch_silent_seconds{watch=\"nodes\"}"), 90);
    assert_eq!(value(&text, "tocsin_watch_lists_total{watch=\"agent_pods\"}"), 0);
    assert_eq!(value(&text, "tocsin_config_reload_failures_total"), 0);
    assert_eq!(value(&text, "tocsin_config_in_force"), 1);
    assert_eq!(value(&text, "tocsin_resyncing"), 1);
    assert_eq!(
        value(&text, "tocsin_certificate_expiry_timestamp_seconds{certificate=\"serving\"}"),
        4_102_444_800,
        "2100-01-01"
    );
    assert!(text.contains(&format!("tocsin_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn watches_of_single_namespaces_are_shown_as_one_and_their_names_are_no_labels() {
    let watches = ["pods/shop", "pods/bank", "nodes"].map(|name| (name.into(), Health::default()));
    let text = scrape(&core(), Shown { watches: watches.into(), ..Shown::default() });
    for figure in ["live", "silent_seconds", "lists_total", "opened_total", "failures_total", "skipped_total"] {
        assert_eq!(value(&text, &format!("tocsin_watch_{figure}{{watch=\"pods\"}}")), 0);
    }
    assert!(!text.contains("shop") && !text.contains("bank"), "{text}");
}

#[test]
fn the_told_log_is_shown_where_there_is_one() {
    let core = core();
    assert!(!scrape(&core, Shown::default()).contains("told_log"), "in memory nothing is written");
    let (_, told) = Written::scripted(core.clock().clone());
    told.counts().expect("it is kept").unwritten.inc();
    let text = scrape_with(&core, Shown::default(), told);
    assert_eq!(value(&text, "tocsin_told_log_writes_total{object=\"journal\",outcome=\"written\"}"), 0);
    assert_eq!(value(&text, "tocsin_told_log_writes_total{object=\"snapshot\",outcome=\"conflict\"}"), 0);
    assert_eq!(value(&text, "tocsin_told_log_unwritten_sends_total"), 1);
    assert_eq!(value(&text, "tocsin_told_log_left_out_total"), 0);
}

#[test]
fn a_standby_shows_that_it_does_not_lead_and_nothing_of_what_it_does_not_know() {
    let clock = Clock::by_hand(Time::from_millis(1_000_000));
    let (metrics, registry) = Metrics::new(Arc::default(), Arc::default());
    let standing_by = Role::StandingBy { leader: "other".into(), address: "".into() };
    let (script, leadership) = Leadership::scripted(standing_by, clock.clone());
    metrics.stand(Standing { leadership, ingest: Counts::default(), tls: tls() });
    let text = text_of(&registry);
    assert_eq!((value(&text, "tocsin_leader"), value(&text, "tocsin_config_in_force")), (0, 1));
    assert!(!text.contains("tocsin_findings"), "{text}");
    script.send_replace(Role::Leading { send_until: Mark::from_start(Duration::from_secs(10)) });
    assert_eq!(value(&text_of(&registry), "tocsin_leader"), 1);
    clock.advance(Duration::from_secs(10));
    assert_eq!(value(&text_of(&registry), "tocsin_leader"), 0, "it has not renewed");
}

#[test]
fn before_there_are_figures_the_build_the_certificate_and_the_configuration_are_shown() {
    let (_, registry) = Metrics::new(Arc::default(), Arc::default());
    let text = text_of(&registry);
    assert!(text.contains("tocsin_build_info{"));
    assert_eq!(value(&text, "tocsin_certificate_failures_total{reason=\"forbidden\"}"), 0);
    assert_eq!(value(&text, "tocsin_certificate_renewals_total{wrote=\"serving\"}"), 0);
    assert_eq!((value(&text, "tocsin_config_in_force"), value(&text, "tocsin_config_reload_failures_total")), (1, 0));
}
