//! A node whose agent is not heard: the aggregator looks at its pods.

use super::*;

/// How often a node's pods were listed, by whomever.
fn lists(installation: &Installation) -> u64 {
    installation.lists_and_watches(NODES[0]).0
}

#[test]
fn a_pod_that_fails_on_a_node_without_an_agent_is_one_message_whoever_looks_at_it() -> Result<()> {
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s"}, "AgentSilent": {"enabled": false}});
    let (mut installation, api) = start_with(&rules)?;
    installation.kill_agent(NODES[0])?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    ensure!(lists(&installation) == 2, "the agent's, and one in its place: {}", lists(&installation));
    installation
        .until_metrics("somebody looks at its pods", |metrics| Ok(metrics.sum("tocsin_agents_uncovered", &[])? == 0))?;

    installation.start_agent(NODES[0])?;
    heartbeats(&installation, 4)?;
    hears(&installation, LIMIT, &[FIRING])?;
    let before = lists(&installation);
    installation.kill_agent(NODES[0])?;
    let looked = installation.cluster.until("its pods are looked at", LIMIT, |_| lists(&installation) > before);
    installation.block_on(looked)?;
    heartbeats(&installation, 2)?;
    hears(&installation, LIMIT, &[FIRING])?;

    installation.start_agent(NODES[0])?;
    installation.cluster.run(&api.pods[0]);
    ends_in_order(installation, &[FIRING, RESOLVED])
}
