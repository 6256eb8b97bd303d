//! What an installation goes through in its days, while failures are open: each step is a change that somebody makes, and what
//! is told because of it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tocsin_tests::chart::{self, Helm};
use tocsin_tests::cluster::Cluster;

use super::installation::{aggregators, helm, leader, pods, pods_when_ready, same, trusted};
use super::outside::{FORMER_TEAM, INGEST, Outside, TEAM};
use super::{BROKEN, LIMIT, NAMESPACE, OWN, deployment, deployment_in};

const CERTIFICATE_ENDS: &str = "-----END CERTIFICATE-----";
/// What the receiver wants after the token was rotated.
const ROTATED: &str = "outside.rotated";

/// A drain asks for an eviction of each pod, again and again while it is refused.
pub(crate) fn a_drain_takes_the_leader_and_the_other_goes_on(
    cluster: &mut Cluster,
    outside: &mut Outside,
) -> Result<()> {
    let first = leader(cluster, |_| true)?;
    let aggregators = cluster.get(&["pods", "-n", OWN, "--selector=app.kubernetes.io/component=aggregator"])?;
    let aggregators = aggregators["items"].as_array().context("a list of pods")?;
    let mut names = aggregators.iter().filter_map(|pod| pod["metadata"]["name"].as_str());
    let other = names.find(|name| *name != first).context("another aggregator")?;
    evict(cluster, &first).context("evicting the leader")?;
    let refused = evict(cluster, other).err().context("both aggregators are evicted at a time")?;
    ensure!(format!("{refused:#}").contains("disruption budget"), "{refused:#}");

    leader(cluster, |pod| pod != first).context("another one leads")?;
    cluster.apply(&deployment("second", Cluster::BUSYBOX_IMAGE, BROKEN).to_string())?;
    outside.hears(&[(INGEST, "second", "firing"), (FORMER_TEAM, "second", "firing")])
}

/// `release` and `values` are helm's arguments; the kind ImagePull was off so far.
pub(crate) fn a_changed_rule_and_sink_roll_no_pod(
    cluster: &mut Cluster,
    outside: &mut Outside,
    release: &[&str],
    values: &[&str],
) -> Result<()> {
    let before = pods_when_ready(cluster)?;
    let url = format!("sinks.team.url={}{TEAM}", outside.receiver.url());
    let changes = ["--set", "rules.ImagePull.enabled=true", "--set", "rules.ImagePull.sustain=2s", "--set", &url];
    helm(cluster, &[&["upgrade"], release, values, &changes].concat()).context("upgrading")?;
    cluster.apply(&deployment("third", "localhost/absent:1", BROKEN).to_string())?;
    outside
        .hears(&[(INGEST, "third", "firing"), (TEAM, "third", "firing")])
        .context("with a rule and a sink changed")?;
    same(&before, &pods(cluster)?)
}

/// By the commands that the chart's README has. What agents do with it is seen when the next one leads.
pub(crate) fn another_ca_is_made_on_request_without_the_former_and_rolls_no_pod(
    cluster: &mut Cluster,
    outside: &Outside,
) -> Result<()> {
    let (before, former) = (pods(cluster)?, trusted(cluster)?);
    cluster.shell(&from_readme("\"renew\":\"ca\"")?)?;
    let newer = cluster.wait_for("both show what another CA has signed", LIMIT, |cluster| {
        let trusted = trusted(cluster)?;
        let (newer, rest) = trusted.split_once(CERTIFICATE_ENDS).context("no certificate")?;
        ensure!(rest.contains(former.trim()), "the former CA is trusted no more");
        let newer = format!("{newer}{CERTIFICATE_ENDS}\n");
        aggregators(cluster)?.iter().try_for_each(|address| outside.accepts(&newer, address))?;
        Ok(Some(newer))
    })?;
    cluster.shell(&from_readme("first=")?)?;
    cluster.wait_for("the former CA is trusted no more", LIMIT, |cluster| {
        let trusted = trusted(cluster)?;
        Ok((trusted.trim() == newer.trim()).then_some(()))
    })?;
    same(&before, &pods(cluster)?)
}

/// The commands of the chart's README among which is this text.
fn from_readme(text: &str) -> Result<String> {
    let readme = std::fs::read_to_string(chart::folder().join("README.md"))?;
    let mut all = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    all.find(|commands| commands.contains(text)).map(str::to_owned).with_context(|| format!("it does not say {text}"))
}

