//! Tocsin in a simulated cluster: the aggregator, and an agent for each node, as real processes over real sockets.
//!
//! ```text
//!   cluster (ApiServer) ──▶ node-agents ──TLS──▶ aggregator ──HTTPS──▶ outside (Receiver)
//!    in this process                 processes of their own                in this process
//! ```
//!
//! [`replicas`] has a second aggregator beside the first, and what can happen to the one that leads; [`consultation`] asks
//! `doctor` how it all does.
//!
//! What starts, ends or asks a process blocks: it is called outside of a runtime, or where nothing else waits. The
//! processes end with the value.

mod configuration;
mod consultation;
mod metrics;
mod replicas;
mod sessions;
mod versions;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tocsin_aggregator::told_log::keeper;
use tokio::runtime::Runtime;

use crate::apiserver::{self, ApiServer, Container, Identity, On, PodRef, PodTemplate};
use crate::forward_proxy::ForwardProxy;
use crate::processes::{Ended, Process, Programs, tail};
use crate::receiver::Receiver;

/// What its people call the cluster.
pub const CLUSTER_NAME: &str = "simulated";
/// Where Tocsin's own pods are, by default.
const NAMESPACE: &str = "tocsin";
const AGENT: &str = "tocsin-node-agent";
const AGGREGATOR: &str = "tocsin-aggregator";
const OWN_KUBECONFIG: &str = "aggregator.kubeconfig";
/// What of a proxy's address is a secret.
const PROXY_FOLDER: &str = "proxy";
/// Where the aggregator keeps its certificate, and where agents find its CA.
const SECRET: &str = "tocsin-tls";
const CONFIG_MAP: &str = "tocsin-ca";
/// What the ConfigMaps are named after in which the aggregator keeps what it told.
const TOLD_LOG: &str = "tocsin-told";
/// What a process logs when it has been asked to end.
const SHUTTING_DOWN: &str = "shutting_down";
/// What agents' tokens are for, by default.
const AUDIENCE: &str = "tocsin-aggregator";
/// The token that the receiver wants at first.
const TOKEN: &str = "outside.secret";
/// Far above what anything takes, also on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(1);

/// A simulated cluster with Tocsin in it.
#[derive(Debug)]
pub struct Installation {
    // In the order of their end: processes first, the runtime that serves them last.
    agents: BTreeMap<String, Process>,
    aggregator: Option<Process>,
    /// In a story with two, the one that leads first; the other is `aggregator`.
    leader: Option<Process>,
    addresses: Addresses,
    /// The agents' pods by node: their tokens are bound to these.
    pods: BTreeMap<String, PodRef>,
    /// The cluster.
    pub cluster: ApiServer,
    /// Who is told.
    pub outside: Receiver,
    /// Between the aggregator and who is told, in a story with one.
    pub proxy: Option<ForwardProxy>,
    /// What its configuration says of that.
    proxied: Proxied,
    /// Whether the address of who is told is in a file.
    is_hidden: bool,
    /// Without agents, and restricted to these namespaces, if to any; `None` with agents.
    alone: Option<Vec<String>>,
    /// Between heartbeats.
    heartbeat: &'static str,
    /// From which level on the aggregator logs.
    log_level: &'static str,
    folder: TempDir,
    programs: Programs,
    runtime: Runtime,
}

/// Where the aggregator is; it comes back at the same addresses.
#[derive(Clone, Debug)]
struct Addresses {
    agents: String,
    metrics: String,
    api: String,
}

/// The way to who is told.
#[derive(Clone, Debug, Default)]
pub struct Proxied {
    /// Whether that has a name that only the proxy knows.
    pub is_behind: bool,
    /// `proxy.noProxy`.
    pub no_proxy: &'static str,
    /// Whether the proxy's address is in a file, as that of a mounted Secret; else it is in the configuration.
    pub in_file: bool,
}

impl Default for Addresses {
    fn default() -> Self {
        let any = || "127.0.0.1:0".to_owned();
        Self { agents: any(), metrics: any(), api: any() }
    }
}

