//! Wrong values: each is found when the chart is rendered, and the message says which and what to do. And missing ones.

use serde_json::{Value, json};
use tocsin_tests::chart;

use crate::installation::{config, notes, object, refused, release, rendered, with};

const HOOK: &str = "sinks.team.type=webhook";

#[test]
fn a_typo_fails_with_its_name() {
    for (set, key) in [
        ("clusterNam=x", "'clusterNam'"),
        ("aggregator.imgae.tag=1", "'imgae'"),
        ("nodeAgent.image.tga=1", "'tga'"),
        ("ingest.ulr=x", "'ulr'"),
        ("sinks.team.type=stdout,sinks.team.minSeverty=info", "'minSeverty'"),
        ("rules.CrashLoopBackOff.restart=1", "'restart'"),
        ("rbac.namespaceRestrictions.enabled=true", "'namespaceRestrictions'"),
        ("config.tokn=x", "'tokn'"),
        ("k8s_watch.batchsize=1", "'batchsize'"),
        ("networkPolicy.enable=true", "'enable'"),
    ] {
        refused(&with(&[set]), &["additional properties", key]);
    }
    rendered(&with(&["global.anything=x"]));
}

#[test]
fn a_value_of_the_wrong_form_fails_with_its_path() {
    for (set, path) in [
        ("ingest.minSeverity=high", "/ingest/minSeverity"),
        ("rules.CrashLoopBackOff.restarts=many", "/rules/CrashLoopBackOff/restarts"),
        ("watchNamespaces={Team_A}", "/watchNamespaces/0"),
        ("systemNamespaces=some", "/systemNamespaces"),
        ("aggregator.replicas=0", "/aggregator/replicas"),
        ("aggregator.image.digest=latest", "/aggregator/image/digest"),
        ("nameOverride=-x-", "/nameOverride"),
        ("commonLabels.team=a b", "/commonLabels/team"),
        ("nodeAgent.nodeSelector.disk=very fast", "/nodeAgent/nodeSelector/disk"),
        ("aggregator.extraEnv[0].name=A,aggregator.extraEnv[0].value=1", "/aggregator/extraEnv/0/value"),
        ("nodeAgent.extraEnv[0].nam=A", "/nodeAgent/extraEnv/0"),
        ("networkPolicy.apiServerPorts[0]=0", "/networkPolicy/apiServerPorts/0"),
        ("nodeAgent.resources.limit.memory=1Gi", "/nodeAgent/resources"),
        ("imagePullSecrets[0].nam=x", "/imagePullSecrets/0"),
    ] {
        refused(&with(&[set]), &[path]);
    }
}

