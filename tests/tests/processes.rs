//! Whole stories with real processes over real sockets: a simulated cluster, an agent on each node, the aggregator, and a
//! receiver that stands for the world outside.
//!
//! Sustains and holds are short, so that the time that passes is the machine's own.

#[path = "processes/alone.rs"]
mod alone;
#[path = "processes/older_server.rs"]
mod older_server;
#[path = "processes/proxy.rs"]
mod proxy;
#[path = "processes/secret_address.rs"]
mod secret_address;
#[path = "processes/stand_in.rs"]
mod stand_in;
#[path = "processes/versions.rs"]
mod versions;

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use rules::{Owner, Time};
use serde_json::{Value, json};
use tocsin_tests::apiserver::{Container, Deployment, PodRef, PodTemplate};
use tocsin_tests::installation::{CLUSTER_NAME, Installation, LIMIT};
use tocsin_tests::metrics::Metrics;
use tocsin_tests::processes::{Ended, Programs};
use tocsin_tests::receiver::{Answer, Received};
use tocsin_tests::record::{Expected, follow_each_other, sentence_of};

const NODES: &[&str] = &["node-1", "node-2"];
/// What a hold and a few turns of all loops take, with room for a busy machine: less than any slow retry.
const SOON: Duration = Duration::from_secs(20);
/// How far the times of a record may be off: the API's have no fractions of a second, and the API server's clock is known
/// from such times.
const SLACK: Duration = Duration::from_secs(2);
/// A hold that has begun lasts for longer than it takes to cut its agent off.
const HOLD_SECONDS: u64 = 6;

const IMAGE: &str = "registry.example/shop/api:1.0";

