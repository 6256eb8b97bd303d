//! The chart on a real cluster, by real helm, with the images as they are shipped: it installs with one line into a namespace
//! that enforces `restricted` Pod Security, as an earlier chart with earlier images at first, which is upgraded; it says itself
//! whether all of it works (`helm test`), tells real failures, lives through what happens to it day by day, and leaves nothing
//! behind.

#[path = "cluster_chart/day_by_day.rs"]
mod day_by_day;
#[path = "cluster_chart/installation.rs"]
mod installation;
#[path = "cluster_chart/outside.rs"]
mod outside;
#[path = "cluster_chart/restricted.rs"]
mod restricted;
#[path = "cluster_chart/upgrade.rs"]
mod upgrade;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tocsin_tests::chart::{self, Helm};
use tocsin_tests::cluster::{Cluster, Options};
use tocsin_tests::earlier::Earlier;
use tocsin_tests::images::Image;
use tocsin_tests::processes::Programs;

use day_by_day::{
    a_changed_rule_and_sink_roll_no_pod, a_drain_takes_the_leader_and_the_other_goes_on, a_rotated_token_rolls_no_pod,
    another_ca_is_made_on_request_without_the_former_and_rolls_no_pod,
    applied_again_and_again_the_chart_changes_nothing, what_was_open_from_the_beginning_is_over_once,
};
use installation::{helm, helm_of, objects, pods, same, state};
use outside::{FORMER_TEAM, INGEST, Outside, TOKEN};
use restricted::restricted_to_namespaces_it_tells_of_these_alone;
use upgrade::an_earlier_one_is_upgraded_and_rolled_back_and_tells_nothing_again;

const LIMIT: Duration = Duration::from_mins(3);
const OWN: &str = "tocsin";
/// Where something breaks.
const NAMESPACE: &str = "shop";
/// A container that crashes.
const BROKEN: &str = "exit 3";
/// An image of an aggregator that speaks the next version of the report format, too.
const SUCCESSOR: &str = "tocsin/aggregator:successor";
const TEST: [&str; 5] = ["test", OWN, "--namespace", OWN, "--timeout=2m"];
/// What an entry of the matrix is restricted to.
const RESTRICTED_TO: [&str; 2] = ["production", "staging"];
/// Kinds of the Prometheus operator, which is not there.
const ABSENT: [&str; 3] = ["PodMonitor", "PrometheusRule", "ServiceMonitor"];

#[test]
fn one_line_installs_it_and_a_real_failure_is_told_through_all_that_happens_to_it() -> Result<()> {
    // First: cargo puts both builds' programs in one place, and leaves there what it was asked for last.
    let earlier = Earlier::built()?;
    let images = Image::shipped(&Programs::released()?)?;
    let successor = Image::with_libraries(SUCCESSOR, &Programs::successors()?.aggregator)?;
    let mut cluster = Cluster::start(Options::default())?;
    cluster.start_services()?;
    cluster.enter_network()?;
    for image in images.iter().chain(&earlier.images()?).chain([&successor]) {
        cluster.import_image(image)?;
    }
    let others = [NAMESPACE].into_iter().chain(RESTRICTED_TO).map(|namespace| (namespace, "privileged"));
    for (namespace, level) in [(OWN, "restricted")].into_iter().chain(others) {
        let labels = json!({"pod-security.kubernetes.io/enforce": level});
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
        cluster.create(&object)?;
    }
    every_matrix_entry_passes_a_strict_dry_run(&cluster)?;

    let mut outside = Outside::start()?;
    let before = objects(&cluster)?;
    let played = play(&mut cluster, &mut outside, &earlier);
    if let Err(error) = played {
        return Err(error.context(state(&cluster)));
    }
    // Helm waits for what it has made itself: pods and the Lease go a moment after that.
    cluster.wait_for("nothing is left behind", LIMIT, |cluster| {
        let after = objects(cluster)?;
        ensure!(after == before, "left behind: {:#?}", after.difference(&before).collect::<Vec<_>>());
        Ok(Some(()))
    })?;
    drop(outside);
    cluster.stop()
}