impl Installation {
    /// A cluster of these nodes, an aggregator that goes by these `rules` of its configuration, and all agents, each with
    /// its session open and its watch up. No limit holds back what is told.
    pub fn start(programs: Programs, nodes: &[&str], rules: &Value) -> Result<Self> {
        Self::prepare(programs, nodes, rules, None)?.run(nodes)
    }

    /// The same on a server whose TokenReviews name no nodes.
    pub fn start_on_older_server(programs: Programs, nodes: &[&str], rules: &Value) -> Result<Self> {
        let server = apiserver::Options { names_nodes: false, ..server() };
        Self::prepare_on(server, programs, nodes, rules, None)?.run(nodes)
    }

    /// The same through a proxy, which wants the credentials that the file names if there are any: `name:password`.
    pub fn start_proxied(programs: Programs, nodes: &[&str], rules: &Value, proxied: Proxied) -> Result<Self> {
        let mut installation = Self::prepare(programs, nodes, rules, None)?;
        installation.proxy = Some(installation.runtime.block_on(ForwardProxy::start())?);
        fs::create_dir(installation.path(PROXY_FOLDER))?;
        installation.replace_proxy_credentials("")?;
        installation.proxied = proxied;
        installation.write_files(rules)?;
        installation.run(nodes)
    }

    /// Another way in the aggregator's configuration, which it takes over for the first time.
    pub fn change_way(&mut self, rules: &Value, proxied: Proxied) -> Result<()> {
        self.proxied = proxied;
        self.change_rules(rules)?;
        self.aggregator.as_ref().context("there is no aggregator")?.until_said("config_reloaded", LIMIT).map(drop)
    }

    /// The proxy's address with these credentials (`name:password@`, or nothing), as a mounted Secret is replaced: in one step.
    pub fn replace_proxy_credentials(&self, credentials: &str) -> Result<()> {
        let proxy = self.proxy.as_ref().context("there is no proxy")?;
        let next = self.write("proxy.next", &format!("http://{credentials}{}\n", proxy.address()))?;
        Ok(fs::rename(next, self.path(PROXY_FOLDER).join("https"))?)
    }

    /// The same without agents: the aggregator watches pods itself, in `namespaces` or, with none, in the whole cluster.
    pub fn start_alone(programs: Programs, nodes: &[&str], rules: &Value, namespaces: &[&str]) -> Result<Self> {
        let mut installation = Self::prepare(programs, nodes, rules, Some(namespaces))?;
        installation.start_aggregator()?;
        Ok(installation)
    }

    /// Agents are turned off in the aggregator's configuration, and are asked to end.
    pub fn turn_agents_off(&mut self, rules: &Value) -> Result<()> {
        self.alone = Some(Vec::new());
        self.change_rules(rules)?;
        let agents = std::mem::take(&mut self.agents);
        agents.into_values().try_for_each(|agent| agent.end(LIMIT).map(drop))
    }

    /// Agents are turned on in the aggregator's configuration, and come to run after it goes by that.
    pub fn turn_agents_on(&mut self, nodes: &[&str], rules: &Value) -> Result<()> {
        self.alone = None;
        self.change_rules(rules)?;
        self.aggregator.as_ref().context("there is no aggregator")?.until_said("coverage_changed", LIMIT)?;
        self.start_agents(nodes)
    }

    /// The cluster and who is told, and no process yet.
    fn prepare(programs: Programs, nodes: &[&str], rules: &Value, alone: Option<&[&str]>) -> Result<Self> {
        Self::prepare_on(server(), programs, nodes, rules, alone)
    }

