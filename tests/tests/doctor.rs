//! `tocsin-aggregator doctor` as a real process, beside an installation of real processes: all is well, or something is not, and
//! then that is named, with what to do, and nothing else.

use anyhow::{Result, ensure};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tocsin_tests::apiserver::On;
use tocsin_tests::installation::Installation;
use tocsin_tests::metrics::Metrics;
use tocsin_tests::processes::Programs;

const NODES: &[&str] = &["node-1", "node-2"];

fn start() -> Result<Installation> {
    let installation = Installation::start(Programs::built()?, NODES, &json!({}))?;
    let connected = |metrics: &Metrics| Ok(metrics.sum("tocsin_agents_connected", &[])? == NODES.len() as u64);
    installation.until_metrics("its agents are known", connected)?;
    Ok(installation)
}

/// It takes the time of one lease: the first leader of an installation waits for that.
#[test]
fn all_is_well_until_nobody_leads_and_nobody_is_told_anything() -> Result<()> {
    let installation = Installation::start_elected(Programs::built()?, NODES, &json!({}))?;
    let found = installation.consult_pod("30s")?;
    ensure!(found.code == Some(0) && found.error.is_empty(), "{found:#?}\n{}", installation.tails());
    ensure!(found.with("not-applicable") == ["proxy"] && found.with("warning").is_empty(), "{found:#?}");
    for name in ["configuration", "files", "clock", "leader", "agents", "told-log", "certificate", "sink outside"] {
        ensure!(found.with("ok").contains(&name), "{name} is not among {:?}", found.with("ok"));
    }
    let asked = installation.outside.received();
    ensure!(asked.len() == 1 && asked[0].json == json!({"records": []}), "{asked:?}");
    installation.ask_aggregator_to_end()?;
    let mut installation = installation;
    installation.aggregator_ends()?;
    installation
        .consult_pod("0s")?
        .has_failed_for("leader", &["nobody leads: the Lease tocsin-aggregator was given up"])
}

#[test]
fn a_right_that_is_missing_is_named_with_what_grants_it() -> Result<()> {
    let installation = start()?;
    installation.cluster.deny(On::request("patch", "secrets"));
    let says =
        ["secrets in tocsin: not allowed: patch tocsin-tls", "kubectl auth can-i patch secrets/tocsin-tls -n tocsin"];
    installation.consult()?.has_failed_for("right to secrets", &says)
}

#[test]
fn agents_cannot_be_let_in_where_tokens_cannot_be_reviewed() -> Result<()> {
    let installation = start()?;
    installation.cluster.deny(On::request("create", "tokenreviews.authentication.k8s.io"));
    let found = installation.consult()?;
    ensure!(found.with("failed") == ["right to tokenreviews", "token review"], "{found:#?}");
    Ok(())
}

#[test]
fn a_token_that_a_sink_refuses_is_named_with_its_file() -> Result<()> {
    let installation = start()?;
    installation.revoke_token("another.secret");
    let says = ["it answered 401 Unauthorized", "refuses the token in ", "/sink-token: write the right one into it"];
    let found = installation.consult()?;
    found.has_failed_for("sink outside", &says)?;
    ensure!(!found.checks.iter().any(|check| check.to_string().contains("outside.secret")), "{found:#?}");
    installation.replace_token("")?;
    let found = installation.consult()?;
    ensure!(found.with("failed") == ["files", "sink outside"], "{found:#?}");
    let says = |check: &Value| check["seen"].to_string().contains("/sink-token is empty: write the token into it");
    ensure!(found.checks.iter().filter(|check| says(check)).count() == 2, "{found:#?}");
    Ok(())
}

#[test]
fn an_agent_that_is_not_heard_is_counted() -> Result<()> {
    let mut installation = start()?;
    installation.kill_agent("node-2")?;
    installation.until_metrics("it is silent", |metrics| Ok(metrics.sum("tocsin_agents_connected", &[])? == 1))?;
    installation.consult()?.has_failed_for("agents", &["1 of 2 are connected", "kubectl get pods"])
}

#[test]
fn a_configuration_that_is_wrong_is_named_and_the_leaders_too() -> Result<()> {
    let installation = start()?;
    installation.change_rules(&json!({"CrashLoopBackOf": {}}))?;
    installation.until_metrics("it is rejected", |metrics| Ok(metrics.sum("tocsin_config_in_force", &[])? == 0))?;
    let found = installation.consult()?;
    ensure!(found.with("failed") == ["configuration", "configuration in force"], "{found:#?}");
    ensure!(found.checks[0]["seen"].to_string().contains("CrashLoopBackOff"), "{found:#?}");
    Ok(())
}

#[test]
fn a_clock_that_is_far_off_is_named() -> Result<()> {
    let installation = start()?;
    installation.cluster.set_skew(SignedDuration::from_mins(10));
    installation.consult()?.has_failed_for("clock", &["s behind the API server's", "synchronise"])
}

#[test]
fn without_an_api_server_the_rest_is_looked_at_all_the_same() -> Result<()> {
    let installation = start()?;
    installation.block_on(installation.cluster.go_down());
    let found = installation.consult()?;
    found.has_failed_for("API server", &["it gives no answer: "])?;
    ensure!(found.with("ok") == ["configuration", "files", "sink outside"], "{found:#?}");
    Ok(())
}

#[test]
fn in_namespaces_alone_no_more_is_asked_for_than_is_needed_there() -> Result<()> {
    let installation = Installation::start_alone(Programs::built()?, NODES, &json!({}), &["shop"])?;
    for resource in ["nodes", "tokenreviews.authentication.k8s.io"] {
        installation.cluster.deny(On::resource(resource));
    }
    let leads = |metrics: &Metrics| Ok(metrics.sum("tocsin_agents_expected", &[]).is_ok());
    installation.until_metrics("it leads", leads)?;
    let found = installation.consult()?;
    ensure!(found.code == Some(0) && found.with("warning").is_empty(), "{found:#?}\n{}", installation.tails());
    ensure!(found.with("not-applicable") == ["token review", "leader", "agents", "proxy"], "{found:#?}");
    Ok(())
}