fn play(cluster: &mut Cluster, outside: &mut Outside, earlier: &Earlier) -> Result<()> {
    let ca = cluster.scratch_dir().join("ca.pem");
    std::fs::write(&ca, outside.receiver.ca_pem())?;
    let chart = chart::folder().display().to_string();
    let url = outside.receiver.url();
    let mut values: Vec<_> = ["--set-file".to_owned(), format!("caBundle={}", ca.display())].into();
    for value in [
        "clusterName=real".to_owned(),
        format!("ingest.url={url}{INGEST}"),
        format!("token={TOKEN}"),
        "sinks.team.type=webhook".to_owned(),
        format!("sinks.team.url={url}{FORMER_TEAM}"),
        format!("sinks.team.token={TOKEN}"),
        "rules.CrashLoopBackOff.sustain=2s".to_owned(),
        "rules.CrashLoopBackOff.hold=5s".to_owned(),
        "rules.ImagePull.enabled=false".to_owned(),
    ] {
        values.extend(["--set".to_owned(), value]);
    }
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let release = [OWN, &chart, "--namespace", OWN, "--wait", "--timeout=3m"];
    an_earlier_one_is_upgraded_and_rolled_back_and_tells_nothing_again(cluster, outside, earlier, &release, &values)?;
    it_says_itself_whether_it_works(cluster, outside)?;
    another_ca_is_made_on_request_without_the_former_and_rolls_no_pod(cluster, outside)?;
    a_drain_takes_the_leader_and_the_other_goes_on(cluster, outside)?;
    a_changed_rule_and_sink_roll_no_pod(cluster, outside, &release, &values)?;
    a_rotated_token_rolls_no_pod(cluster, outside, &release)?;
    what_was_open_from_the_beginning_is_over_once(cluster, outside)?;
    applied_again_and_again_the_chart_changes_nothing(cluster)?;

    helm(cluster, &["uninstall", OWN, "--namespace", OWN, "--wait"])?;
    outside.hears(&[])?;
    restricted_to_namespaces_it_tells_of_these_alone(cluster, outside, &release, &values)
        .context("restricted to namespaces")
}

/// Both helms: it passes, tells nobody anything and leaves nothing; it fails when the token is refused, and says so; and it passes
/// again.
fn it_says_itself_whether_it_works(cluster: &Cluster, outside: &mut Outside) -> Result<()> {
    let there = pods(cluster)?;
    for with in Helm::BOTH {
        helm_of(with, cluster, &TEST).with_context(|| format!("{with:?} test\n{}", doctor(cluster)))?;
        same(&there, &pods(cluster)?).with_context(|| format!("{with:?} test leaves something"))?;
    }
    outside.hears(&[]).context("somebody was told of a test")?;

    outside.receiver.require_token("another.secret");
    let failed = helm_of(Helm::Four, cluster, &TEST);
    ensure!(failed.is_err(), "helm test passes with tokens that are refused");
    let said = doctor(cluster);
    let failures: Vec<_> = said.lines().filter(|line| line.starts_with("FAILED ")).collect();
    ensure!(failures.len() == 2 && failures.iter().all(|failure| failure.contains("401 Unauthorized")), "{said}");
    for sink in ["ingest", "team"] {
        ensure!(failures.iter().any(|failure| failure.contains(&format!("sink {sink}"))), "{said}");
        let advice = format!("=> the receiver refuses the token in /etc/tocsin/tokens/{sink}: write the right one");
        ensure!(said.contains(&advice), "{said}");
    }
    ensure!(said.contains("ok       agents") && said.contains("1 of 1 are connected"), "{said}");
    outside.receiver.require_token(TOKEN);
    helm_of(Helm::Four, cluster, &TEST).with_context(|| format!("testing again\n{}", doctor(cluster)))?;
    same(&there, &pods(cluster)?).context("a test leaves something")
}

/// What the pod of `helm test` says, if it is there.
fn doctor(cluster: &Cluster) -> String {
    let said = cluster.kubectl(&["logs", "-n", OWN, &format!("{OWN}-doctor")]);
    said.unwrap_or_else(|error| format!("{error:#}"))
}

/// Each is what the real API server accepts, to the last field.
fn every_matrix_entry_passes_a_strict_dry_run(cluster: &Cluster) -> Result<()> {
    for entry in std::fs::read_dir(chart::folder().join("ci"))? {
        let values = entry?.path();
        let arguments = [OWN, &chart::folder().display().to_string(), "-n", OWN, "-f", &values.display().to_string()];
        let mut objects = Helm::Four.template(&arguments)?;
        objects.retain(|object| ABSENT.iter().all(|kind| object["kind"] != *kind));
        // A pod is let in only where its ServiceAccount is, which a dry run leaves nowhere.
        for pod in objects.iter_mut().filter(|object| object["kind"] == "Pod") {
            let template = json!({"metadata": {"labels": pod["metadata"]["labels"]}, "spec": pod["spec"]});
            let metadata = &pod["metadata"];
            *pod = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata, "template": template});
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let file = cluster.scratch_dir().join("list.json");
        std::fs::write(&file, list.to_string())?;
        let dry = ["apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f"];
        let applied = cluster.kubectl(&[&dry[..], &[&file.display().to_string()]].concat());
        applied.with_context(|| format!("dry run of {}", values.display()))?;
    }
    Ok(())
}

fn deployment(name: &str, image: &str, script: &str) -> Value {
    deployment_in(NAMESPACE, name, image, script)
}

fn deployment_in(namespace: &str, name: &str, image: &str, script: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": image, "args": ["-c", script]}]},
            },
        },
    })
}