fn start() -> Result<(Installation, Deployment)> {
    start_with(&json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s"}}))
}

fn start_with(rules: &Value) -> Result<(Installation, Deployment)> {
    let installation = Installation::start(Programs::built()?, NODES, rules)?;
    let template = PodTemplate::new("api", Container::new("app", IMAGE));
    let deployment = installation.cluster.deploy("shop", "api", 2, &template, NODES);
    Ok((installation, deployment))
}

/// A crash loop is told, its pod runs again, and the API server is away before the hold has passed.
fn start_and_lose_sight() -> Result<(Installation, Deployment)> {
    let hold = format!("{HOLD_SECONDS}s");
    let (installation, api) = start_with(&json!({"CrashLoopBackOff": {"sustain": "0s", "hold": hold}}))?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    installation.cluster.run(&api.pods[0]);
    heartbeats(&installation, 1)?;
    installation.block_on(installation.cluster.go_down());
    Ok((installation, api))
}

/// The records that were accepted outside, each key once.
fn records(received: &[Received]) -> Vec<&Value> {
    let accepted = received.iter().filter(|request| request.accepted()).flat_map(Received::keyed);
    let mut records: Vec<&Value> = Vec::new();
    for (_, record) in accepted {
        if records.iter().all(|other| other["key"] != record["key"]) {
            records.push(record);
        }
    }
    records
}

/// What was accepted outside, each key once.
fn told(received: &[Received]) -> Vec<String> {
    records(received).into_iter().map(sentence_of).collect()
}

/// Waits until so much was told, then holds it against what must have been told: exactly this, in this order.
fn hears(installation: &Installation, limit: Duration, expected: &[&str]) -> Result<()> {
    let heard = installation.outside.until("all was told", limit, |received| told(received).len() >= expected.len());
    let received = installation.block_on(heard).map_err(|error| anyhow!("{error}\n{}", installation.tails()))?;
    ensure!(told(&received) == expected, "told: {:#?}, and expected: {expected:#?}", told(&received));
    makes_sense(installation, &received)
}

/// No key has two bodies, whatever they were answered; and names and times of what was accepted are those of a story.
fn makes_sense(installation: &Installation, received: &[Received]) -> Result<()> {
    let unfrozen = installation.outside.unfrozen();
    ensure!(unfrozen.is_empty(), "more than one body under {unfrozen:?}");
    let accepted = received.iter().filter(|request| request.accepted());
    let arrived = accepted.flat_map(|request| {
        let at = Time::from_millis(request.at.as_millisecond());
        request.keyed().into_iter().map(move |(_, record)| (at, record))
    });
    follow_each_other(arrived, SLACK).map_err(|why| anyhow!(why))
}

/// Waits until every agent has sent so many heartbeats more: each takes three quarters of a second at least.
fn heartbeats(installation: &Installation, count: u64) -> Result<()> {
    let heard = |metrics: &Metrics| metrics.sum("tocsin_ingest_requests_total", &["\"report\"", "\"answer\""]);
    let before = heard(&installation.metrics()?)?;
    // One agent's may come faster than another's.
    let wanted = before + (count + 1) * NODES.len() as u64;
    installation.until_metrics("heartbeats of all agents", |metrics| Ok(heard(metrics)? >= wanted))
}

/// Nothing waits any more, the books balance, and all processes end in order.
fn ends_in_order(installation: Installation, expected: &[&str]) -> Result<()> {
    nothing_is_pending(&installation)?;
    hears(&installation, LIMIT, expected)?;
    installation.end()
}

/// A finding that is new to the agent shows that it is at work, and that nothing came before it.
fn the_other_pod_joins_and_both_recover(installation: Installation, api: &Deployment) -> Result<()> {
    installation.cluster.crash_loop(&api.pods[1], 5);
    installation.until_metrics("both pods' findings are known", |metrics| {
        Ok(metrics.sum("tocsin_findings_observed_total", &[])? >= 2)
    })?;
    hears(&installation, LIMIT, &[FIRING])?;
    for pod in &api.pods {
        installation.cluster.run(pod);
    }
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    ends_in_order(installation, &[FIRING, RESOLVED])
}

fn nothing_is_pending(installation: &Installation) -> Result<()> {
    installation.until_metrics("nothing is pending", |metrics| {
        metrics.balance()?;
        Ok(metrics.sum("tocsin_findings", &["state=\"pending\""])? == 0)
    })
}

/// All that is said of the crash loop of these pods.
fn crash_loop(installation: &Installation, status: &'static str, pods: &[PodRef]) -> Result<Expected> {
    let kube_system = installation.cluster.object("/api/v1/namespaces/kube-system").context("every cluster has it")?;
    let id = kube_system["metadata"]["uid"].as_str().context("every object has a uid")?;
    let (revision, headline, when) = match status {
        "firing" => (1, "is crash-looping", "since {since}"),
        _ => (2, "runs again", "from {since}, for {lasted}"),
    };
    let mut names: Vec<_> = pods.iter().map(|pod| pod.name.clone()).collect();
    names.sort();
    let who = if let [_] = pods { "1 pod".to_owned() } else { format!("{} pods", pods.len()) };
    Ok(Expected {
        revision,
        status,
        kind: "CrashLoopBackOff",
        severity: "critical",
        cluster: [CLUSTER_NAME.to_owned(), id.to_owned()],
        namespace: "shop".to_owned(),
        owner: Owner { kind: "Deployment".into(), name: "api".into() },
        container: "app",
        nodes: NODES[..pods.len()].iter().map(ToString::to_string).collect(),
        pods: names,
        title: format!("shop/Deployment api {headline}"),
        text: format!("{who} {when}. Container `app` exited 1{{restarts}}. Image {IMAGE}."),
        evidence: json!({"reason": "Error", "exitCode": 1, "restarts": "*", "image": IMAGE, "memoryLimit": "256Mi"}),
        look: "kubectl -n shop logs api-* -c app --previous".to_owned(),
        quiet: "annotate the pods of shop/Deployment api with tocsin.dev/ignore=CrashLoopBackOff".to_owned(),
        ..Expected::default()
    })
}

/// Two pods crash-loop and run again: it is told once and resolved once, in just these words.
fn both_pods_fail_and_recover_word_by_word(installation: &Installation, api: &Deployment) -> Result<()> {
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(installation, LIMIT, &[FIRING])?;
    installation.cluster.crash_loop(&api.pods[1], 5);
    installation.until_metrics("both pods' findings are known", |metrics| {
        Ok(metrics.sum("tocsin_findings_observed_total", &[])? >= 2)
    })?;
    for pod in &api.pods {
        installation.cluster.run(pod);
    }
    hears(installation, LIMIT, &[FIRING, RESOLVED])?;
    let expected =
        [crash_loop(installation, "firing", &api.pods[..1])?, crash_loop(installation, "resolved", &api.pods)?];
    for (expected, record) in expected.iter().zip(records(&installation.outside.received())) {
        let differences = expected.differences(record);
        ensure!(differences.is_empty(), "{} is told otherwise:\n{}", expected.sentence(), differences.join("\n"));
    }
    Ok(())
}

const FIRING: &str = "firing CrashLoopBackOff shop/Deployment/api";
const RESOLVED: &str = "resolved CrashLoopBackOff shop/Deployment/api";

#[test]
fn a_crash_loop_is_told_once_and_resolved_once_and_costs_one_watch_per_agent() -> Result<()> {
    let (installation, api) = start()?;
    both_pods_fail_and_recover_word_by_word(&installation, &api)?;
    for node in NODES {
        let (lists, watches, open) = installation.lists_and_watches(node);
        ensure!((lists, watches, open) == (1, 1, 1), "{lists} lists, {watches} watches, {open} of them open");
    }
    ends_in_order(installation, &[FIRING, RESOLVED])
}

#[test]
fn what_a_killed_aggregator_had_accepted_and_not_delivered_is_told_by_the_next() -> Result<()> {
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s"}, "OOMKilled": {"hold": "1s"}});
    let (mut installation, api) = start_with(&rules)?;
    let template = PodTemplate::new("web", Container::new("app", IMAGE));
    let web = installation.cluster.deploy("shop", "web", 1, &template, NODES);
    installation.outside.always(Answer::Hang);
    installation.cluster.crash_loop(&api.pods[0], 5);
    let hangs = installation.outside.until("a request hangs", LIMIT, |received| !received.is_empty());
    installation.block_on(hangs)?;
    // This one waits behind that request, and is over before it is sent: only its agent remembers it then.
    installation.cluster.oom_kill(&web.pods[0]);
    installation.until_metrics("both findings are known", |metrics| {
        Ok(metrics.sum("tocsin_findings_observed_total", &[])? >= 2)
    })?;
    installation.cluster.run(&web.pods[0]);
    heartbeats(&installation, 3)?;
    let hung = installation.outside.count();
    ensure!(told(&installation.outside.received()).is_empty(), "it was told");
    installation.kill_aggregator()?;
    installation.start_aggregator()?;
    let again = installation.outside.until("told again", LIMIT, |received| received.len() as u64 > hung);
    installation.block_on(again)?;
    installation.outside.always(Answer::status(200));
    nothing_is_pending(&installation)?;
    installation.cluster.run(&api.pods[0]);
    let over = [RESOLVED, "resolved OOMKilled shop/Deployment/web"];
    let heard = installation.outside.until("all is over", LIMIT, |received| {
        let told = told(received);
        over.iter().all(|over| told.iter().any(|told| told == over))
    });
    let received = installation.block_on(heard).map_err(|error| anyhow!("{error}\n{}", installation.tails()))?;
    // Byte for byte, as no key has two bodies.
    makes_sense(&installation, &received)?;
    let accepted = installation.outside.accepted();
    for (key, _) in received[0].keyed() {
        ensure!(accepted.contains_key(key), "{key} was not sent again: {:#?}", accepted.keys());
    }
    let told = told(&received);
    let of_api: Vec<_> = told.iter().filter(|told| told.contains("/api")).collect();
    ensure!(of_api == [FIRING, RESOLVED], "told: {told:#?}");
    installation.end()
}

#[test]
fn an_aggregator_goes_on_with_what_was_told_before_it_was_killed() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    installation.until_confirmed(1)?;
    installation.kill_aggregator()?;
    installation.start_aggregator()?;
    // One that is new shows that it is at work, and that nothing came before it.
    let other = PodTemplate::new("other", Container::new("app", "registry.example/shop/other:1.0"));
    let other = installation.cluster.deploy("shop", "other", 1, &other, NODES);
    installation.cluster.crash_loop(&other.pods[0], 5);
    let expected = [FIRING, "firing CrashLoopBackOff shop/Deployment/other"];
    hears(&installation, LIMIT, &expected)?;

    installation.until_confirmed(2)?;
    // What ends while nobody looks is told to be over.
    installation.kill_aggregator()?;
    installation.kill_agent(NODES[0])?;
    installation.cluster.run(&api.pods[0]);
    installation.start_aggregator()?;
    installation.start_agent(NODES[0])?;
    let expected = [&expected[..], &[RESOLVED]].concat();
    hears(&installation, LIMIT, &expected)?;
    installation.cluster.run(&other.pods[0]);
    let expected = [&expected[..], &["resolved CrashLoopBackOff shop/Deployment/other"]].concat();
    hears(&installation, LIMIT, &expected)?;
    let sent: usize = installation.outside.received().iter().map(|request| request.records().len()).sum();
    ensure!(sent == expected.len(), "{sent} records were sent, and {} had something to say", expected.len());
    ends_in_order(installation, &expected)
}

