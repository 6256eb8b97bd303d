//! Configuration files, good and bad, and what is said of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rules::{Kind, Nature, Severity, SystemNamespaces};

use super::raw::RawConfig;
use super::*;

fn parse(text: &str) -> Config {
    Config::parse(text, "tocsin").unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The problems of a file that is right but for `text`.
#[track_caller]
fn check(text: &str, problems: &str) {
    let found = Config::parse(&format!("clusterName: prod\n{text}"), "tocsin").expect_err(text).to_string();
    assert_eq!(found, problems, "{text}");
}

#[test]
fn with_nothing_but_a_name_everything_has_a_default_and_issues_go_to_standard_output() {
    let config = parse("clusterName: prod-eu-1 # nothing else");
    assert_eq!(config.settings.cluster.name, "prod-eu-1");
    assert_eq!(*config.settings.rules, rules::Config::default());
    assert_eq!(config.settings.heartbeat, Duration::from_secs(30));
    assert_eq!(config.agents.service_account.namespace.as_ref(), "tocsin");
    assert_eq!(config.agents.service_account.name.as_ref(), "tocsin-node-agent");
    assert_eq!(config.targets.values().collect::<Vec<_>>(), [&SinkTarget::Stdout]);
    assert!(config.told_on_stdout_only);
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let config = parse(
        r#"
clusterName: prod
extraLabels: { team: platform, region: eu }
runbookBaseUrl: https://wiki.example.com/runbooks//
watchNamespaces: ["team-*", payments]
excludeNamespaces: [team-test]
systemNamespaces: off
rules:
  CrashLoopBackOff: { enabled: false, severity: Warning, sustain: 90s, hold: 1h30m }
agents:
  heartbeat: 10s
  session: 2h
  resync: 0s
  serviceAccount: a/b
  audience: tocsin.example.com
  daemonSet: c/d
  podSelector: app=tocsin,component in (agent)
sinks:
  collector:
    type: ingest
    url: https://collector.example.com/v1/issues
    tokenFile: /etc/tocsin/token
    caFile: /etc/tocsin/ca.pem
    minSeverity: info
    required: false
    ratePerMinute: 0
    batch: 50
    timeout: 20s
  hook: { type: webhook, url: "http://hooks.example.com" }
  log: { type: stdout, minSeverity: critical }
"#,
    );
    let Config { settings, targets, coverage, agents, agent_selector, told_on_stdout_only } = config;
    assert_eq!(coverage, Coverage::Agents);
    assert!(!told_on_stdout_only);
    assert_eq!(settings.cluster.labels["team"], "platform");
    assert_eq!(settings.runbooks.as_deref(), Some("https://wiki.example.com/runbooks"));
    assert_eq!(settings.rules.scope.watch, ["team-*", "payments"]);
    assert_eq!(settings.rules.scope.exclude, ["team-test"]);
    assert_eq!(settings.rules.scope.system, SystemNamespaces::Off);
    let rule = &settings.rules.kinds["CrashLoopBackOff"];
    assert_eq!((rule.enabled, rule.severity), (false, Severity::Warning));
    assert_eq!((rule.sustain, rule.hold), (Duration::from_secs(90), Duration::from_mins(90)));
    assert_eq!((settings.heartbeat, settings.session_lasts), (Duration::from_secs(10), Duration::from_hours(2)));
    assert_eq!(settings.resync_window, Duration::ZERO);
    assert_eq!((&*agents.service_account.name, &*agents.daemon_set.namespace), ("b", "c"));
    assert_eq!(&*agents.audience, "tocsin.example.com");
    assert_eq!(agent_selector.as_deref(), Some("app=tocsin,component in (agent)"));
    let sink = &settings.sinks["collector"];
    assert_eq!((sink.min_severity, sink.required), (Severity::Info, false));
    assert_eq!((sink.rate_per_minute, sink.batch_max), (None, 50));
    let SinkTarget::Ingest(target) = &targets["collector"] else { panic!("an ingest sink") };
    let url = "https://collector.example.com/v1/issues".parse().expect("a URL");
    assert_eq!(target.address, Address::Written(url));
    assert_eq!(target.token_file.as_deref(), Some(Path::new("/etc/tocsin/token")));
    assert_eq!(target.ca_file.as_deref(), Some(Path::new("/etc/tocsin/ca.pem")));
    assert_eq!(target.timeout, Duration::from_secs(20));
    assert!(matches!(targets["hook"], SinkTarget::Webhook(_)));
    assert_eq!(settings.sinks["hook"].batch_max, 1);
    assert_eq!(settings.sinks["log"].min_severity, Severity::Critical);
    assert_eq!(targets["log"], SinkTarget::Stdout);
}

#[test]
fn what_happens_at_a_moment_has_no_sustain() {
    for kind in Kind::all() {
        let yaml = format!("rules: {{ {kind}: {{ sustain: 1m, hold: 1m }} }}");
        match kind.row().nature {
            Nature::Level => drop(parse(&format!("clusterName: c\n{yaml}"))),
            Nature::Edge => {
                let problem = "means nothing to a kind that happens at a moment and is told at once: leave it out";
                check(&yaml, &format!("rules.{}.sustain: {problem}", kind.name()));
            }
        }
    }
}

#[test]
fn an_unknown_key_names_the_nearest() {
    check("agents: { hartbeat: 30s }", "agents.hartbeat: unknown key, did you mean heartbeat?");
    check("watch_namespaces: [a]", "watch_namespaces: unknown key, did you mean watchNamespaces?");
    check("sinks: { c: { type: stdout, token: abc } }", "sinks.c.token: unknown key, did you mean tokenFile?");
    check("rules: { CrashLoop: {} }", "rules.CrashLoop: unknown kind, did you mean CrashLoopBackOff?");
    check("rules: { ImagePull: { sustian: 1m } }", "rules.ImagePull.sustian: unknown key, did you mean sustain?");
    check(
        "zzz: 1",
        "zzz: unknown key; there are agents, clusterName, excludeNamespaces, extraLabels, proxy, \
         restrictToNamespaces, rules, runbookBaseUrl, sinks, systemNamespaces, watchNamespaces",
    );
}

#[test]
fn a_wrong_value_says_what_was_expected_and_what_was_found() {
    check(
        "agents: { heartbeat: 30 }",
        "agents.heartbeat: expected a duration with its unit, for example 30s, 5m or 1h, found the number 30",
    );
    check(
        "agents: { heartbeat: 30 s }",
        "agents.heartbeat: expected a duration with its unit, for example 30s, 5m or 1h, found \"30 s\"",
    );
    check("agents: [a]", "agents: expected keys with values, found a list");
    check(
        "agents: { serviceAccount: agent }",
        "agents.serviceAccount: expected namespace/name, for example tocsin/tocsin-node-agent, found \"agent\"",
    );
    check(
        "agents: { podSelector: \"a=b&limit=1\" }",
        "agents.podSelector: expected a label selector, for example app.kubernetes.io/component=node-agent, found \
         \"a=b&limit=1\"",
    );
    check(
        "watchNamespaces: payments",
        "watchNamespaces: expected a list of namespaces, for example [payments, \"team-*\"], found \"payments\"",
    );
    check(
        "watchNamespaces: [Payments]",
        "watchNamespaces: expected a list of namespaces, for example [payments, \"team-*\"], found \"Payments\" in it",
    );
    check("systemNamespaces: some", "systemNamespaces: expected one of critical, off, all, found \"some\"");
    check("rules: { OOMKilled: { enabled: on } }", "rules.OOMKilled.enabled: expected true or false, found \"on\"");
    check(
        "rules: { OOMKilled: { severity: 3 } }",
        "rules.OOMKilled.severity: expected one of critical, warning, info, found the number 3",
    );
    check(
        "extraLabels: { replicas: 3 }",
        "extraLabels.replicas: expected a text of at most 256 characters, for example platform, found the number 3",
    );
}

#[test]
fn without_agents_the_aggregator_watches_the_cluster_or_what_it_is_restricted_to() {
    let coverage = |text: &str| parse(&format!("clusterName: prod\n{text}")).coverage;
    for agents in ["", "agents: { enabled: true }", "restrictToNamespaces: []"] {
        assert_eq!(coverage(agents), Coverage::Agents, "{agents}");
    }
    assert_eq!(coverage("agents: { enabled: false }"), Coverage::Cluster);
    let restricted = coverage("agents: { enabled: false }\nrestrictToNamespaces: [shop, payments, shop]");
    assert_eq!(restricted, Coverage::Namespaces(["payments".into(), "shop".into()].into()));
    let problem = "agents need rights in the whole cluster: set agents.enabled to false, or leave it out";
    check("restrictToNamespaces: [shop]", &format!("restrictToNamespaces: {problem}"));
    check(
        "restrictToNamespaces: [\"team-*\"]",
        "restrictToNamespaces: expected a list of names of namespaces, for example [payments], found \"team-*\" in it",
    );
    let many: Vec<_> = (0..101).map(|number| format!("n{number}")).collect();
    check(
        &format!("restrictToNamespaces: [{}]", many.join(", ")),
        "restrictToNamespaces: at most 100 namespaces, found 101: watch the whole cluster",
    );
}

#[test]
fn every_number_has_bounds() {
    check("agents: { heartbeat: 2h }", "agents.heartbeat: must be from 1s to 150s, found 2h");
    check("agents: { session: 30s }", "agents.session: must be from 1m to 1d, found 30s");
    check("rules: { OOMKilled: { hold: 48h } }", "rules.OOMKilled.hold: must be from 0s to 1d, found 2d");
    let sink = |option: &str| format!("sinks: {{ c: {{ type: ingest, url: \"https://c\", {option} }} }}");
    check(&sink("batch: 0"), "sinks.c.batch: expected a whole number from 1 to 1000, found the number 0");
    check(&sink("batch: 1.5"), "sinks.c.batch: expected a whole number from 1 to 1000, found the number 1.5");
    check(
        &sink("ratePerMinute: -1"),
        "sinks.c.ratePerMinute: expected a whole number from 0 to 60000, found the number -1",
    );
    check(&sink("timeout: 5m"), "sinks.c.timeout: must be from 1s to 1m, found 5m");
    let labels = (0..33).map(|n| format!("  l{n}: x")).collect::<Vec<_>>().join("\n");
    check(&format!("extraLabels:\n{labels}"), "extraLabels: at most 32 labels, found 33");
    let sinks = (0..17).map(|n| format!("  s{n}: {{ type: stdout }}")).collect::<Vec<_>>().join("\n");
    check(&format!("sinks:\n{sinks}"), "sinks: at most 16 sinks, found 17");
    let error = Config::parse(&" ".repeat(FILE_BYTES_MAX + 1), "tocsin").expect_err("too long").to_string();
    assert_eq!(error, "the file has 1048577 bytes, at most 1048576 are read");
}

#[test]
fn a_sink_must_say_what_it_is_and_where() {
    check("sinks: { c: {} }", "sinks.c.type: must be set: ingest, webhook or stdout");
    check("sinks: { c: { type: slack } }", "sinks.c.type: expected one of ingest, webhook, stdout, found \"slack\"");
    check(
        "sinks: { c: { type: ingest } }",
        "sinks.c.url: must be set to an address, for example https://collector.example.com/v1/issues, or urlFile to a file \
         that says it: there is no default",
    );
    check(
        "sinks: { c: { type: stdout, url: \"https://c\" } }",
        "sinks.c.url: means nothing to a sink of type stdout: leave it out",
    );
    check(
        "sinks: { c: { type: webhook, url: \"https://c\", batch: 5 } }",
        "sinks.c.batch: a webhook gets one record a request: leave it out",
    );
    check(
        "sinks: { c: { type: ingest, url: collector } }",
        "sinks.c.url: expected an address, for example https://collector.example.com/v1/issues: relative URL without a base",
    );
    check(
        "sinks: { c: { type: ingest, url: \"ftp://c\" } }",
        "sinks.c.url: expected an address, for example https://collector.example.com/v1/issues: it must begin with https:// \
         or http://",
    );
    check(
        "sinks: { c: { type: webhook, url: \"https://c\", urlFile: /u } }",
        "sinks.c.urlFile: url is set as well, and only one can be meant: leave one of them out",
    );
    check(
        "sinks: { c: { type: stdout, urlFile: /u } }",
        "sinks.c.urlFile: means nothing to a sink of type stdout: leave it out",
    );
    check(
        "sinks: { A_b: { type: stdout } }",
        "sinks: a sink's name is made of a-z, 0-9, - and ., for example collector, not \"A_b\"",
    );
}

#[test]
fn credentials_stay_out_of_addresses_and_off_the_open_wire() {
    check(
        "sinks: { c: { type: ingest, url: \"https://user:hunter2@c\" } }",
        "sinks.c.url: an address must not hold credentials: put a bearer token into a file and name it in tokenFile",
    );
    let sink = |url: &str| format!("sinks: {{ c: {{ type: webhook, url: \"{url}\", tokenFile: /t }} }}");
    check(
        &sink("http://c"),
        "sinks.c.url: a token is sent over https only: begin the address with https://, or leave tokenFile out",
    );
    for url in ["https://c", "http://127.0.0.1:80", "http://[::1]:80", "http://localhost"] {
        parse(&format!("clusterName: prod\n{}", sink(url)));
    }
}

#[test]
fn an_address_of_runbooks_that_no_kind_can_be_put_behind_says_what_to_write() {
    const EXPECTED: &str = "runbookBaseUrl: expected an address, for example https://wiki.example.com/runbooks";
    let why = "it begins with https:// or http://, and has no ? and no #, as the kind is put behind it";
    for wrong in ["ftp://wiki", "https://wiki?page=", "https://wiki/tocsin#"] {
        check(&format!("runbookBaseUrl: \"{wrong}\""), &format!("{EXPECTED}: {why}, found \"{wrong}\""));
    }
    check("runbookBaseUrl: wiki", &format!("{EXPECTED}: relative URL without a base, found \"wiki\""));
    check("runbookBaseUrl: 3", &format!("{EXPECTED}, found the number 3"));
    check(
        "runbookBaseUrl: https://me:hunter2@wiki",
        "runbookBaseUrl: an address must not hold credentials: it is in every message",
    );
    let path = |chars: usize| format!("https://wiki.example/{}/", "x".repeat(chars - 21));
    check(&format!("runbookBaseUrl: {}", path(501)), "runbookBaseUrl: has 501 characters, at most 500 may be");
    let config = parse(&format!("clusterName: c\nrunbookBaseUrl: {}", path(500)));
    assert_eq!(config.settings.runbooks.map(|base| base.len()), Some(500));
    for (given, base) in [("http://wiki", "http://wiki"), ("https://wiki/a//", "https://wiki/a")] {
        let config = parse(&format!("clusterName: c\nrunbookBaseUrl: {given}"));
        assert_eq!(config.settings.runbooks.as_deref(), Some(base));
    }
}

#[test]
fn a_proxy_is_of_every_sink_that_is_spoken_to_over_http() {
    let config = parse(
        "clusterName: prod\nproxy: { http: \"http://a:1\", https: \"https://b\", noProxy: \"c,10.0.0.0/8\", folder: /d }\n\
         sinks: { i: { type: ingest, url: \"https://i\" }, w: { type: webhook, url: \"https://w\" } }",
    );
    let proxy = Proxy {
        http: Some("http://a:1".parse().expect("a URL")),
        https: Some("https://b".parse().expect("a URL")),
        no_proxy: Some("c,10.0.0.0/8".to_owned()),
        folder: Some("/d".into()),
    };
    let (SinkTarget::Ingest(ingest), SinkTarget::Webhook(webhook)) = (&config.targets["i"], &config.targets["w"])
    else {
        panic!("{:?}", config.targets)
    };
    assert_eq!([&ingest.proxy, &webhook.proxy], [&proxy; 2]);
}

#[test]
fn an_address_of_a_proxy_that_cannot_be_one_says_what_to_write() {
    const EXPECTED: &str = "expected the address of a proxy, for example http://proxy.example.com:3128";
    let file =
        "an address must not hold credentials: put it into a file http or https, and name its folder in proxy.folder";
    check("proxy: { https: \"http://me:hunter2@proxy:3128\" }", &format!("proxy.https: {file}"));
    check("proxy: { http: \"http://me@proxy:3128\" }", &format!("proxy.http: {file}"));
    check(
        "proxy: { https: \"proxy:3128\" }",
        &format!("proxy.https: {EXPECTED}: it must begin with http:// or https://"),
    );
    check(
        "proxy: { noProxy: \"a,*.b\" }",
        "proxy.noProxy: entry 2 is no host, domain (.example.com), IP address or network (10.0.0.0/8): write it without \
         scheme, port and wildcards, or * alone for everything",
    );
    check(
        "proxy: { noProxy: [a] }",
        "proxy.noProxy: expected a text, for example .example.com,10.0.0.0/8, found a list",
    );
    check(
        "proxy: { folder: proxy }",
        "proxy.folder: expected the absolute path of a folder, for example /etc/tocsin/proxy, found \"proxy\"",
    );
    check("proxy: { no_proxy: a }", "proxy.no_proxy: unknown key, did you mean noProxy?");
}

#[test]
fn all_problems_are_named_at_once() {
    let problems = Config::parse("agents: { heartbeat: x }\nfoo: 1\nsinks: { c: { type: ingest } }", "tocsin")
        .expect_err("a wrong file")
        .to_string();
    assert_eq!(problems.lines().count(), 4, "{problems}");
}

#[test]
fn what_is_not_yaml_says_where() {
    let problem = |text: &str| Config::parse(text, "tocsin").expect_err(text).to_string();
    assert!(problem("clusterName: [").starts_with("not YAML: "), "{}", problem("clusterName: ["));
    let twice = problem("clusterName: a\nclusterName: b");
    assert_eq!(twice, "line 2: \"clusterName\" is there for the second time: leave one of them out");
    let empty = "clusterName: must not be empty: write a text, for example prod-eu-1";
    assert_eq!([problem("clusterName: \"\""), problem("clusterName: \"  \"")], [empty, empty]);
    assert_eq!(problem("").lines().count(), 1, "an empty file lacks the name only");
    assert_eq!(problem("# nothing"), problem(""));
    assert_eq!(
        problem("- a"),
        "expected keys with values, found a list\nclusterName: must be set: it is in every message, for example prod-eu-1"
    );
}

#[test]
fn a_null_is_as_if_it_were_not_there() {
    assert_eq!(parse("clusterName: prod\nsinks:\nagents: { heartbeat: ~ }"), parse("clusterName: prod"));
}

#[test]
fn every_kind_of_the_catalogue_can_be_configured_with_its_own_numbers() {
    for kind in Kind::all() {
        let numbers = kind.row().thresholds.iter().map(|(name, _)| format!(", {name}: 7")).collect::<Vec<_>>().concat();
        let config = parse(&format!("clusterName: prod\nrules: {{ {kind}: {{ enabled: true{numbers} }} }}"));
        let of_kind = config.settings.rules.of(kind).expect("it is on");
        assert!(of_kind.thresholds.values().all(|value| (*value - 7.0).abs() < f64::EPSILON), "{kind}");
    }
}

#[test]
fn the_example_shows_every_key() {
    let tree = serde_saphyr::from_str(include_str!("../../config.example.yaml")).expect("it is YAML");
    let problems = Problems::default();
    let shown = format!("{:#?}", RawConfig::read(tree, &problems));
    assert!(problems.is_empty(), "{problems}");
    let keys = |end: &str| -> BTreeSet<_> {
        // What is further in is of a value.
        let lines = shown.lines().filter(|line| !line.starts_with(&" ".repeat(16))).map(str::trim);
        lines.filter_map(|line| line.strip_suffix(end)).map(|line| line.trim_end_matches(':').to_owned()).collect()
    };
    let missing: Vec<_> = keys(": None,").difference(&keys(": Some(")).cloned().collect();
    assert!(missing.is_empty() && keys(": Some(").len() >= 20, "{missing:?}\n{shown}");
}

#[tokio::test]
async fn the_example_is_a_configuration() {
    let config = Config::parse(include_str!("../../config.example.yaml"), "tocsin").expect("as the README says");
    assert_eq!(config.settings.cluster.name, "prod-eu-1");
    assert_eq!(config.settings.rules.kinds["CrashLoopBackOff"].sustain, Duration::from_mins(2));
    assert_eq!(config.targets.len(), 4);
    let error = config.check_files().await.expect_err("there is no such file here");
    assert!(
        error.to_string().starts_with("sinks.chat: urlFile /etc/tocsin/chat/url cannot be read: No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn the_file_of_an_address_is_looked_at_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("url");
    let shown = path.display();
    let config = parse(&format!("clusterName: c\nsinks: {{a: {{type: webhook, urlFile: {shown}}}}}"));
    let error = config.check_files().await.expect_err("there is no file").to_string();
    assert_eq!(error, format!("sinks.a: urlFile {shown} cannot be read: No such file or directory (os error 2)"));
    std::fs::write(&path, "https://hooks.example.com/hunter2").expect("written");
    config.check_files().await.expect("a right file");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[tokio::test]
async fn what_is_in_the_files_of_a_token_and_of_certificates_is_looked_at_too() {
    let folder = tempfile::tempdir().expect("a folder");
    for (key, wrong, why) in [
        ("tokenFile", "\n", "is empty: write the token into it"),
        ("tokenFile", "a\nb", "holds characters that no token has: write the token alone into it, as one line"),
        ("caFile", "?", "holds no certificate: it must be PEM"),
        ("caFile", "-----BEGIN CERTIFICATE-----\nMIIBxQ==\n-----END CERTIFICATE-----\n", "holds no usable certificate"),
    ] {
        let path = folder.path().join(key);
        std::fs::write(&path, wrong).expect("written");
        let shown = path.display();
        let config =
            parse(&format!("clusterName: c\nsinks: {{a: {{type: webhook, url: 'https://a', {key}: {shown}}}}}"));
        let error = config.check_files().await.expect_err("it cannot be used").to_string();
        let error = error.replace(&format!("{shown} "), "");
        assert!(error.starts_with(&format!("sinks.a: {key} {why}")), "{error}");
    }
}

#[tokio::test]
async fn the_files_of_a_proxy_are_looked_at_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display();
    let text = format!("clusterName: c\nproxy: {{folder: {path}}}\nsinks: {{a: {{type: webhook, url: 'https://a'}}}}");
    let config = parse(&text);
    let error = config.check_files().await.expect_err("there is no file").to_string();
    let said = "none of http, https and noProxy is in it: give the Secret these keys";
    assert_eq!(error, format!("sinks.a: proxy.folder {path}: {said}"));
    std::fs::write(folder.path().join("https"), "http://me:hunter2@proxy:3128").expect("written");
    config.check_files().await.expect("right files");
}