#[test]
fn what_cannot_work_together_fails_with_the_fix() {
    for (sets, says) in [
        (
            &["global.imageRegistry=https://registry.example.com"][..],
            "global.imageRegistry: \"https://registry.example.com\" is no registry: write host, port and path without a scheme, for example registry.example.com:5000/mirror",
        ),
        (
            &["sinks.Team.type=stdout"],
            "sinks.Team: a sink cannot be called that: use a-z, 0-9 and -, a letter or a digit first and last, and at most",
        ),
        (
            &["metrics.prometheusRule.runbookUrl=wiki.example/runbook.md"],
            "metrics.prometheusRule.runbookUrl: there can be no such address: it begins with https:// or http://",
        ),
        (&["metrics.prometheusRule.runbookUrl=https://wiki/a#b"], "runbookUrl: there can be no such address:"),
        (&["logLevel=loud"], "logLevel: there is no level \"loud\": use error, warn, info, debug or trace"),
        (
            &["token=x", "existingSecret=y"],
            "token and existingSecret are both set, and only one can be meant: leave one of them out",
        ),
        (
            &["ingest.url=https://x.example"],
            "ingest.url needs a token: set existingSecret (or token), or use a sink that needs none",
        ),
        (
            &["ingest.url=http://x.example", "token=t"],
            "ingest.url: a token is sent over https only: begin the address with https://, or leave the token out",
        ),
        (
            &["ingest.url=https://x.example", "token=t", "sinks.ingest.type=stdout"],
            "sinks.ingest: the name is taken by ingest.url: choose another",
        ),
        (&["ingest.url=collector.example.com", "token=t"], "ingest.url: there can be no such address: it begins with"),
        (
            &["ingest.timeout=10"],
            "ingest.timeout: expected a duration with its unit, for example 30s, 5m or 1h, found 10",
        ),
        (
            &["rules.ImagePull.sustain=2 minutes"],
            "rules.ImagePull.sustain: expected a duration with its unit, for example 30s, 5m or 1h, found 2 minutes",
        ),
        (&["reporting.session="], "reporting.session: expected a duration with its unit, for example 30s"),
        (
            &["rules.CrashLoopBackof.sustain=1m"],
            "rules.CrashLoopBackof: there is no such kind: there are CrashLoopBackOff, ImagePull,",
        ),
        (&["rules.ImagePull.hold=25h"], "rules.ImagePull.hold must be from 0s to 24h, found 25h"),
        (&["reporting.heartbeat=10m"], "reporting.heartbeat must be from 1s to 150s, found 10m"),
        (&["reporting.session=30s"], "reporting.session must be from 1m to 24h, found 30s"),
        (
            &["rbac.namespaceRestriction.enabled=true"],
            "rbac.namespaceRestriction.namespaces must name at least one namespace, or set rbac.namespaceRestriction.enabled=false",
        ),
        (
            &[
                "rbac.namespaceRestriction.enabled=true",
                "rbac.namespaceRestriction.namespaces={a}",
                "watchNamespaces={b}",
            ],
            "watchNamespaces and rbac.namespaceRestriction are both set, and each says which namespaces are told: leave \
             watchNamespaces out, or set rbac.namespaceRestriction.enabled=false",
        ),
        (
            &["proxy.https=http://me:hunter2@proxy.example:3128"],
            "proxy.https must not hold credentials: put the address into the key https of a Secret, and name that in \
             proxy.existingSecret",
        ),
        (
            &["networkPolicy.enabled=true", "proxy.existingSecret=way"],
            "networkPolicy.enabled: the proxy's port is in proxy.existingSecret, where the policy cannot see it: set proxy.https",
        ),
        (
            &["fullnameOverride=Foo_Bar"],
            "fullnameOverride: objects cannot be called \"Foo_Bar\", as Services are not: use a-z, 0-9 and -, a letter first",
        ),
        (
            &["aggregator.podDisruptionBudget.maxUnavailable=foo"],
            "aggregator.podDisruptionBudget.maxUnavailable must be a number or a percentage, for example 1 or 50%, found foo",
        ),
        (&["aggregator.podDisruptionBudget.maxUnavailable=101%"], "a percentage, for example 1 or 50%, found 101%"),
        (
            &["caBundle=/etc/ssl/ca.crt"],
            "caBundle holds no certificate: give it the text from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, \
             for example with --set-file caBundle=ca.crt",
        ),
    ] {
        refused(&with(sets), &[says]);
    }
}

#[test]
fn a_sink_and_a_rule_are_taken_away_by_null() {
    let given = ["sinks.team.type=webhook,sinks.team.url=https://x.example", "rules.NotReady.hold=1m"];
    let taken = with(&[given[0], given[1], "sinks.team=null", "rules.NotReady=null"]);
    let config = config(&rendered(&taken));
    assert_eq!((&config["sinks"], &config["rules"]), (&json!({}), &json!({})));
}

#[test]
fn a_sink_that_is_called_ingest_has_the_keys_of_any_other() {
    let sets = ["sinks.ingest.type=webhook", "sinks.ingest.url=https://x.example", "sinks.ingest.existingSecret=hook"];
    let objects = rendered(&with(&sets));
    let volumes = &object(&objects, "Deployment", "-aggregator")["spec"]["template"]["spec"]["volumes"];
    let volume = volumes.as_array().and_then(|all| all.iter().find(|it| it["name"] == "token-ingest"));
    assert_eq!(volume.expect("it is mounted")["secret"]["items"], json!([{"key": "token", "path": "token"}]));
    assert!(notes(&with(&sets)).contains("The sink ingest needs the Secret hook with the key token: without it"));
}

