//! Tocsin beside the cluster: its rights, its tokens, its two processes, and what they say of themselves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tocsin_tests::certs::{Authority, LOOPBACK};
use tocsin_tests::cluster::Cluster;
use tocsin_tests::metrics::{Metrics, http_get};
use tocsin_tests::processes::{Ended, Process, Programs, tail};

use crate::outside::Outside;
use crate::workloads::NAMESPACE;

/// What its people call the cluster.
pub(crate) const CLUSTER_NAME: &str = "real";
/// Rights, ServiceAccounts, and the DaemonSet whose pod stands for the agent.
const MANIFEST: &str = include_str!("../../cluster/tocsin.yaml");
const OWN: &str = "tocsin";
const AGENT: &str = "tocsin-node-agent";
const AGGREGATOR: &str = "tocsin-aggregator";
const AUDIENCE: &str = "tocsin-aggregator";

const LIMIT: Duration = Duration::from_mins(1);
/// What the processes are given to end in, and a bit for a busy machine.
const AGENT_ENDS: Duration = Duration::from_secs(10);
const AGGREGATOR_ENDS: Duration = Duration::from_secs(25);

/// The two processes.
pub(crate) struct Tocsin {
    aggregator: Option<Process>,
    agent: Process,
    addresses: Addresses,
    files: Files,
    programs: Programs,
}

/// Where the aggregator is.
struct Addresses {
    agents: String,
    metrics: String,
    api: String,
}

impl Tocsin {
    /// Gives Tocsin its place in the cluster, and starts it beside it. The calling thread is in the cluster's network.
    pub(crate) fn start(cluster: &mut Cluster, outside: &Outside) -> Result<Self> {
        let programs = Programs::built()?;
        cluster.apply(MANIFEST)?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        cluster.apply(&namespace.to_string())?;
        for namespace in [OWN, NAMESPACE] {
            cluster.until_pods_can_be_made(namespace, LIMIT)?;
        }
        let of_agent = ["pods", "-n", OWN, "-l", "app.kubernetes.io/component=node-agent"];
        let pod = cluster.watch(&of_agent, LIMIT, |pod| {
            let is_running = pod["status"]["phase"] == "Running";
            is_running.then(|| pod["metadata"]["name"].as_str().map(str::to_owned)).flatten()
        })?;

        let files = Files::write(cluster, outside, &pod)?;
        let any = || "127.0.0.1:0".to_owned();
        let any = Addresses { agents: any(), metrics: any(), api: any() };
        let (aggregator, addresses) = start_aggregator(cluster, &programs, &files, &any)?;

        let agent = Process::start(
            AGENT,
            cluster
                .command_in(&programs.node_agent)
                .args(["--metrics-listen=127.0.0.1:0", &format!("--node-name={}", cluster.node_name())])
                .arg(format!("--aggregator={}", addresses.agents))
                .arg(option("--ca-file", &files.authority))
                .arg(option("--token-file", &files.agent_token))
                .arg(option("--kubeconfig", &files.agent_kubeconfig)),
        )?;
        cluster.end_with(AGENT, agent.id())?;
        agent.until_said("session_opened", LIMIT).with_context(|| aggregator.tail())?;
        Ok(Self { aggregator: Some(aggregator), agent, addresses, files, programs })
    }

    /// Kills the aggregator without asking, and starts another in its place, which learns from the cluster what was told.
    pub(crate) fn replace_aggregator(&mut self, cluster: &mut Cluster) -> Result<()> {
        let before = sessions(&self.agent);
        self.aggregator.take().context("there is no aggregator")?.kill()?;
        let (aggregator, _) = start_aggregator(cluster, &self.programs, &self.files, &self.addresses)?;
        let aggregator = self.aggregator.insert(aggregator);
        aggregator.until_said("recalled", LIMIT)?;
        let agent = &self.agent;
        let again = || Ok((sessions(agent) > before).then_some(()));
        agent.until("a session with the next", LIMIT, again).with_context(|| aggregator.tail())
    }

