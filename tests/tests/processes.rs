//! Whole stories with real processes over real sockets: a simulated cluster, an agent on each node, the aggregator, and a
//! receiver that stands for the world outside.
//!
//! Sustains and holds are short, so that the time that passes is the machine's own.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tocsin_tests::apiserver::{Container, Deployment, PodTemplate};
use tocsin_tests::installation::{Installation, LIMIT, Metrics};
use tocsin_tests::processes::Programs;
use tocsin_tests::receiver::{Answer, Received};

const NODES: &[&str] = &["node-1", "node-2"];
/// What a hold and a few turns of all loops take, with room for a busy machine: less than any slow retry.
const SOON: Duration = Duration::from_secs(20);

fn start() -> Result<(Installation, Deployment)> {
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s"}});
    let installation = Installation::start(Programs::built()?, NODES, &rules)?;
    let template = PodTemplate::new("api", Container::new("app", "registry.example/shop/api:1.0"));
    let deployment = installation.cluster.deploy("shop", "api", 2, &template, NODES);
    Ok((installation, deployment))
}

/// What was accepted outside, each key once: kind, owner and status.
fn told(received: &[Received]) -> Vec<String> {
    let mut keys = Vec::new();
    let mut told = Vec::new();
    for (key, record) in received.iter().filter(|request| request.accepted()).flat_map(Received::keyed) {
        if !keys.contains(&key) {
            keys.push(key);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            told.push(format!(
                "{} {} {}",
                text(&record["kind"]),
                text(&record["owner"]["name"]),
                text(&record["status"])
            ));
        }
    }
    told
}

/// Waits until so much was told, then holds it against what must have been told: exactly this, in this order.
fn hears(installation: &Installation, limit: Duration, expected: &[&str]) -> Result<()> {
    let heard = installation.outside.until("all was told", limit, |received| told(received).len() >= expected.len());
    let received = installation.block_on(heard).map_err(|error| error.context(installation.tails()))?;
    ensure!(told(&received) == expected, "told: {:#?}, and expected: {expected:#?}", told(&received));
    let unfrozen = installation.outside.unfrozen();
    ensure!(unfrozen.is_empty(), "more than one body under {unfrozen:?}");
    Ok(())
}

/// Nothing waits any more, the books balance, and all processes end in order.
fn ends_in_order(installation: Installation, expected: &[&str]) -> Result<()> {
    installation.until_metrics("nothing is pending", |metrics| {
        metrics.balance()?;
        Ok(metrics.sum("tocsin_findings", &["state=\"pending\""])? == 0)
    })?;
    hears(&installation, LIMIT, expected)?;
    installation.end()
}

const FIRING: &str = "CrashLoopBackOff api firing";
const RESOLVED: &str = "CrashLoopBackOff api resolved";

#[test]
fn a_crash_loop_is_told_once_and_resolved_once_and_costs_one_watch_per_agent() -> Result<()> {
    let (installation, api) = start()?;
    for pod in &api.pods {
        installation.cluster.crash_loop(pod, 5);
    }
    hears(&installation, LIMIT, &[FIRING])?;
    for pod in &api.pods {
        installation.cluster.run(pod);
    }
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    for node in NODES {
        let (lists, watches, open) = installation.lists_and_watches(node);
        ensure!((lists, watches, open) == (1, 1, 1), "{lists} lists, {watches} watches, {open} of them open");
    }
    ends_in_order(installation, &[FIRING, RESOLVED])
}

#[test]
fn what_a_killed_aggregator_had_accepted_and_not_delivered_is_told_by_the_next() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.outside.always(Answer::Hang);
    installation.cluster.crash_loop(&api.pods[0], 5);
    let hangs = |count: usize| {
        let heard = installation.outside.until("a request hangs", LIMIT, move |received| received.len() >= count);
        installation.block_on(heard).map(drop)
    };
    hangs(1)?;
    installation.kill_aggregator()?;
    installation.start_aggregator()?;
    let second = installation.outside.until("told again", LIMIT, |received| received.len() >= 2);
    let received = installation.block_on(second)?;
    let bodies: Vec<_> = received.iter().map(|request| (request.idempotency_key(), &request.json)).collect();
    ensure!(bodies[0] == bodies[1], "sent again byte for byte: {bodies:#?}");
    installation.outside.always(Answer::status(200));
    hears(&installation, LIMIT, &[FIRING])?;
    installation.cluster.run(&api.pods[0]);
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    ends_in_order(installation, &[FIRING, RESOLVED])
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
    let expected = [FIRING, "CrashLoopBackOff other firing"];
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
    let expected = [&expected[..], &["CrashLoopBackOff other resolved"]].concat();
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
    installation.cluster.crash_loop(&api.pods[0], 6);
    // One that is new to the agent shows that it is at work, and that nothing came before it.
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
    let (installation, api) = start()?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;

    // The pod is well, and nobody can see it: for longer than its hold, by the heartbeats of the agents.
    installation.cluster.black_hole(true);
    installation.cluster.run(&api.pods[0]);
    let heard = |metrics: &Metrics| metrics.sum("tocsin_ingest_requests_total", &["\"report\"", "\"answer\""]);
    let before = heard(&installation.metrics()?)?;
    installation.until_metrics("four heartbeats of each", |metrics| Ok(heard(metrics)? >= before + 8))?;
    hears(&installation, LIMIT, &[FIRING])?;

    installation.cluster.black_hole(false);
    installation.cluster.reset_connections();
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    installation.cluster.crash_loop(&api.pods[1], 5);
    hears(&installation, LIMIT, &[FIRING, RESOLVED, FIRING])?;
    installation.cluster.run(&api.pods[1]);
    ends_in_order(installation, &[FIRING, RESOLVED, FIRING, RESOLVED])
}