#[test]
fn a_sink_that_cannot_work_fails_with_the_fix() {
    let many: Vec<_> = (0..16).map(|number| format!("sinks.s{number}.type=stdout")).collect();
    let many = many.join(",");
    for (sets, says) in [
        (
            &["sinks.team.type=webhook"][..],
            "sinks.team.url must be set to an address, for example https://hooks.example.com/tocsin",
        ),
        (
            &["sinks.team.type=slack", "sinks.team.url=https://x.example"],
            "sinks.team.type: there is no type slack: set it to webhook (one record a request), ingest (batches) or stdout; what \
             chats and pagers want is not sent",
        ),
        (&["sinks.team.url=https://x.example"], "sinks.team.type is missing: set it to webhook"),
        (
            &["sinks.team.type=webhook", "sinks.team.url=https://x.example", "sinks.team.timeout=5"],
            "sinks.team.timeout: expected a duration with its unit, for example 30s, 5m or 1h, found 5",
        ),
        (
            &[
                HOOK,
                "sinks.team.url=https://x.example",
                "sinks.team.existingSecret=y",
                "sinks.team.existingSecretUrlKey=url",
            ],
            "sinks.team: url and existingSecretUrlKey are both set, and only one can be meant: leave one of them out",
        ),
        (
            &[HOOK, "sinks.team.existingSecretUrlKey=url"],
            "sinks.team.existingSecretUrlKey is a key of no Secret: name the Secret in sinks.team.existingSecret",
        ),
        (
            &["sinks.log.type=stdout", "sinks.log.existingSecretUrlKey=url"],
            "sinks.log.existingSecretUrlKey means nothing to a sink of type stdout: leave it out",
        ),
        (
            &["sinks.log.type=stdout", "sinks.log.url=https://x.example"],
            "sinks.log.url means nothing to a sink of type stdout: leave it out",
        ),
        (
            &["sinks.team.type=webhook", "sinks.team.url=https://x.example", "sinks.team.batch=5"],
            "sinks.team.batch: a webhook gets one record a request: leave it out",
        ),
        (
            &["sinks.team.type=webhook", "sinks.team.url=http://x.example", "sinks.team.existingSecret=y"],
            "sinks.team.url: a token is sent over https only",
        ),
        (
            &[
                "sinks.team.type=webhook",
                "sinks.team.url=https://x.example",
                "sinks.team.existingSecret=y",
                "sinks.team.token=x",
            ],
            "sinks.team: token and existingSecret are both set",
        ),
        (
            &["sinks.team.type=webhook", "sinks.team.url=https://x.example", "sinks.team.timeout=2m"],
            "sinks.team.timeout must be from 1s to 1m, found 2m",
        ),
        (&[&many], "sinks: at most 15, found 16"),
    ] {
        refused(&with(sets), &[says]);
    }
}

#[test]
fn what_looks_odd_and_works_is_rendered() {
    rendered(&with(&["sinks.team.type=webhook", "sinks.team.url=http://127.0.0.1:80/x", "sinks.team.token=t"]));
    rendered(&with(&["rules.ImagePull.hold=23h59m60s", "logLevel=Warning"]));
    rendered(&with(&["global.imageRegistry=10.0.0.1:5000/mirror/of_ours/"]));
    for some in ["0", "3", "50%", "100%"] {
        rendered(&with(&[&format!("aggregator.podDisruptionBudget.maxUnavailable={some}")]));
    }
}

#[test]
fn the_name_of_the_cluster_must_be_said_and_all_that_is_wrong_is_said_at_once() {
    let sets = ["--set", "logLevel=loud", "--set", "agentToken=x", "--set", "apiKey=y"].map(str::to_owned);
    let all = [
        "clusterName must be set: it is in every message, for example --set clusterName=prod-eu-1",
        "there is no level \"loud\"",
        "agentToken and apiKey differ",
    ];
    refused(&[release(), sets.to_vec()].concat(), &all);
}

/// After `helm upgrade --reuse-values` the values of the former chart are all that there is.
#[test]
fn a_value_that_is_missing_is_its_default() {
    let expected = rendered(&with(&[]));
    let entries = chart::entries().expect("they are there");
    for entry in entries.iter().filter(|entry| entry.path != "clusterName") {
        assert_eq!(rendered(&with(&[&format!("{}=null", entry.path)])), expected, "without {}", entry.path);
    }
    let tops = entries.iter().filter(|entry| !entry.path.contains('.') && entry.path != "clusterName");
    let none: Vec<_> = tops.map(|entry| format!("{}=null", entry.path)).collect();
    assert_eq!(rendered(&with(&none.iter().map(String::as_str).collect::<Vec<_>>())), expected, "without any");
}

