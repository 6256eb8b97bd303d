//! Tocsin beside the cluster: one aggregator, and an agent for each node, with tokens as projected ones are.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use http::Request;
use kube::Client;
use process::Clock;
use process::kube_client::{self, Access};
use serde_json::{Value, json};
use tocsin_tests::cluster::Cluster;
use tocsin_tests::metrics::{Metrics, http_get};
use tocsin_tests::processes::{Ended, Process, Programs, tail};

use crate::LIMIT;
use crate::cost::Asked;
use crate::outside::Outside;

pub(crate) const OWN: &str = "tocsin";
pub(crate) const AGENT: &str = "tocsin-node-agent";
pub(crate) const AGGREGATOR: &str = "tocsin-aggregator";
const MANIFEST: &str = include_str!("../../cluster/tocsin.yaml");
const RESIDENT: &str = "process_resident_memory_bytes";

pub(crate) struct Tocsin {
    aggregator: Process,
    agents: Vec<Process>,
}

impl Tocsin {
    /// Gives Tocsin its place in the cluster, and starts it beside it; the API server counts what it is asked for. The calling
    /// thread is in the cluster's network.
    pub(crate) fn start(
        cluster: &mut Cluster,
        programs: &Programs,
        outside: &Outside,
        nodes: &[String],
    ) -> Result<Self> {
        cluster.apply(MANIFEST)?;
        Asked::count_from_now_on(cluster)?;
        let pods = agent_pods(cluster, nodes)?;

        let folder = cluster.scratch_dir();
        let config = folder.join("config.yaml");
        fs::write(&config, configuration(outside).to_string())?;
        let token = folder.join("aggregator.token");
        fs::write(&token, cluster.service_account_token(OWN, AGGREGATOR, None, None)?)?;
        let kubeconfig = cluster.kubeconfig_with_token_file(AGGREGATOR, &token)?;
        let mut command = cluster.command_in(&programs.aggregator);
        command
            .args(["--agents-listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--api-listen=127.0.0.1:0"])
            // A line for each report: then its figures are worth another look.
            .args([
                "--tls-secret=tocsin-tls",
                "--ca-config-map=tocsin-ca",
                "--told-log=tocsin-told",
                "--log-level=debug",
            ])
            .args([option("--config", &config), option("--kubeconfig", &kubeconfig)]);
        let aggregator = start(cluster, AGGREGATOR, command)?;
        let address = aggregator.until_said("started", LIMIT)?["agents"].as_str().context("it says where")?.to_owned();
        aggregator.until_said("certificate_served", LIMIT)?;

        let tokens = outside.runtime.block_on(tokens(&cluster.admin_kubeconfig(), &pods))?;
        let mut agents = Vec::new();
        for (node, [own, shown]) in &tokens {
            let file = |name: &str, content: &str| {
                let path = folder.join(format!("{node}.{name}"));
                fs::write(&path, content).with_context(|| format!("writing {}", path.display())).map(|()| path)
            };
            let kubeconfig = cluster.kubeconfig_with_token_file(node, &file("own-token", own)?)?;
            let mut command = cluster.command_in(&programs.node_agent);
            command
                .args(["--metrics-listen=127.0.0.1:0", "--ca-config-map=tocsin-ca", &format!("--node-name={node}")])
                .args([&format!("--aggregator={address}"), "--aggregator-name=tocsin-aggregator.tocsin.svc"])
                .args([option("--token-file", &file("token", shown)?), option("--kubeconfig", &kubeconfig)]);
            agents.push(start(cluster, &format!("the agent of {node}"), command)?);
        }
        for agent in &agents {
            agent.until_said("session_opened", LIMIT).with_context(|| aggregator.tail())?;
        }
        let tocsin = Self { aggregator, agents };
        tocsin.until("all agents are connected", |figures| {
            let [expected, connected] = ["expected", "connected"].map(|which| format!("tocsin_agents_{which}"));
            Ok([figures.sum(&expected, &[])?, figures.sum(&connected, &[])?] == [nodes.len() as u64; 2])
        })?;
        Ok(tocsin)
    }

    /// Waits until every agent has reported what it saw until now: so often as to have sent two heartbeats each.
    pub(crate) fn until_all_have_reported(&self) -> Result<()> {
        let before = self.reports()?;
        for (agent, before) in self.agents.iter().zip(before) {
            self.aggregator.until("two more heartbeats", LIMIT, || {
                Ok((scrape(agent)?.sum("tocsin_reports_total", &[])? >= before + 2).then_some(()))
            })?;
        }
        Ok(())
    }

    /// Waits until the one open issue of this kind has so many findings.
    pub(crate) fn until_members(&self, kind: &str, count: usize) -> Result<()> {
        let api = self.aggregator.until_said("started", LIMIT)?["api"].as_str().context("it says where")?.to_owned();
        self.aggregator.until(&format!("{kind} has {count} members"), LIMIT, || {
            let open: Value = serde_json::from_str(&http_get(&api, "/api/v1/issues")?)?;
            let mut issues = open["issues"].as_array().into_iter().flatten();
            let issue = issues.find(|issue| issue["kind"] == kind);
            Ok(issue.filter(|issue| issue["members"]["total"] == count).map(drop))
        })
    }

    /// Waits until no issue is open any more, told or not, and no finding waits for its fate.
    pub(crate) fn until_nothing_is_open(&self) -> Result<()> {
        self.until("all issues are over", |figures| {
            let pending = figures.sum("tocsin_findings", &["state=\"pending\""])?;
            Ok(figures.sum("tocsin_issues_open", &[])? + pending == 0)
        })
    }

    /// The books: what was observed is somewhere.
    pub(crate) fn balances(&self) -> Result<()> {
        scrape(&self.aggregator)?.balance()
    }

