//! From an earlier chart and earlier images to these, back, and forward again, while failures are open: whoever leads goes on
//! with what the other has told and kept in the cluster.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tocsin_tests::certs::Authority;
use tocsin_tests::cluster::Cluster;
use tocsin_tests::earlier::Earlier;

use super::day_by_day::mend;
use super::installation::{agents, aggregators, helm, leader, others_when_ready, pods, pods_when_ready, same, trusted};
use super::outside::{FORMER_TEAM, INGEST, Outside};
use super::{BROKEN, LIMIT, NAMESPACE, OWN, SUCCESSOR, deployment};

/// A Secret of the user's own.
const CERTIFICATE: &str = "own-certificate";

/// `release` and `values` are helm's arguments, the first with the name and the chart before the others. What breaks first stays
/// broken.
pub(crate) fn an_earlier_one_is_upgraded_and_rolled_back_and_tells_nothing_again(
    cluster: &mut Cluster,
    outside: &mut Outside,
    earlier: &Earlier,
    release: &[&str],
    values: &[&str],
) -> Result<()> {
    let chart = earlier.chart().display().to_string();
    let tags = ["nodeAgent", "aggregator"].map(|part| format!("{part}.image.tag={}", Earlier::TAG));
    let images = ["--set", &tags[0], "--set", &tags[1]];
    let of_earlier = [&[release[0], &chart], &release[2..], values, &images].concat();
    helm(cluster, &[&["install"], &of_earlier[..]].concat()).context("installing the earlier chart")?;
    let former = pods_when_ready(cluster)?;
    ensure!(tags_that_run(cluster)? == [Earlier::TAG], "these run: {:?}", tags_that_run(cluster)?);
    cluster.apply(&deployment("first", Cluster::BUSYBOX_IMAGE, BROKEN).to_string())?;
    outside.hears(&[(INGEST, "first", "firing"), (FORMER_TEAM, "first", "firing")])?;

    helm(cluster, &[&["upgrade"], release, values].concat()).context("upgrading it")?;
    let upgraded = others_when_ready(cluster, &former).context("after the upgrade")?;
    let tags = tags_that_run(cluster)?;
    ensure!(tags.len() == 1 && tags != [Earlier::TAG], "these run: {tags:?}");
    cluster.apply(&deployment("upgraded", Cluster::BUSYBOX_IMAGE, BROKEN).to_string())?;
    outside.hears(&[(INGEST, "upgraded", "firing"), (FORMER_TEAM, "upgraded", "firing")])?;

    let rollback = |to| ["rollback", OWN, to, "--namespace", OWN, "--wait", "--timeout=3m"];
    helm(cluster, &rollback("1")).context("rolling back")?;
    let back = others_when_ready(cluster, &upgraded).context("after the rollback")?;
    ensure!(tags_that_run(cluster)? == [Earlier::TAG], "these run: {:?}", tags_that_run(cluster)?);
    mend(cluster, NAMESPACE, "upgraded")?;
    let over = [(INGEST, "upgraded", "resolved"), (FORMER_TEAM, "upgraded", "resolved")];
    outside.hears(&over).context("from the earlier one, about what the later one told")?;

    let forward = a_later_aggregator_with_a_certificate_of_ones_own(cluster, outside, release, values)?;
    ensure!(forward.is_disjoint(&back), "not all were replaced: {back:#?}, {forward:#?}");
    helm(cluster, &rollback("2")).context("going back to these")?;
    let present = pods_when_ready(cluster)?;
    ensure!(agents(&present) == agents(&forward), "other agents: {forward:#?}, {present:#?}");
    ensure!(present.intersection(&forward).count() == 1, "these aggregators are still there: {present:#?}");
    ensure!(tags_that_run(cluster)? == tags, "these run: {:?}", tags_that_run(cluster)?);
    cluster.kubectl(&["delete", "secret", CERTIFICATE, "-n", OWN])?;
    mend(cluster, NAMESPACE, "later")?;
    outside.hears(&[(INGEST, "later", "resolved"), (FORMER_TEAM, "later", "resolved")])
}

/// The agents are the present ones, and so of the version of the report format before the aggregator's. The certificate is
/// replaced by one of another CA: the agents, which nobody starts anew, have that from there on, and then the chart's own.
fn a_later_aggregator_with_a_certificate_of_ones_own(
    cluster: &mut Cluster,
    outside: &mut Outside,
    release: &[&str],
    values: &[&str],
) -> Result<BTreeSet<String>> {
    let [first, second] = ["first", "second"].map(Authority::new);
    let (first, second) = (first?, second?);
    apply_certificate(cluster, &first)?;
    let (_, tag) = SUCCESSOR.split_once(':').context("an image has a tag")?;
    let (tag, own) = (format!("aggregator.image.tag={tag}"), format!("tls.existingSecret={CERTIFICATE}"));
    let later = ["--set", &tag, "--set", &own, "--set", "aggregator.extraArgs={--log-level=debug}"];
    helm(cluster, &[&["upgrade"], release, values, &later].concat()).context("upgrading the aggregator further")?;
    let forward = pods_when_ready(cluster)?;
    cluster.apply(&deployment("later", Cluster::BUSYBOX_IMAGE, BROKEN).to_string())?;
    outside.hears(&[(INGEST, "later", "firing"), (FORMER_TEAM, "later", "firing")])?;
    let leader = leader(cluster, |_| true)?;
    let said = cluster.kubectl(&["logs", "-n", OWN, &leader])?;
    let mut sessions = said.lines().filter(|line| line.contains("\"session_opened\""));
    let former = sessions.next().context("no agent has a session")?;
    ensure!(former.contains("\"version\":1,") || former.contains("\"version\":1}"), "{former}");

    apply_certificate(cluster, &second)?;
    cluster.wait_for("both show what the other CA has signed", LIMIT, |cluster| {
        ensure!(trusted(cluster)? == second.ca_pem(), "it is not published");
        aggregators(cluster)?.iter().try_for_each(|address| outside.accepts(second.ca_pem(), address))?;
        Ok(Some(()))
    })?;
    same(&forward, &pods(cluster)?)?;
    Ok(forward)
}

/// As cert-manager writes it.
fn apply_certificate(cluster: &Cluster, authority: &Authority) -> Result<()> {
    let leaf = authority.leaf(&[&format!("{OWN}-aggregator.{OWN}.svc")])?;
    let data = json!({"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem, "ca.crt": authority.ca_pem()});
    let metadata = json!({"name": CERTIFICATE, "namespace": OWN});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "stringData": data,
    });
    cluster.apply(&secret.to_string())
}

/// The tags of the images that the release's pods run.
fn tags_that_run(cluster: &Cluster) -> Result<Vec<String>> {
    let list = cluster.get(&["pods", "-n", OWN])?;
    let pods = list["items"].as_array().context("a list of pods")?;
    let images = pods.iter().filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str());
    let tags: BTreeSet<_> = images.filter_map(|image| image.rsplit_once(':')).map(|(_, tag)| tag.to_owned()).collect();
    Ok(tags.into_iter().collect())
}