    fn prepare_on(
        server: apiserver::Options,
        programs: Programs,
        nodes: &[&str],
        rules: &Value,
        alone: Option<&[&str]>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let cluster = runtime.block_on(ApiServer::start(server))?;
        let outside = runtime.block_on(Receiver::start())?;
        outside.require_token(TOKEN);
        cluster.add_namespace(NAMESPACE);
        cluster.put(empty("Secret", SECRET));
        let (journal, snapshots) = keeper::names(TOLD_LOG);
        for name in [CONFIG_MAP, &journal].into_iter().chain(snapshots.iter().map(String::as_str)) {
            cluster.put(empty("ConfigMap", name));
        }
        for node in nodes {
            cluster.add_node(node);
        }
        let template = PodTemplate::new(AGENT, Container::new("node-agent", "tocsin-node-agent:test"));
        let pods = cluster.add_daemon_set(NAMESPACE, AGENT, &template, nodes);
        let pods = nodes.iter().map(ToString::to_string).zip(pods).collect();
        let folder = tempfile::tempdir()?;
        let installation = Self {
            agents: BTreeMap::new(),
            aggregator: None,
            leader: None,
            addresses: Addresses::default(),
            pods,
            cluster,
            outside,
            proxy: None,
            proxied: Proxied::default(),
            is_hidden: false,
            alone: alone.map(|names| names.iter().map(ToString::to_string).collect()),
            heartbeat: "1s",
            log_level: "debug",
            folder,
            programs,
            runtime,
        };
        installation.write_files(rules)?;
        Ok(installation)
    }

    fn run(mut self, nodes: &[&str]) -> Result<Self> {
        self.start_aggregator()?;
        self.start_agents(nodes)?;
        Ok(self)
    }

    fn start_agents(&mut self, nodes: &[&str]) -> Result<()> {
        for node in nodes {
            self.spawn_agent(node)?;
        }
        for node in nodes {
            self.until_agent_is_up(node)?;
        }
        Ok(())
    }

    /// Waits for something that the receiver or the cluster says.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The runtime that serves the cluster and the receiver.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Starts the aggregator, again at the addresses that it had.
    pub fn start_aggregator(&mut self) -> Result<()> {
        let command = self.aggregator_command(None, OWN_KUBECONFIG);
        let (aggregator, addresses) = Self::run_aggregator(AGGREGATOR, command)?;
        (self.aggregator, self.addresses) = (Some(aggregator), addresses);
        Ok(())
    }

    /// An aggregator at the addresses at which there was one before, to do a task other than to run.
    fn aggregator_command(&self, task: Option<&str>, kubeconfig: &str) -> Command {
        let Addresses { agents, metrics, api } = &self.addresses;
        let mut command = Command::new(&self.programs.aggregator);
        command
            .env_clear()
            .args(task)
            .args([format!("--agents-listen={agents}"), format!("--metrics-listen={metrics}")])
            .args([format!("--api-listen={api}"), format!("--log-level={}", self.log_level)])
            .arg(self.option("--config", "config.yaml"))
            .arg(self.option("--kubeconfig", kubeconfig))
            .args([format!("--tls-secret={SECRET}"), format!("--ca-config-map={CONFIG_MAP}")])
            .arg(format!("--told-log={TOLD_LOG}"));
        command
    }

    fn run_aggregator(name: &str, mut command: Command) -> Result<(Process, Addresses)> {
        let aggregator = Process::start(name, &mut command)?;
        let started = aggregator.until_said("started", LIMIT)?;
        let address = |field: &str| started[field].as_str().map(str::to_owned).with_context(|| format!("{started}"));
        let at = Addresses { agents: address("agents")?, metrics: address("admin")?, api: address("api")? };
        Ok((aggregator, at))
    }

    /// Kills the aggregator without asking.
    pub fn kill_aggregator(&mut self) -> Result<()> {
        self.aggregator.take().context("there is no aggregator")?.kill().map(drop)
    }

    /// Stops the aggregator in its tracks: its connections stay, and nobody answers.
    pub fn freeze_aggregator(&self) -> Result<()> {
        self.aggregator.as_ref().context("there is no aggregator")?.signal(Signal::STOP)
    }

    /// Asks the aggregator to end (SIGTERM), and waits until it has let all agents go: from then on it sends what is left.
    pub fn ask_aggregator_to_end(&self) -> Result<()> {
        let aggregator = self.aggregator.as_ref().context("there is no aggregator")?;
        aggregator.signal(Signal::TERM)?;
        aggregator.until_said(SHUTTING_DOWN, LIMIT)?;
        for agent in self.agents.values() {
            let is_refused = |line: &str| line.contains("Connection refused").then_some(());
            agent.until_line("it has nobody to report to", LIMIT, is_refused)?;
        }
        Ok(())
    }