    /// Waits until an issue that was told of has so many findings, and all of them are decided.
    pub(crate) fn until_members(&self, kind: &str, owner: &str, count: usize, limit: Duration) -> Result<()> {
        self.aggregator()?.until(&format!("{kind} of {owner} has {count} members"), limit, || {
            let open: Value = serde_json::from_str(&http_get(&self.addresses.api, "/api/v1/issues")?)?;
            let mut issues = open["issues"].as_array().into_iter().flatten();
            let issue = issues.find(|issue| issue["kind"] == kind && issue["owner"]["name"] == owner);
            let members = issue.and_then(|issue| issue["members"]["list"].as_array()).into_iter().flatten();
            Ok((members.filter(|member| member["isFinal"] == true).count() == count).then_some(()))
        })
    }

    /// Waits until no issue is open any more, told or not, and no finding waits for its fate.
    pub(crate) fn until_nothing_is_open(&self, limit: Duration) -> Result<()> {
        self.aggregator()?.until("all issues are over", limit, || {
            let metrics = self.metrics()?;
            let open = metrics.sum("tocsin_issues_open", &[])?;
            Ok((open + metrics.sum("tocsin_findings", &["state=\"pending\""])? == 0).then_some(()))
        })
    }

    /// The books: what was observed is somewhere.
    pub(crate) fn balances(&self) -> Result<()> {
        let metrics = self.metrics()?;
        metrics.balance()?;
        let told = metrics.sum("tocsin_findings", &["decision=\"told\"", "state=\"final\""])?;
        ensure!(told > 0, "nothing was told:\n{}", metrics.0);
        Ok(())
    }

    /// Both end in time and in order, and neither has had to say that something is wrong with it.
    pub(crate) fn end(self) -> Result<()> {
        let Self { aggregator, agent, .. } = self;
        let agent = agent.end(AGENT_ENDS).context("ending the agent")?;
        let aggregator =
            aggregator.context("there is no aggregator")?.end(AGGREGATOR_ENDS).context("ending the aggregator")?;
        for (name, Ended { status, lines }) in [(AGENT, agent), (AGGREGATOR, aggregator)] {
            ensure!(status.success(), "{name} ended with {status}\n{}", tail(name, &lines));
            let errors: Vec<_> = lines.iter().filter(|line| line.contains("\"level\":\"ERROR\"")).collect();
            ensure!(errors.is_empty(), "{name} has said: {errors:#?}");
        }
        Ok(())
    }

    /// What both processes said last, for errors.
    pub(crate) fn tails(&self) -> String {
        let issues = http_get(&self.addresses.api, "/api/v1/issues").unwrap_or_else(|error| format!("{error:#}"));
        let aggregator = self.aggregator.as_ref().map(Process::tail).unwrap_or_default();
        format!("{aggregator}\n{}\n--- open issues: {issues}", self.agent.tail())
    }

    fn aggregator(&self) -> Result<&Process> {
        self.aggregator.as_ref().context("there is no aggregator")
    }

    fn metrics(&self) -> Result<Metrics> {
        Metrics::scrape(&self.addresses.metrics)
    }
}

/// The files that the processes are given.
struct Files {
    config: std::path::PathBuf,
    aggregator_kubeconfig: std::path::PathBuf,
    agent_kubeconfig: std::path::PathBuf,
    agent_token: std::path::PathBuf,
    authority: std::path::PathBuf,
    certificate: std::path::PathBuf,
    key: std::path::PathBuf,
}