#[test]
fn part_of_a_default_can_be_taken_away() {
    let objects = rendered(&with(&["nodeAgent.resources.limits=null"]));
    let pod = &crate::installation::object(&objects, "DaemonSet", "-node-agent")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["resources"].get("limits"), None);
}

#[test]
fn the_notes_say_for_which_name_a_certificate_of_ones_own_must_be() {
    let notes = notes(&with(&["tls.existingSecret=cert"]));
    let says =
        "The aggregators wait for the Secret cert, whose certificate must be for\n  tocsin-aggregator.tocsin.svc\n";
    assert!(notes.contains(says), "{notes}");
}

#[test]
fn the_notes_say_where_issues_go_and_what_is_needed() {
    let sets = ["existingSecret=creds", "ingest.url=https://x.example", "ingest.minSeverity=critical"];
    let notes = notes(&with(&sets));
    for says in [
        "watches the cluster prod-eu-1",
        "rollout status deployment/tocsin-aggregator daemonset/tocsin-node-agent",
        "to the sink ingest, of type ingest, at https://x.example: critical and above",
        "The sink ingest needs the Secret creds with the key AGENT_TOKEN: without it the aggregators' pods do not start.",
    ] {
        assert!(notes.contains(says), "{notes}");
    }
}

#[test]
fn the_proxys_secret_is_mounted_as_a_folder_and_the_notes_say_how_sinks_are_reached() {
    let sets = ["proxy.existingSecret=way", "proxy.http=http://p.example:1", "proxy.noProxy=internal.example"];
    let objects = rendered(&with(&sets));
    let folder = json!("/etc/tocsin/proxy");
    assert_eq!(
        config(&objects)["proxy"],
        json!({"folder": folder, "http": "http://p.example:1", "noProxy": "internal.example"})
    );
    for (kind, name, optional) in [("Deployment", "-aggregator", Value::Null), ("Pod", "-doctor", json!(true))] {
        let spec = &object(&objects, kind, name)["spec"];
        let pod = if kind == "Pod" { spec } else { &spec["template"]["spec"] };
        let volumes = pod["volumes"].as_array().expect("volumes");
        let volume = volumes.iter().find(|volume| volume["name"] == "proxy").expect("it has one");
        assert_eq!(volume["secret"]["secretName"], "way");
        assert_eq!(volume["secret"]["optional"], optional, "the doctor says that it is missing");
        let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
        let mount = mounts.iter().find(|mount| mount["name"] == "proxy").expect("it is mounted");
        assert_eq!((&mount["mountPath"], &mount["subPath"]), (&folder, &Value::Null));
    }
    let notes = notes(&with(&sets));
    for says in [
        "The way there is in the Secret way (keys http, https and noProxy): without it the aggregators' pods do not start.",
        "What is at http:// is reached through the proxy http://p.example:1, but for internal.example.",
    ] {
        assert!(notes.contains(says), "{notes}");
    }
    assert!(!notes.contains("Without effect"), "{notes}");
}

/// A file's `off` is not a text: YAML 1.1 has it for false.
#[test]
fn namespaces_of_the_system_can_be_turned_off_without_quotes() {
    let told = |sets: &[&str]| config(&rendered(&with(sets)))["systemNamespaces"].clone();
    assert_eq!(told(&["systemNamespaces=false"]), json!("off"));
    assert_eq!(told(&["systemNamespaces=off"]), json!("off"));
    assert_eq!(told(&[]), json!("critical"));
}

