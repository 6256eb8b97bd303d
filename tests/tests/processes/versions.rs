//! Two versions of the report format: of a build for tests, which speaks the next one, too, the present one is the predecessor.

use super::*;

/// As for a rollout of the DaemonSet, and a rollback of the aggregator in the midst of it.
#[test]
fn agents_of_two_versions_report_side_by_side_and_follow_an_aggregator_that_is_rolled_back() -> Result<()> {
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s"}});
    let mut installation = Installation::start(Programs::successors()?, NODES, &rules)?;
    let template = PodTemplate::new("api", Container::new("app", IMAGE));
    let api = installation.cluster.deploy("shop", "api", 2, &template, NODES);
    installation.replace_programs(Programs::built()?);
    installation.kill_agent(NODES[0])?;
    installation.start_agent(NODES[0])?;
    agreed(&installation, [1, 2])?;

    // The former agent's, then the newer one's.
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    installation.cluster.crash_loop(&api.pods[1], 5);
    installation.until_metrics("both pods' findings are known", |metrics| {
        Ok(metrics.sum("tocsin_findings_observed_total", &[])? >= 2)
    })?;

    installation.kill_aggregator()?;
    installation.start_aggregator()?;
    installation.until_metrics("both are heard again", |metrics| {
        // Before that there are none.
        Ok(metrics.sum("tocsin_agents_connected", &[]).is_ok_and(|connected| connected == 2))
    })?;
    agreed(&installation, [1, 1])?;
    for pod in &api.pods {
        installation.cluster.run(pod);
    }
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    ends_in_order(installation, &[FIRING, RESOLVED])
}

/// These are the versions of the sessions, in the order of the nodes.
fn agreed(installation: &Installation, versions: [u64; 2]) -> Result<()> {
    installation.until_versions(&NODES.iter().map(ToString::to_string).zip(versions).collect())
}
