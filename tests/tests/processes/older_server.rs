//! A server whose TokenReviews name no nodes, as all before Kubernetes 1.30.

use super::*;

#[test]
fn who_reports_is_the_node_of_the_pod_that_the_token_is_bound_to() -> Result<()> {
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s"}});
    let installation = Installation::start_on_older_server(Programs::built()?, NODES, &rules)?;
    let template = PodTemplate::new("api", Container::new("app", IMAGE));
    let api = installation.cluster.deploy("shop", "api", 2, &template, NODES);
    both_pods_fail_and_recover_word_by_word(&installation, &api)?;
    let read = installation.cluster.asked().of("get", "pods");
    ensure!(read > NODES.len() as u64, "{read} pods were read: those of the tokens were not");
    ends_in_order(installation, &[FIRING, RESOLVED])
}