#[test]
fn the_notes_say_once_that_something_has_no_effect_or_is_scraped_twice() {
    let said = |sets: &[&str], says: &str| notes(&with(sets)).matches(says).count();
    for (sets, says) in [
        (&["gatewayUrl=https://x.example"][..], "gatewayUrl: "),
        (
            &["rbac.namespaceRestriction.namespaces={shop}"],
            "the whole cluster is watched, as rbac.namespaceRestriction",
        ),
        (&["existingSecretKey=key"], "existingSecretKey: there is no existingSecret."),
        (&[HOOK, "sinks.team.existingSecretKey=key"], "sinks.team.existingSecretKey: it has no existingSecret."),
        (&["metrics.podMonitor.enabled=true", "nodeAgent.enabled=false"], "metrics.podMonitor: there are no agents."),
    ] {
        let with_it =
            [sets, &["sinks.team.url=https://hooks.example.com"][..usize::from(sets.contains(&HOOK))]].concat();
        assert_eq!((said(&with_it, says), said(&with_it, "Without effect")), (1, 1), "{says}");
    }
    assert_eq!(said(&["metrics.podMonitor.enabled=true"], "Without effect"), 0);
    let twice = "scrapes twice";
    assert_eq!(said(&["metrics.scrapeAnnotations=true", "metrics.serviceMonitor.enabled=true"], twice), 1);
    assert_eq!(said(&["metrics.scrapeAnnotations=true", "metrics.podMonitor.enabled=true"], twice), 1);
    assert_eq!(said(&["metrics.scrapeAnnotations=true"], twice), 0);
    assert_eq!(said(&["metrics.serviceMonitor.enabled=true", "metrics.podMonitor.enabled=true"], twice), 0);
}

#[test]
fn an_address_in_a_secret_is_mounted_beside_the_token_if_there_is_one_and_is_in_nothing_that_is_rendered() {
    let secret = ["sinks.team.existingSecret=hook", "sinks.team.existingSecretUrlKey=address"];
    let url = json!({"key": "address", "path": "url"});
    let of_token = json!({"key": "password", "path": "token"});
    for (more, items, token_file) in [
        ("sinks.team.url=", json!([url]), Value::Null),
        ("sinks.team.existingSecretKey=password", json!([of_token, url]), json!("/etc/tocsin/token/team/token")),
        ("sinks.team.token=t", json!([url]), json!("/etc/tocsin/tokens/team")),
    ] {
        let sets =
            [&[HOOK, "networkPolicy.enabled=true", "networkPolicy.apiServerPorts={6443}", more], &secret[..]].concat();
        let objects = rendered(&with(&sets));
        let sink = &config(&objects)["sinks"]["team"];
        assert_eq!(sink.get("url"), None);
        assert_eq!((&sink["urlFile"], &sink["tokenFile"]), (&json!("/etc/tocsin/token/team/url"), &token_file));
        let pod = &object(&objects, "Deployment", "-aggregator")["spec"]["template"]["spec"];
        let volume = pod["volumes"].as_array().and_then(|all| all.last()).cloned();
        let expected = json!({"name": "token-team", "secret": {"secretName": "hook", "items": items}});
        assert_eq!(volume, Some(expected));
        let egress = object(&objects, "NetworkPolicy", "-aggregator")["spec"]["egress"].to_string();
        assert!(egress.contains(r#"{"port":443,"protocol":"TCP"}"#), "{egress}");
        let notes = notes(&with(&sets));
        let says =
            "to the sink team, of type webhook, at the address in the Secret hook, key address: warning and above";
        assert!(notes.contains(says), "{notes}");
    }
}

#[test]
fn the_notes_show_no_more_of_an_address_than_scheme_and_host() {
    let sets = [HOOK, "sinks.team.url=https://hooks.example.com:8443/hunter2?key=hunter2"];
    let notes = notes(&with(&sets));
    assert!(notes.contains("at https://hooks.example.com:8443: warning") && !notes.contains("hunter2"), "{notes}");
}

#[test]
fn messages_link_to_runbooks_where_there_are_some() {
    let base = |sets: &[&str]| config(&rendered(&with(sets))).get("runbookBaseUrl").cloned();
    assert_eq!(base(&[]), None, "nobody has such pages by default");
    assert_eq!(base(&["runbookBaseUrl=https://wiki.example.com/r"]), Some(json!("https://wiki.example.com/r")));
    let notes = notes(&with(&["runbookBaseUrl=https://wiki.example.com/r"]));
    assert!(!notes.contains("Without effect"), "{notes}");
}

#[test]
fn a_name_that_is_a_number_is_taken_when_it_is_quoted() {
    refused(&[release(), ["--set", "clusterName=12"].map(str::to_owned).to_vec()].concat(), &["/clusterName"]);
    let objects = rendered(&[release(), ["--set-string", "clusterName=12"].map(str::to_owned).to_vec()].concat());
    let config = crate::installation::object(&objects, "ConfigMap", "-config")["data"]["config.yaml"].to_string();
    assert!(config.contains("clusterName: \\\"12\\\""), "{config}");
}
