//! The demo: a rolling update, a crash loop, a bad image and a dead node, in a simulated cluster with Tocsin's own programs
//! in it, and what is told outside as it arrives. It fails unless exactly what the story expects is told.

mod screen;
mod stage;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::apiserver::{Container, Deployment, PodTemplate};
use crate::installation::Installation;
use crate::processes::Programs;
use stage::Stage;

const NODES: &[&str] = &["node-1", "node-2", "node-3", "node-4", "node-5"];
/// The one that dies.
const DYING: &str = "node-4";
/// Its pods, beside those that are spread over all nodes.
const WORKERS: usize = 20;
/// Long enough to read a line, and for a healthy change to be told of if it were.
const BEAT: Duration = Duration::from_millis(400);

/// Plays the story. With `keep` it runs on until Ctrl-C.
pub fn play(keep: bool) -> Result<()> {
    let mut stage = Stage::new()?;
    stage.narrate("building tocsin-node-agent and tocsin-aggregator, if they have changed");
    let programs = Programs::built()?;
    let begun = Instant::now();
    stage.narrate(&format!(
        "starting a simulated API server, the aggregator, and an agent on each of {} nodes; sustains and holds are \
         seconds here, by default minutes",
        NODES.len()
    ));
    let mut installation = Installation::start(programs, NODES, &rules())?;
    let told = story(&mut stage, &mut installation);
    ensure!(!stage.is_interrupted(), "interrupted before the story's end");
    told.map_err(|error| error.context(installation.tails()))?;
    summary(&stage, &installation, begun.elapsed())?;
    if keep {
        stage.narrate("still running, until Ctrl-C:");
        stage.note(&installation.metrics_url());
        stage.note(&installation.issues_url());
        stage.until_interrupted(&installation);
        // The processes have heard Ctrl-C, too.
        return Ok(());
    }
    installation.end()
}

fn story(stage: &mut Stage, installation: &mut Installation) -> Result<()> {
    let image = |tag: &str| format!("registry.example/{tag}");
    let template = |app: &str, tag: &str| PodTemplate::new(app, Container::new("app", &image(tag)));
    let cluster = &installation.cluster;
    for namespace in ["payments", "shop", "batch"] {
        cluster.add_namespace(namespace);
    }
    let mut api = cluster.deploy("payments", "api", 5, &template("api", "payments/api:1.8"), NODES);
    let mut web = cluster.deploy("shop", "web", 8, &template("web", "shop/web:4.1"), NODES);
    cluster.deploy("batch", "worker", WORKERS, &template("worker", "batch/worker:2.0"), &[DYING]);

    stage.narrate("rolling update of shop/web, 8 pods, healthy all the way: nothing is told");
    let mut rollout = cluster.begin_rollout(&mut web, &template("web", "shop/web:4.2"));
    while rollout.step() {
        stage.hears(installation, &[], BEAT)?;
    }

    stage.narrate(
        "payments/api crash-loops in three of its five pods: waiting, running for a moment, ended, again and again",
    );
    crash_loop(stage, installation, &api)?;
    stage.narrate("payments/api is rolled back");
    installation.cluster.rollout(&mut api, &template("api", "payments/api:1.7"));
    stage.hears(installation, &["🟢 CrashLoopBackOff payments/api"], BEAT)?;

    stage.narrate("shop/search is deployed with an image that does not exist");
    let cluster = &installation.cluster;
    let search = cluster.deploy("shop", "search", 1, &template("search", "shop/search:0.9-typo"), &[]);
    for (pod, node) in search.pods.iter().zip(NODES) {
        cluster.schedule(pod, node);
        cluster.accept(pod);
        cluster.image_pull_fails(pod);
        stage.hears(installation, &[], BEAT)?;
        cluster.image_pull_backs_off(pod);
    }
    stage.hears(installation, &["🔴 ImagePull shop/search"], BEAT)?;
    stage.narrate("the image is pushed");
    for pod in &search.pods {
        cluster.run(pod);
    }
    stage.hears(installation, &["🟢 ImagePull shop/search"], BEAT)?;

    stage.narrate(&format!("{DYING} stops answering, with {} pods on it", pods_on(installation, DYING)));
    installation.cluster.node_dies(DYING);
    stage.hears(installation, &[&format!("🔴 NodeNotReady {DYING}")], BEAT)?;
    installation.kill_agent(DYING)?;
    stage.hears(installation, &[], BEAT)?;
    stage.narrate(&format!("{DYING} is switched on again, and its agent starts"));
    installation.cluster.node_recovers(DYING);
    installation.start_agent(DYING)?;
    stage.hears(installation, &[&format!("🟢 NodeNotReady {DYING}")], BEAT * 2)
}

