//! The certificate in a Secret of a real cluster, with no more rights than it takes (`tests/cluster/tocsin.yaml`): two
//! aggregators make one between them, an agent reads the CA, and what is wiped comes back.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tocsin_tests::cluster::{Cluster, Options};
use tocsin_tests::processes::{Ended, Process, Programs, tail};

const MANIFEST: &str = include_str!("../cluster/tocsin.yaml");
const NAMESPACE: &str = "tocsin";
const AGENT: &str = "tocsin-node-agent";
const AGGREGATOR: &str = "tocsin-aggregator";
const SECRET: [&str; 4] = ["secrets", "--field-selector=metadata.name=tocsin-tls", "-n", NAMESPACE];
const CONFIG_MAP: [&str; 4] = ["configmaps", "--field-selector=metadata.name=tocsin-ca", "-n", NAMESPACE];
/// Far above what any step takes, also while other tests keep the machine busy.
const LIMIT: Duration = Duration::from_mins(2);
/// What was wiped is back by then.
const HEALED: Duration = Duration::from_secs(30);

#[test]
fn two_aggregators_share_a_certificate_that_outlives_its_secret() -> Result<()> {
    let mut cluster = Cluster::start(Options::default())?;
    cluster.enter_network()?;
    cluster.apply(MANIFEST)?;
    let programs = Programs::built()?;
    let files = Files::write(&cluster)?;

    let aggregators = [(); 2].map(|()| files.aggregator(&mut cluster, &programs));
    let [first, second] = aggregators;
    let aggregators = [first?, second?];
    for aggregator in &aggregators {
        aggregator.until_said("certificate_served", LIMIT)?;
    }
    let made = aggregators.iter().flat_map(Process::lines).filter(|line| line.contains("\"ca_made\"")).count();
    ensure!(made == 1, "{made} CAs were made\n{}\n{}", aggregators[0].tail(), aggregators[1].tail());

    let address =
        aggregators[0].until_said("started", LIMIT)?["agents"].as_str().context("it says where it listens")?.to_owned();
    let agent = files.agent(&mut cluster, &programs, &address)?;
    agent.until_said("session_opened", LIMIT).with_context(|| aggregators[0].tail())?;

    let (secret, map) = (data(&cluster, &SECRET)?, data(&cluster, &CONFIG_MAP)?);
    for object in ["secret/tocsin-tls", "configmap/tocsin-ca"] {
        cluster.kubectl(&["patch", object, "-n", NAMESPACE, "--type=merge", "--patch={\"data\":null}"])?;
    }
    for (object, before) in [(SECRET, secret), (CONFIG_MAP, map)] {
        cluster.watch(&object, HEALED, |object| (object["data"] == before).then_some(()))?;
        // What is applied has no data, and takes none away.
        cluster.apply(MANIFEST)?;
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &files.manifest])?;
        ensure!(data(&cluster, &object)? == before, "applying the manifest has changed {object:?}");
    }

    let [first, second] = aggregators;
    for process in [agent, first, second] {
        let name = process.name().to_owned();
        let Ended { status, lines } = process.end(LIMIT)?;
        let errors: Vec<_> = lines.iter().filter(|line| line.contains("\"level\":\"ERROR\"")).collect();
        ensure!(status.success() && errors.is_empty(), "{name}: {status}, {errors:#?}\n{}", tail(&name, &lines));
    }
    cluster.stop()
}

/// The files that the processes are given.
struct Files {
    config: String,
    manifest: String,
    aggregator_kubeconfig: String,
    agent_kubeconfig: String,
    agent_token: String,
}

impl Files {
    /// The agent's tokens are bound to the DaemonSet's pod, as projected ones are.
    fn write(cluster: &Cluster) -> Result<Self> {
        let file = |name: &str, content: &str| {
            let path = cluster.scratch_dir().join(name);
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
            Ok::<_, anyhow::Error>(path.display().to_string())
        };
        let own = |name: &str, account: &str, pod| {
            let token = cluster.service_account_token(NAMESPACE, account, None, pod)?;
            let kubeconfig = cluster.kubeconfig_with_token_file(name, file(name, &token)?.as_ref())?;
            Ok::<_, anyhow::Error>(kubeconfig.display().to_string())
        };
        let of_agent = ["pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=node-agent"];
        let pod = cluster.watch(&of_agent, LIMIT, |pod| {
            let is_running = pod["status"]["phase"] == "Running";
            is_running.then(|| pod["metadata"]["name"].as_str().map(str::to_owned)).flatten()
        })?;
        let token = cluster.service_account_token(NAMESPACE, AGENT, Some(AGGREGATOR), Some(&pod))?;
        Ok(Self {
            config: file("config.yaml", "clusterName: real\n")?,
            manifest: file("tocsin.yaml", MANIFEST)?,
            aggregator_kubeconfig: own("aggregator-api", AGGREGATOR, None)?,
            agent_kubeconfig: own("agent-api", AGENT, Some(&pod))?,
            agent_token: file("agent-token", &token)?,
        })
    }

    fn aggregator(&self, cluster: &mut Cluster, programs: &Programs) -> Result<Process> {
        let mut command = cluster.command_in(&programs.aggregator);
        command
            .args(["--agents-listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--api-listen=127.0.0.1:0"])
            .args(["--tls-secret=tocsin-tls", "--ca-config-map=tocsin-ca"])
            .args([format!("--config={}", self.config), format!("--kubeconfig={}", self.aggregator_kubeconfig)]);
        start(cluster, AGGREGATOR, command)
    }

    fn agent(&self, cluster: &mut Cluster, programs: &Programs, aggregator: &str) -> Result<Process> {
        let mut command = cluster.command_in(&programs.node_agent);
        command
            .args(["--metrics-listen=127.0.0.1:0", "--ca-config-map=tocsin-ca"])
            .args([format!("--node-name={}", cluster.node_name()), format!("--aggregator={aggregator}")])
            .arg("--aggregator-name=tocsin-aggregator.tocsin.svc")
            .args([format!("--token-file={}", self.agent_token), format!("--kubeconfig={}", self.agent_kubeconfig)]);
        start(cluster, AGENT, command)
    }
}

fn start(cluster: &mut Cluster, name: &str, mut command: std::process::Command) -> Result<Process> {
    let process = Process::start(name, &mut command)?;
    cluster.end_with(name, process.id())?;
    Ok(process)
}

/// What the one object holds that is asked for.
fn data(cluster: &Cluster, object: &[&str]) -> Result<Value> {
    let data = cluster.get(object)?["items"][0]["data"].clone();
    ensure!(data.is_object(), "{object:?} holds nothing");
    Ok(data)
}
