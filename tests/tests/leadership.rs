//! Two aggregators as real processes: the one that leads is killed, paused, or cut off, and the other goes on. Whatever
//! happens, what is told outside is told once.
//!
//! Each story takes the time of two leases, which are not shortened here: the first leader waits for one, and so does the
//! other.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tocsin_tests::apiserver::{Container, Deployment, PodTemplate};
use tocsin_tests::installation::Installation;
use tocsin_tests::processes::Programs;
use tocsin_tests::receiver::{Answer, Received};

const NODES: &[&str] = &["node-1"];
/// An agent that has tried in vain while nobody led waits before it tries again, for up to a minute.
const LIMIT: Duration = Duration::from_mins(3);
const FIRING: &str = "api firing";
const RESOLVED: &str = "api resolved";

fn start() -> Result<(Installation, Deployment)> {
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s"}});
    let installation = Installation::start_two(Programs::built()?, NODES, &rules)?;
    let api = deploy(&installation, "api");
    Ok((installation, api))
}

fn deploy(installation: &Installation, name: &str) -> Deployment {
    let template = PodTemplate::new(name, Container::new("app", "registry.example/shop/app:1.0"));
    installation.cluster.deploy("shop", name, 1, &template, NODES)
}

/// Owner and status of each record that was sent, in order, also of those that were not accepted.
fn sent(received: &[Received]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let records = received.iter().flat_map(Received::records);
    records.map(|record| format!("{} {}", text(&record["owner"]["name"]), text(&record["status"]))).collect()
}

/// Waits until so many records were sent, and compares them.
fn hears(installation: &Installation, expected: &[&str]) -> Result<()> {
    let heard = installation.outside.until("all was sent", LIMIT, |received| sent(received).len() >= expected.len());
    let received = installation.block_on(heard).map_err(|error| error.context(installation.tails()))?;
    ensure!(sent(&received) == expected, "sent: {:#?}, and expected: {expected:#?}", sent(&received));
    let unfrozen = installation.outside.unfrozen();
    ensure!(unfrozen.is_empty(), "more than one body under {unfrozen:?}");
    Ok(())
}

/// The issue is told to be over by the one that leads now, nothing else was sent, and all processes end in order.
fn resolves(installation: Installation, api: &Deployment, so_far: &[&str]) -> Result<()> {
    installation.cluster.run(&api.pods[0]);
    let all = [so_far, &[RESOLVED]].concat();
    hears(&installation, &all)?;
    installation.until_metrics("nothing is pending", |metrics| {
        metrics.balance()?;
        Ok(metrics.sum("tocsin_findings", &["state=\"pending\""])? == 0)
    })?;
    hears(&installation, &all)?;
    installation.end()
}

#[test]
fn a_leader_that_is_killed_is_followed_by_one_that_knows_what_it_told() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, &[FIRING])?;
    installation.until_confirmed(1)?;
    installation.kill_leader()?;
    installation.until_other_leads()?;
    resolves(installation, &api, &[FIRING])
}

#[test]
fn what_a_killed_leader_was_about_to_send_is_sent_once() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.outside.black_hole(true);
    installation.cluster.crash_loop(&api.pods[0], 5);
    installation.until_journal_has_a_body()?;
    installation.kill_leader()?;
    installation.outside.black_hole(false);
    resolves_after(installation, &api, &[FIRING])
}

#[test]
fn what_a_killed_leader_had_sent_and_nobody_confirmed_is_sent_again_byte_for_byte() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.outside.always(Answer::Hang);
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, &[FIRING])?;
    installation.kill_leader()?;
    installation.outside.always(Answer::status(200));
    resolves_after(installation, &api, &[FIRING, FIRING])
}

#[test]
fn a_leader_that_is_killed_while_it_folds_loses_nothing() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, &[FIRING])?;
    installation.until_confirmed(1)?;
    installation.swallow_leaders_writes();
    let before = installation.cluster.asked().of("patch", "configmaps");
    installation.signal_leader(Signal::TERM)?;
    installation.until_a_write(before)?;
    installation.kill_leader()?;
    resolves_after(installation, &api, &[FIRING])
}

#[test]
fn a_leader_that_goes_on_after_a_pause_finds_another_in_its_place_and_ends() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.outside.always(Answer::Hang);
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, &[FIRING])?;
    installation.signal_leader(Signal::STOP)?;
    installation.outside.always(Answer::status(200));
    // Its successor repeats what it cannot know to have been heard, and goes on.
    hears(&installation, &[FIRING, FIRING])?;
    installation.signal_leader(Signal::CONT)?;
    let (status, has_said_why) = installation.leader_ends("leadership_lost")?;
    ensure!(status.code() == Some(1) && has_said_why, "ended with {status}");
    resolves(installation, &api, &[FIRING, FIRING])
}

#[test]
fn a_leader_that_is_cut_off_from_the_api_server_falls_silent_and_its_agents_find_the_other() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, &[FIRING])?;
    installation.until_confirmed(1)?;
    let cut = installation.cut_leader_off();
    installation.until_leader_says("sending_suspended")?;
    let other = deploy(&installation, "other");
    installation.cluster.crash_loop(&other.pods[0], 5);
    hears(&installation, &[FIRING, "other firing"])?;
    installation.until_other_leads()?;
    installation.cluster.lift(cut);
    let (status, has_said_why) = installation.leader_ends("leadership_lost")?;
    ensure!(status.code() == Some(1) && has_said_why, "ended with {status}");
    resolves(installation, &api, &[FIRING, "other firing"])
}

fn resolves_after(installation: Installation, api: &Deployment, so_far: &[&str]) -> Result<()> {
    installation.until_other_leads()?;
    hears(&installation, so_far)?;
    resolves(installation, api, so_far)
}