/// Three pods crash and are started again, as the kubelet does it, in a shorter time.
fn crash_loop(stage: &mut Stage, installation: &Installation, api: &Deployment) -> Result<()> {
    let cluster = &installation.cluster;
    let failing = &api.pods[..3];
    for restarts in 1..=4 {
        for pod in failing {
            cluster.crash(pod, 1);
            cluster.crash_loop(pod, restarts);
        }
        // Three restarts are beyond doubt; before, it is given a moment.
        let told: &[&str] = if restarts == 4 { &["🔴 CrashLoopBackOff payments/api"] } else { &[] };
        stage.allows(&["🔴 CrashLoopBackOff payments/api"]);
        stage.hears(installation, told, BEAT)?;
        if restarts < 4 {
            for pod in failing {
                cluster.restart(pod);
            }
            stage.hears(installation, &[], BEAT / 2)?;
        }
    }
    Ok(())
}

/// What was there to be said, and what was said.
fn summary(stage: &Stage, installation: &Installation, took: Duration) -> Result<()> {
    installation.until_metrics("nothing is pending", |metrics| {
        metrics.balance()?;
        Ok(metrics.sum("tocsin_findings", &["state=\"pending\""])? == 0)
    })?;
    let metrics = installation.metrics()?;
    let observed = metrics.sum("tocsin_findings_observed_total", &[])?;
    let told = stage.told();
    stage.narrate(&format!("over, after {:.0} s", took.as_secs_f64()));
    stage.note(&format!("{:>4} changes of objects in the cluster", installation.cluster.changes()));
    stage.note(&format!("{observed:>4} findings observed by agents and aggregator"));
    stage.note(&format!(
        "{told:>4} messages: {} that something is wrong, {} that it is over",
        told.div_ceil(2),
        told / 2
    ));
    let accounts = metrics.0.lines().filter_map(|line| line.strip_prefix("tocsin_findings{decision=\""));
    let accounts = accounts.filter_map(|line| Some((line.split('"').next()?, line.rsplit(' ').next()?)));
    let accounts: Vec<_> =
        accounts.filter(|(_, count)| *count != "0").map(|(decision, count)| format!("{count} {decision}")).collect();
    stage.note(&format!("the books: {observed} observed = {}", accounts.join(" + ")));
    ensure!(observed >= WORKERS as u64, "only {observed} findings were observed: there were more");
    Ok(())
}

fn pods_on(installation: &Installation, node: &str) -> usize {
    installation.cluster.objects("/api/v1/pods").iter().filter(|pod| pod["spec"]["nodeName"] == node).count()
}

/// Seconds where the defaults are minutes.
fn rules() -> Value {
    let quick = json!({"sustain": "1s", "hold": "3s"});
    json!({
        "CrashLoopBackOff": quick,
        "ImagePull": quick,
        "NotReady": {"sustain": "2s", "hold": "3s", "onceReadySeconds": 2, "startSecondsMax": 2},
        "NodeNotReady": {"sustain": "4s", "hold": "3s", "youngSeconds": 0},
    })
}