    /// What the aggregator holds in memory, the agent that holds most, and all agents together.
    pub(crate) fn resident_bytes(&self) -> Result<[u64; 3]> {
        let resident = |process: &Process| scrape(process)?.sum(RESIDENT, &[]);
        let agents = self.agents.iter().map(resident).collect::<Result<Vec<_>>>()?;
        let most = agents.iter().copied().max().unwrap_or_default();
        Ok([resident(&self.aggregator)?, most, agents.iter().sum()])
    }

    /// All end in time and in order, and none has had to say that something is wrong with it.
    pub(crate) fn end(self) -> Result<()> {
        for process in self.agents.into_iter().chain([self.aggregator]) {
            let name = process.name().to_owned();
            let Ended { status, lines } = process.end(LIMIT)?;
            ensure!(status.success(), "{name} ended with {status}\n{}", tail(&name, &lines));
            let errors: Vec<_> = lines.iter().filter(|line| line.contains("\"level\":\"ERROR\"")).collect();
            ensure!(errors.is_empty(), "{name} has said: {errors:#?}");
        }
        Ok(())
    }

    /// What the aggregator and one of the agents said last, for errors.
    pub(crate) fn tails(&self, node: &str) -> String {
        let of_node = self.agents.iter().filter(|agent| agent.name().ends_with(node)).map(Process::tail);
        [self.aggregator.tail()].into_iter().chain(of_node).collect::<Vec<_>>().join("\n")
    }

    fn reports(&self) -> Result<Vec<u64>> {
        self.agents.iter().map(|agent| scrape(agent)?.sum("tocsin_reports_total", &[])).collect()
    }

    /// Looks at the aggregator's figures until they are as they should be: again after each line of its log.
    fn until(&self, what: &str, mut holds: impl FnMut(&Metrics) -> Result<bool>) -> Result<()> {
        self.aggregator.until(what, LIMIT, || Ok(holds(&scrape(&self.aggregator)?)?.then_some(())))
    }
}

/// The DaemonSet's pod on each node, once all are running.
fn agent_pods(cluster: &mut Cluster, nodes: &[String]) -> Result<BTreeMap<String, String>> {
    cluster.wait_for("the pods that stand for agents", LIMIT, |cluster| {
        let pods = cluster.get(&["pods", "-n", OWN, "-l", "app.kubernetes.io/component=node-agent"])?;
        let running = pods["items"].as_array().into_iter().flatten().filter(|pod| pod["status"]["phase"] == "Running");
        let named = running.filter_map(|pod| {
            let [node, name] = ["/spec/nodeName", "/metadata/name"].map(|field| pod.pointer(field)?.as_str());
            Some((node?.to_owned(), name?.to_owned()))
        });
        let pods: BTreeMap<_, _> = named.collect();
        ensure!(pods.len() == nodes.len(), "{} of {} run", pods.len(), nodes.len());
        Ok(Some(pods))
    })
}

/// Of each node the tokens that the kubelet would project: for the API server, and for the aggregator.
async fn tokens(admin: &Path, pods: &BTreeMap<String, String>) -> Result<BTreeMap<String, [String; 2]>> {
    let access = Access { kubeconfig: Some(admin.to_owned()), ..Access::default() };
    let client = kube_client::connect(&access, &Clock::system(), "tocsin-tests").await?;
    let mut tokens = BTreeMap::new();
    for (node, pod) in pods {
        let own = token(&client, pod, &[]).await?;
        tokens.insert(node.clone(), [own, token(&client, pod, &[AGGREGATOR]).await?]);
    }
    Ok(tokens)
}

async fn token(client: &Client, pod: &str, audiences: &[&str]) -> Result<String> {
    let wanted = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": audiences, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod}},
    });
    let request = Request::post(format!("/api/v1/namespaces/{OWN}/serviceaccounts/{AGENT}/token"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(wanted.to_string().into_bytes())?;
    let answer: Value = client.request(request).await?;
    answer["status"]["token"].as_str().map(str::to_owned).context("an answer has a token")
}

/// Seconds where the defaults are minutes, so that what is wrongly seen is told. JSON is YAML, too.
fn configuration(outside: &Outside) -> Value {
    let quick = json!({"sustain": "2s", "hold": "5s"});
    json!({
        "clusterName": "fleet",
        "agents": {"heartbeat": "10s"},
        "rules": {
            "CrashLoopBackOff": quick,
            "ImagePull": quick,
            "NotReady": {"sustain": "10s", "hold": "5s", "onceReadySeconds": 10},
            "PodFailed": {"hold": "5s"},
            // kwok takes pods away one after the other.
            "StuckTerminating": {"sustain": "30s", "hold": "5s"},
            "Unschedulable": quick,
            // Longer than what it explains: the message counts the pods.
            "NodeNotReady": {"sustain": "20s", "hold": "5s", "youngSeconds": 0},
            "AgentSilent": {"sustain": "30s", "hold": "5s", "youngSeconds": 0},
        },
        "sinks": {"outside": {
            "type": "ingest",
            "url": format!("{}/v1/issues", outside.url()),
            "caFile": outside.ca_file(),
            "ratePerMinute": 0,
        }},
    })
}

fn start(cluster: &mut Cluster, name: &str, mut command: Command) -> Result<Process> {
    let process = Process::start(name, &mut command)?;
    cluster.end_with(name, process.id())?;
    Ok(process)
}

fn option(name: &str, file: &Path) -> String {
    format!("{name}={}", file.display())
}

/// What a process shows on `/metrics`, where it said at its start.
fn scrape(process: &Process) -> Result<Metrics> {
    let started = process.until_said("started", LIMIT)?;
    Metrics::scrape(started["admin"].as_str().context("it says where")?)
}