pub(crate) fn a_rotated_token_rolls_no_pod(
    cluster: &mut Cluster,
    outside: &mut Outside,
    release: &[&str],
) -> Result<()> {
    let before = pods(cluster)?;
    outside.receiver.require_token(ROTATED);
    mend(cluster, NAMESPACE, "second")?;
    outside.refuses("second").context("with the former token")?;
    let tokens = [format!("token={ROTATED}"), format!("sinks.team.token={ROTATED}")];
    let rotated = ["--reuse-values", "--set", &tokens[0], "--set", &tokens[1]];
    helm(cluster, &[&["upgrade"], release, &rotated].concat()).context("upgrading")?;
    outside.hears(&[(INGEST, "second", "resolved"), (TEAM, "second", "resolved")]).context("with the rotated token")?;
    same(&before, &pods(cluster)?)
}

pub(crate) fn what_was_open_from_the_beginning_is_over_once(cluster: &Cluster, outside: &mut Outside) -> Result<()> {
    mend(cluster, NAMESPACE, "first")?;
    outside.hears(&[(INGEST, "first", "resolved"), (TEAM, "first", "resolved")])
}

/// As tools do that follow a repository: they render, and apply all of it on the server, again and again.
pub(crate) fn applied_again_and_again_the_chart_changes_nothing(cluster: &mut Cluster) -> Result<()> {
    let before = pods_when_ready(cluster)?;
    let kept = kept(cluster)?;
    let file = |name: &str| cluster.scratch_dir().join(name).display().to_string();
    let (values, manifest) = (file("values.json"), file("manifest.yaml"));
    std::fs::write(&values, helm(cluster, &["get", "values", OWN, "--namespace", OWN, "--output=json"])?)?;
    let chart = chart::folder().display().to_string();
    let rendered =
        Helm::Four.run(&["template", OWN, &chart, "--namespace", OWN, "--skip-tests", "--values", &values])?;
    std::fs::write(&manifest, rendered)?;

    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "--filename", &manifest];
    cluster.kubectl(&apply)?;
    ensure!(self::kept(cluster)? == kept, "what the programs keep has changed");
    let versions = |cluster: &Cluster| -> Result<BTreeSet<String>> {
        let columns = "--output=custom-columns=:kind,:metadata.namespace,:metadata.name,:metadata.resourceVersion";
        let list = cluster.kubectl(&["get", "--filename", &manifest, columns])?;
        Ok(list.lines().map(str::to_owned).collect())
    };
    // What was told is written down a moment later, and put in order once a minute: that can come between.
    cluster.wait_for("an application that changes nothing", LIMIT, |cluster| {
        let once = versions(cluster)?;
        cluster.kubectl(&apply)?;
        let again = versions(cluster)?;
        ensure!(once == again, "changed: {:?}", again.difference(&once).collect::<Vec<_>>());
        Ok((!once.is_empty()).then_some(()))
    })?;
    ensure!(self::kept(cluster)? == kept, "what the programs keep has changed");
    same(&before, &pods(cluster)?)
}

/// The certificate and the authorities that agents trust. What was told changes by itself, but is never nothing.
fn kept(cluster: &Cluster) -> Result<[Value; 2]> {
    let data = |object: &str| {
        let data = cluster.get(&["-n", OWN, object])?["data"].clone();
        ensure!(data.as_object().is_some_and(|data| !data.is_empty()), "{object} is empty");
        Ok(data)
    };
    data("configmap/tocsin-told-journal")?;
    Ok([data("secret/tocsin-serving")?, data("configmap/tocsin-trust")?])
}

/// Asks as a drain does.
fn evict(cluster: &Cluster, pod: &str) -> Result<String> {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": OWN}});
    let file = cluster.scratch_dir().join("eviction.json");
    std::fs::write(&file, eviction.to_string())?;
    let path = format!("/api/v1/namespaces/{OWN}/pods/{pod}/eviction");
    cluster.kubectl(&["create", "--raw", &path, "--filename", &file.display().to_string()])
}

/// Such that its pods run.
pub(crate) fn mend(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    cluster.apply(&deployment_in(namespace, name, Cluster::BUSYBOX_IMAGE, "sleep 36000").to_string())?;
    let rollout = ["rollout", "status", "-n", namespace, &format!("deployment/{name}")];
    let limit = format!("--timeout={}s", LIMIT.as_secs());
    cluster.kubectl(&[&rollout[..], &[&limit]].concat()).map(drop)
}
