//! What the processes hold in memory (RSS), as they are shipped: the agent of a full node, after it has listed its pods
//! and heard of each of them once more.

use anyhow::Context as _;
use serde_json::json;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tocsin_tests::apiserver::{Container, PodTemplate};
use tocsin_tests::installation::Installation;
use tocsin_tests::metrics::Metrics;
use tocsin_tests::processes::Programs;

use crate::figures::Figures;

const NODE: &str = "node-1";
/// What a kubelet takes by default.
pub(crate) const PODS: usize = 110;
const BUDGET_MIB: f64 = 8.0;
const MIB: f64 = 1024.0 * 1024.0;

/// One node with as many pods as it may have.
pub(crate) fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let mut installation = Installation::start(Programs::released()?, &[NODE], &json!({}))?;
    Figures::plain("node-agent, RSS without pods", rss(installation.agent_id(NODE))?, "MiB");
    let template = PodTemplate::new("api", Container::new("app", "registry.example/shop/api:1.0"))
        .and(Container::new("proxy", "registry.example/mesh/proxy:3.2"));
    // Its own pod is one of them.
    let deployment = installation.cluster.deploy("shop", "api", PODS - 1, &template, &[NODE]);
    let pods = installation.cluster.objects("/api/v1/pods");
    let bytes = pods.iter().map(|pod| pod.to_string().len()).max().unwrap_or_default();
    Figures::plain("the largest of 110 pods as JSON", bytes as f64 / 1024.0, "KiB");

    installation.kill_agent(NODE)?;
    installation.start_agent(NODE)?;
    reports(&installation, 5)?;
    Figures::plain("node-agent, RSS after its LIST of 110 pods", rss(installation.agent_id(NODE))?, "MiB");
    for pod in &deployment.pods {
        installation.cluster.not_ready_yet(pod);
        installation.cluster.run(pod);
    }
    reports(&installation, 5)?;
    let agent = rss(installation.agent_id(NODE))?;
    figures.at_most("node-agent, RSS with 110 pods, each changed twice", agent, "MiB", BUDGET_MIB);
    Figures::plain("aggregator, RSS with one agent", rss(installation.aggregator_id())?, "MiB");
    installation.end()
}

/// Waits until the agent has reported so many times: what it did before is over.
pub(crate) fn reports(installation: &Installation, more: u64) -> anyhow::Result<()> {
    let mut first = None;
    installation.until_metrics("further reports", |metrics| {
        let reports = answered(metrics).unwrap_or_default();
        Ok(reports >= *first.get_or_insert(reports) + more)
    })
}

/// How many reports the aggregator has answered.
pub(crate) fn answered(metrics: &Metrics) -> anyhow::Result<u64> {
    metrics.sum("tocsin_ingest_requests_total", &["\"report\"", "\"answer\""])
}

/// A process's resident memory in MiB.
fn rss(id: Option<u32>) -> anyhow::Result<f64> {
    let id = Pid::from_u32(id.context("the process does not run")?);
    let mut system = System::new().context("this system does not tell of its processes")?;
    let memory = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), true, memory);
    let process = system.process(id).context("the process does not run")?;
    Ok(process.memory() as f64 / MIB)
}
