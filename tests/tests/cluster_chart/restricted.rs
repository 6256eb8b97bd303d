//! By helm 3, restricted to namespaces, without any right in the whole cluster, and with tokens in a Secret of the user's own.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tocsin_tests::chart::Helm;
use tocsin_tests::cluster::Cluster;

use super::day_by_day::mend;
use super::installation::{helm_of, pods, same, these_pods_when_ready};
use super::outside::{FORMER_TEAM, INGEST, Outside, TOKEN};
use super::{BROKEN, LIMIT, NAMESPACE, OWN, RESTRICTED_TO, TEST, deployment, deployment_in, doctor};

/// What the receiver wants after somebody has replaced the Secret.
const APPLIED: &str = "outside.applied";
/// That Secret.
const SECRET: &str = "receiver";

/// `release` and `values` are helm's arguments.
pub(crate) fn restricted_to_namespaces_it_tells_of_these_alone(
    cluster: &mut Cluster,
    outside: &mut Outside,
    release: &[&str],
    values: &[&str],
) -> Result<()> {
    outside.receiver.require_token(TOKEN);
    apply_token(cluster, TOKEN)?;
    let namespaces = format!("rbac.namespaceRestriction.namespaces={{{}}}", RESTRICTED_TO.join(","));
    let restricted = ["--set", "rbac.namespaceRestriction.enabled=true", "--set", &namespaces];
    let (ingest, team) = (format!("existingSecret={SECRET}"), format!("sinks.team.existingSecret={SECRET}"));
    let tokens = ["--set", "token=", "--set", &ingest, "--set", "existingSecretKey=token"];
    let of_team = ["--set", "sinks.team.token=", "--set", &team];
    helm_of(Helm::Three, cluster, &[&["install"], release, values, &restricted, &tokens, &of_team].concat())?;
    let installed = these_pods_when_ready(cluster, 2)?;
    for kind in ["clusterroles", "clusterrolebindings"] {
        let of_release = format!("--selector=app.kubernetes.io/instance={OWN}");
        let there = cluster.kubectl(&["get", kind, &of_release, "-o", "name"])?;
        ensure!(there.is_empty(), "rights in the whole cluster: {there}");
    }
    helm_of(Helm::Three, cluster, &TEST).with_context(|| doctor(cluster))?;

    // First where it does not look: had it been told, it would be there before the other.
    cluster.apply(&deployment("elsewhere", Cluster::BUSYBOX_IMAGE, BROKEN).to_string())?;
    crashes(cluster, NAMESPACE, "elsewhere")?;
    let watched = RESTRICTED_TO[0];
    cluster.apply(&deployment_in(watched, "watched", Cluster::BUSYBOX_IMAGE, BROKEN).to_string())?;
    outside.hears(&[(INGEST, "watched", "firing"), (FORMER_TEAM, "watched", "firing")])?;

    outside.receiver.require_token(APPLIED);
    mend(cluster, watched, "watched")?;
    outside.refuses("watched").context("with the former token")?;
    apply_token(cluster, APPLIED)?;
    let over = [(INGEST, "watched", "resolved"), (FORMER_TEAM, "watched", "resolved")];
    outside.hears(&over).context("with the token that was applied")?;
    same(&installed, &pods(cluster)?)?;
    helm_of(Helm::Three, cluster, &["uninstall", OWN, "--namespace", OWN, "--wait"])?;
    cluster.kubectl(&["delete", "secret", SECRET, "-n", OWN]).map(drop)
}

fn apply_token(cluster: &Cluster, token: &str) -> Result<()> {
    let metadata = json!({"name": SECRET, "namespace": OWN});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": token}});
    cluster.apply(&secret.to_string())
}

/// Waits until that Deployment's pod is in a crash loop.
fn crashes(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    let pods = ["pods", "-n", namespace, &format!("--selector=app={name}")];
    cluster.watch(&pods, LIMIT, |pod| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
        (waiting == "CrashLoopBackOff").then_some(())
    })
}