#[test]
fn an_agent_killed_during_a_crash_loop_goes_on_with_it_and_nothing_is_told_again() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    installation.kill_agent(NODES[0])?;
    // It happens to run when the next agent looks: that says nothing.
    installation.cluster.restart(&api.pods[0]);
    installation.start_agent(NODES[0])?;
    // For longer than its hold.
    heartbeats(&installation, 4)?;
    hears(&installation, LIMIT, &[FIRING])?;
    installation.cluster.crash_loop(&api.pods[0], 6);
    the_other_pod_joins_and_both_recover(installation, &api)
}

#[test]
fn an_agent_that_gets_no_answer_ends_in_time_and_says_what_it_leaves() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.freeze_aggregator()?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    let ended = installation.end_agent_after(NODES[0], "finding_active")?;
    ensure!(ended.status.success(), "{}\n{:#?}", ended.status, ended.lines);
    ensure!(ended.lines.iter().any(|line| line.contains("left_unreported")), "{:#?}", ended.lines);
    Ok(())
}

#[test]
fn with_another_certificate_from_another_ca_agents_go_on_where_they_were() -> Result<()> {
    let (mut installation, api) = start()?;
    let before = installation.published_authorities();
    ensure!(before.is_some(), "no CA is published");
    installation.kill_aggregator()?;
    installation.wipe_certificate();
    // What an agent finds meanwhile waits for an aggregator that it can verify.
    installation.cluster.crash_loop(&api.pods[0], 5);
    installation.start_aggregator()?;
    hears(&installation, LIMIT, &[FIRING])?;
    let after = installation.published_authorities();
    ensure!(after.is_some() && before != after, "the same CA");
    installation.cluster.run(&api.pods[0]);
    ends_in_order(installation, &[FIRING, RESOLVED])
}