/// Starts an aggregator at these addresses; 0 takes any port.
fn start_aggregator(
    cluster: &mut Cluster,
    programs: &Programs,
    files: &Files,
    at: &Addresses,
) -> Result<(Process, Addresses)> {
    let Addresses { agents, metrics, api } = at;
    let mut command = cluster.command_in(&programs.aggregator);
    command
        .args([format!("--agents-listen={agents}"), format!("--metrics-listen={metrics}")])
        // A line for each report and each batch: then its figures are worth another look.
        .args([format!("--api-listen={api}"), "--log-level=debug".to_owned(), "--told-log=tocsin-told".to_owned()])
        .arg(option("--config", &files.config))
        .arg(option("--kubeconfig", &files.aggregator_kubeconfig))
        .arg(option("--tls-cert", &files.certificate))
        .arg(option("--tls-key", &files.key));
    let aggregator = Process::start(AGGREGATOR, &mut command)?;
    cluster.end_with(AGGREGATOR, aggregator.id())?;
    let started = aggregator.until_said("started", LIMIT)?;
    let address = |field: &str| started[field].as_str().map(str::to_owned).with_context(|| format!("{started}"));
    let at = Addresses { agents: address("agents")?, metrics: address("admin")?, api: address("api")? };
    Ok((aggregator, at))
}

impl Files {
    /// `pod` is the one that the agent's tokens are bound to, as projected ones are.
    fn write(cluster: &Cluster, outside: &Outside, pod: &str) -> Result<Self> {
        let folder = cluster.scratch_dir();
        let file = |name: &str, content: &str| {
            let path = folder.join(name);
            fs::write(&path, content).with_context(|| format!("writing {}", path.display())).map(|()| path)
        };
        let own = |account, audience, pod| cluster.service_account_token(OWN, account, audience, pod);
        let aggregator_token = file("aggregator-api-token", &own(AGGREGATOR, None, None)?)?;
        let agent_api_token = file("agent-api-token", &own(AGENT, None, Some(pod))?)?;
        let serving = Authority::new("tocsin-aggregator")?;
        let leaf = serving.leaf(&LOOPBACK)?;
        Ok(Self {
            config: file("config.yaml", &config(outside).to_string())?,
            aggregator_kubeconfig: cluster.kubeconfig_with_token_file(AGGREGATOR, &aggregator_token)?,
            agent_kubeconfig: cluster.kubeconfig_with_token_file(AGENT, &agent_api_token)?,
            agent_token: file("agent-token", &own(AGENT, Some(AUDIENCE), Some(pod))?)?,
            authority: file("ca.crt", serving.ca_pem())?,
            certificate: file("tls.crt", &leaf.cert_pem)?,
            key: file("tls.key", &leaf.key_pem)?,
        })
    }
}

/// Seconds where the defaults are minutes. JSON is YAML, too.
fn config(outside: &Outside) -> Value {
    // A pod has as long to become ready again when its node is back.
    let slow = json!({"sustain": "15s", "hold": "5s", "onceReadySeconds": 15});
    let quick = json!({"sustain": "2s", "hold": "5s"});
    json!({
        "clusterName": CLUSTER_NAME,
        "agents": {"heartbeat": "5s"},
        "rules": {
            "CrashLoopBackOff": quick,
            "ImagePull": quick,
            "OOMKilled": {"hold": "5s"},
            "NotReady": slow,
            "PodFailed": {"hold": "5s"},
            "Evicted": {"hold": "5s"},
            "Unschedulable": quick,
            // Longer than what it explains: the message counts the pods.
            "NodeNotReady": {"sustain": "25s", "hold": "5s", "youngSeconds": 0},
        },
        "sinks": {"outside": {
            "type": "ingest",
            "url": format!("{}/v1/issues", outside.url()),
            "caFile": outside.ca_file(),
            "tokenFile": outside.token_file(),
            "ratePerMinute": 0,
        }},
    })
}

fn option(name: &str, file: &Path) -> String {
    format!("{name}={}", file.display())
}

/// How many sessions an agent has had.
fn sessions(agent: &Process) -> usize {
    agent.lines().iter().filter(|line| line.contains("\"session_opened\"")).count()
}