    /// Waits until the aggregator has ended by itself; gives how.
    pub fn aggregator_ends(&mut self) -> Result<Ended> {
        self.aggregator.take().context("there is no aggregator")?.wait(LIMIT)
    }

    /// Starts a node's agent, and waits until it has a session and a watch.
    pub fn start_agent(&mut self, node: &str) -> Result<()> {
        self.spawn_agent(node)?;
        self.until_agent_is_up(node)
    }

    /// Kills a node's agent without asking, and waits until the cluster has seen its watch end.
    pub fn kill_agent(&mut self, node: &str) -> Result<()> {
        self.agents.remove(node).with_context(|| format!("there is no agent on {node}"))?.kill()?;
        let on = On::watch("pods").selector(&own_pods(node));
        let gone = self.cluster.until("the agent's watch is gone", LIMIT, |cluster| cluster.watches(&on) == 0);
        self.runtime.block_on(gone)
    }

    /// Starts another agent of a node beside the one that is there, as a second DaemonSet would; gives how the first ends.
    pub fn start_second_agent(&mut self, node: &str) -> Result<Ended> {
        let first = self.agents.remove(node).with_context(|| format!("there is no agent on {node}"))?;
        self.start_agent(node)?;
        first.wait(LIMIT)
    }

    /// Asks a node's agent to end (SIGTERM), once it has logged `message`; gives how it ended, and what it has said.
    pub fn end_agent_after(&mut self, node: &str, message: &str) -> Result<Ended> {
        let agent = self.agents.remove(node).with_context(|| format!("there is no agent on {node}"))?;
        agent.until_said(message, LIMIT)?;
        agent.end(LIMIT)
    }

    /// The number of a node's agent, as the system knows it.
    pub fn agent_id(&self, node: &str) -> Option<u32> {
        self.agents.get(node).map(Process::id)
    }

    /// The aggregator's number.
    pub fn aggregator_id(&self) -> Option<u32> {
        self.aggregator.as_ref().map(Process::id)
    }

    /// How often a node's agent has listed and watched pods, and how many of these watches are open.
    pub fn lists_and_watches(&self, node: &str) -> (u64, u64, usize) {
        let (asked, selector) = (self.cluster.asked(), own_pods(node));
        let open = self.cluster.watches(&On::watch("pods").selector(&selector));
        (asked.with("list", "pods", &selector), asked.with("watch", "pods", &selector), open)
    }

    /// Takes the aggregator's certificate, its key and its CA away: who starts without memory makes new ones.
    pub fn wipe_certificate(&self) {
        self.cluster.edit(&path_of("secrets", SECRET), |secret| secret["data"] = Value::Null);
    }

    /// Waits until a successor would find that of so many issues all is confirmed that was told.
    pub fn until_confirmed(&self, issues: usize) -> Result<()> {
        let (journal, _) = keeper::names(TOLD_LOG);
        let path = path_of("configmaps", &journal);
        let is_confirmed = |cluster: &ApiServer| {
            let text = cluster.object(&path).and_then(|map| map["data"]["told"].as_str().map(str::to_owned));
            let text = text.unwrap_or_default();
            text.matches("\"bodies\":").count() == issues && text.matches("\"bodies\":{}").count() == issues
        };
        self.block_on(self.cluster.until("the journal has no body", LIMIT, is_confirmed))
    }

    /// The receiver wants another token from now on; the aggregator has the old one.
    pub fn revoke_token(&self, new: &str) {
        self.outside.require_token(new);
    }

    /// The aggregator is given this token for the receiver, as a mounted Secret is replaced: in one step.
    pub fn replace_token(&self, new: &str) -> Result<()> {
        let next = self.write("sink-token.next", new)?;
        Ok(fs::rename(next, self.path("sink-token"))?)
    }