#[test]
fn with_a_revoked_token_all_is_held_and_told_at_once_when_the_file_is_replaced() -> Result<()> {
    let (installation, api) = start()?;
    installation.revoke_token("renewed.secret");
    installation.cluster.crash_loop(&api.pods[0], 5);
    let refused = installation
        .outside
        .until("a request is refused", LIMIT, |received| received.iter().any(|request| request.status == Some(401)));
    installation.block_on(refused)?;
    ensure!(told(&installation.outside.received()).is_empty(), "told in spite of a 401");
    installation.replace_token("renewed.secret")?;
    hears(&installation, SOON, &[FIRING])?;
    installation.cluster.run(&api.pods[0]);
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    ends_in_order(installation, &[FIRING, RESOLVED])
}

#[test]
fn while_the_api_server_cannot_be_heard_nothing_resolves_and_after_it_all_goes_on() -> Result<()> {
    let (installation, api) = start_and_lose_sight()?;
    heartbeats(&installation, 2 * HOLD_SECONDS)?;
    hears(&installation, LIMIT, &[FIRING])?;
    installation.block_on(installation.cluster.come_up())?;
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;

    // Where nothing is refused, and nothing comes.
    installation.cluster.black_hole(true);
    installation.cluster.crash_loop(&api.pods[1], 5);
    heartbeats(&installation, 2)?;
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    installation.cluster.black_hole(false);
    installation.cluster.reset_connections();
    hears(&installation, LIMIT, &[FIRING, RESOLVED, FIRING])?;
    installation.cluster.run(&api.pods[1]);
    ends_in_order(installation, &[FIRING, RESOLVED, FIRING, RESOLVED])
}

