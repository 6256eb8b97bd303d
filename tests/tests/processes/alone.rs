//! Without agents: the aggregator watches the pods itself.

use std::collections::BTreeSet;

use super::*;
use tocsin_tests::apiserver::On;

fn rules() -> Value {
    json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s"}})
}

fn deploy(installation: &Installation, namespace: &str) -> Deployment {
    let template = PodTemplate::new("api", Container::new("app", IMAGE));
    installation.cluster.deploy(namespace, "api", 2, &template, NODES)
}

#[test]
fn a_crash_loop_is_told_once_and_resolved_once() -> Result<()> {
    let installation = Installation::start_alone(Programs::built()?, NODES, &rules(), &[])?;
    let api = deploy(&installation, "shop");
    both_pods_fail_and_recover_word_by_word(&installation, &api)?;
    let asked = installation.cluster.asked();
    ensure!((asked.of("list", "pods"), asked.of("watch", "pods")) == (1, 1), "{asked:#?}");
    ends_in_order(installation, &[FIRING, RESOLVED])
}

#[test]
fn who_is_restricted_to_namespaces_asks_for_nothing_else_and_tells_of_nothing_else() -> Result<()> {
    let watched = ["payments", "shop"];
    let installation = Installation::start_alone(Programs::built()?, NODES, &rules(), &watched)?;
    let (elsewhere, api) = (deploy(&installation, "elsewhere"), deploy(&installation, "shop"));
    installation.cluster.node_dies(NODES[1]);
    installation.cluster.crash_loop(&elsewhere.pods[0], 5);
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    let own = installation.cluster.object("/api/v1/namespaces/tocsin").context("the installation's own")?;
    let received = installation.outside.received();
    ensure!(records(&received)[0]["cluster"]["id"] == own["metadata"]["uid"], "{:#?}", records(&received));
    installation.cluster.run(&api.pods[0]);
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;

    let asked = installation.cluster.asked();
    let mut of_pods = BTreeSet::new();
    for request in asked.all().keys() {
        match (&*request.verb, &*request.resource, &*request.namespace) {
            ("list" | "watch", "pods", namespace) => drop(of_pods.insert(namespace)),
            // What it keeps, and which installation it is.
            ("get" | "patch", _, "tocsin") | ("get", "namespaces", "") => {}
            _ => ensure!(false, "it asked for {request:?}"),
        }
    }
    ensure!(of_pods == BTreeSet::from(watched), "it watched {of_pods:?}");
    ensure!(asked.of("get", "namespaces") == 1, "it asked for other namespaces");
    ends_in_order(installation, &[FIRING, RESOLVED])
}

#[test]
fn what_is_open_stays_one_message_when_agents_are_turned_on_and_come_after_the_hold_has_passed() -> Result<()> {
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "0s"}});
    let mut installation = Installation::start_alone(Programs::built()?, NODES, &rules, &[])?;
    let api = deploy(&installation, "shop");
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    installation.turn_agents_on(NODES, &rules)?;
    installation.until_metrics("the agents have taken over", |metrics| {
        Ok(metrics.sum("tocsin_resyncing", &[])? == 0 && metrics.sum("tocsin_agents_connected", &[])? == 2)
    })?;
    installation.cluster.run(&api.pods[0]);
    ends_in_order(installation, &[FIRING, RESOLVED])
}

#[test]
fn what_is_open_stays_one_message_when_agents_are_turned_off() -> Result<()> {
    let (mut installation, api) = start()?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    installation.turn_agents_off(&rules())?;
    let all_pods = On::watch("pods").selector("");
    let watched = installation.cluster.until_watched(&all_pods, LIMIT);
    installation.block_on(watched).with_context(|| installation.tails())?;
    // One that is new shows that it is at work, and that nothing came before it.
    let template = PodTemplate::new("other", Container::new("app", IMAGE));
    let other = installation.cluster.deploy("shop", "other", 1, &template, NODES);
    installation.cluster.crash_loop(&other.pods[0], 5);
    let expected = [FIRING, "firing CrashLoopBackOff shop/Deployment/other"];
    hears(&installation, LIMIT, &expected)?;
    installation.until_metrics("nobody is expected, and the agents are forgotten", |metrics| {
        Ok(metrics.sum("tocsin_agents_expected", &[])? == 0)
    })?;
    installation.cluster.run(&api.pods[0]);
    let expected = [&expected[..], &[RESOLVED]].concat();
    hears(&installation, LIMIT, &expected)?;
    installation.cluster.run(&other.pods[0]);
    let expected = [&expected[..], &["resolved CrashLoopBackOff shop/Deployment/other"]].concat();
    ends_in_order(installation, &expected)
}