    /// `http://ADDRESS/metrics`.
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.addresses.metrics)
    }

    /// `http://ADDRESS/api/v1/issues`.
    pub fn issues_url(&self) -> String {
        format!("http://{}/api/v1/issues", self.addresses.api)
    }

    /// The end of what all processes have written, for errors.
    pub fn tails(&self) -> String {
        let tails: Vec<_> =
            self.leader.iter().chain(&self.aggregator).chain(self.agents.values()).map(Process::tail).collect();
        tails.join("\n")
    }

    /// Asks all processes to end (SIGTERM), the agents first: each ends in time, with 0, without having had to log an error,
    /// and without even a warning on the way.
    pub fn end(mut self) -> Result<()> {
        let agents = std::mem::take(&mut self.agents).into_values();
        for process in agents.chain(self.leader.take()).chain(self.aggregator.take()) {
            let name = process.name().to_owned();
            let Ended { status, lines } = process.end(LIMIT)?;
            ensure!(status.success(), "{name} ended with {status}\n{}", tail(&name, &lines));
            let errors: Vec<_> = lines.iter().filter(|line| line.contains("\"level\":\"ERROR\"")).collect();
            ensure!(errors.is_empty(), "{name} has said: {errors:#?}");
            let ending = lines.iter().skip_while(|line| !line.contains(SHUTTING_DOWN));
            let warnings: Vec<_> = ending.filter(|line| line.contains("\"level\":\"WARN\"")).collect();
            ensure!(warnings.is_empty(), "{name} has said on its way to the end: {warnings:#?}");
        }
        Ok(())
    }

    fn spawn_agent(&mut self, node: &str) -> Result<()> {
        let pod = self.pods.get(node).with_context(|| format!("no agent is planned for {node}"))?;
        let token = self.cluster.issue_pod_token(pod, AGENT, AUDIENCE);
        let token = self.write(&format!("{node}.token"), &token)?;
        let own = self.cluster.issue_token(Identity::service_account(NAMESPACE, AGENT).on_node(node));
        let kubeconfig = self.path(&format!("{node}.kubeconfig"));
        self.cluster.write_kubeconfig(&kubeconfig, Some(&own))?;
        let mut command = Command::new(&self.programs.node_agent);
        command
            .env_clear()
            .args(["--metrics-listen=127.0.0.1:0".to_owned(), format!("--node-name={node}")])
            .arg(format!("--aggregator={}", self.addresses.agents))
            .args([format!("--aggregator-name={AGGREGATOR}.{NAMESPACE}.svc"), format!("--ca-config-map={CONFIG_MAP}")])
            .arg(format!("--token-file={}", token.display()))
            .arg(format!("--kubeconfig={}", kubeconfig.display()));
        let agent = Process::start(&format!("the agent of {node}"), &mut command)?;
        self.agents.insert(node.to_owned(), agent);
        Ok(())
    }

    fn until_agent_is_up(&self, node: &str) -> Result<()> {
        let agent = self.agents.get(node).with_context(|| format!("there is no agent on {node}"))?;
        agent.until_said("session_opened", LIMIT).with_context(|| self.tails())?;
        let on = On::watch("pods").selector(&own_pods(node));
        self.runtime.block_on(self.cluster.until_watched(&on, LIMIT)).with_context(|| self.tails())
    }

    /// What the processes are given: tokens, configuration.
    fn write_files(&self, rules: &Value) -> Result<()> {
        for (account, file) in [(AGGREGATOR, OWN_KUBECONFIG), (replicas::LEADER, replicas::KUBECONFIG)] {
            let own = self.cluster.issue_token(Identity::service_account(NAMESPACE, account));
            self.cluster.write_kubeconfig(&self.path(file), Some(&own))?;
        }
        self.write("outside.crt", self.outside.ca_pem())?;
        self.write("sink-token", TOKEN)?;
        // JSON is YAML, too.
        self.write("config.yaml", &self.config(rules).to_string()).map(drop)
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    fn option(&self, option: &str, file: &str) -> String {
        format!("{option}={}", self.path(file).display())
    }
}

/// A server that lets in whom it knows.
fn server() -> apiserver::Options {
    apiserver::Options { authenticate: true, ..apiserver::Options::default() }
}

/// An object without data, as the chart creates it.
fn empty(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}})
}

fn path_of(plural: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{plural}/{name}")
}

/// The field selector of an agent's requests.
fn own_pods(node: &str) -> String {
    format!("spec.nodeName={node}")
}