#[test]
fn who_ran_when_the_api_server_went_away_and_crashes_when_it_is_back_was_never_well() -> Result<()> {
    let (installation, api) = start_and_lose_sight()?;
    installation.cluster.crash_loop(&api.pods[0], 6);
    heartbeats(&installation, 2 * HOLD_SECONDS)?;
    hears(&installation, LIMIT, &[FIRING])?;

    installation.block_on(installation.cluster.come_up())?;
    the_other_pod_joins_and_both_recover(installation, &api)
}

#[test]
fn changed_rules_reach_agents_that_go_on_running() -> Result<()> {
    let (installation, api) = start()?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    installation.change_rules(&json!({"CrashLoopBackOff": {"enabled": false}}))?;
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    installation.change_rules(&json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s", "severity": "info"}}))?;
    ends_in_order(installation, &[FIRING, RESOLVED])
}

#[test]
fn what_waits_when_the_aggregator_is_asked_to_end_is_sent_before_its_end() -> Result<()> {
    let (mut installation, api) = start()?;
    let template = PodTemplate::new("web", Container::new("app", IMAGE));
    let web = installation.cluster.deploy("shop", "web", 1, &template, NODES);
    installation.outside.always(Answer::Hang);
    installation.cluster.crash_loop(&api.pods[0], 5);
    let hangs = installation.outside.until("a request hangs", LIMIT, |received| !received.is_empty());
    installation.block_on(hangs)?;
    // This one waits for that request to end.
    installation.cluster.crash_loop(&web.pods[0], 5);
    installation.until_metrics("both findings are known", |metrics| {
        Ok(metrics.sum("tocsin_findings_observed_total", &[])? >= 2)
    })?;
    installation.ask_aggregator_to_end()?;
    installation.outside.always(Answer::status(200));
    hears(&installation, LIMIT, &[FIRING, "firing CrashLoopBackOff shop/Deployment/web"])?;
    let Ended { status, lines } = installation.aggregator_ends()?;
    ensure!(status.success(), "{status}\n{lines:#?}");
    Ok(())
}

#[test]
fn a_second_agent_of_a_node_takes_over_and_the_first_ends_and_says_why() -> Result<()> {
    let (mut installation, api) = start()?;
    let Ended { status, lines } = installation.start_second_agent(NODES[0])?;
    ensure!(status.code() == Some(1), "{status}\n{lines:#?}");
    ensure!(lines.iter().any(|line| line.contains("another agent of this node has taken over")), "{lines:#?}");
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    installation.cluster.run(&api.pods[0]);
    ends_in_order(installation, &[FIRING, RESOLVED])
}
