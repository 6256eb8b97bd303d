//! A real Kubernetes for tests: etcd, API server, controller manager, scheduler, containerd and one kubelet, as processes
//! in a network namespace of their own that leads nowhere. Needs root and the programs of `tests/cluster/build.sh`.
//!
//! Services have neither addresses that work nor names unless a test asks for it ([`Cluster::start_services`]); without that,
//! pods reach the API server at the node's address. Programs under test run as pods, or as processes of this machine inside
//! the cluster's network ([`Cluster::command_in`]), with real ServiceAccount tokens ([`Cluster::service_account_token`]); a
//! test that wants to open connections itself moves its thread there ([`Cluster::enter_network`]). All calls block: in async
//! code, make them before the runtime or by `spawn_blocking`.
//!
//! Everything is below one run folder and in one journal, so that it can be taken down after a crash, too; the names of
//! what has to be named carry this process' id, so that several can run at once.

mod busybox;
mod cgroups;
mod cleanup;
mod command;
mod control_plane;
mod journal;
mod kubeconfig;
mod kubectl;
mod machine;
mod network;
mod node;
mod parts;
mod pki;
mod process_id;
mod processes;
mod services;
mod simulated;
pub(crate) mod wait;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use control_plane::ControlPlane;
use journal::{Journal, Made};
use kubeconfig::Credentials;
pub use kubectl::condition;
use machine::Machine;
use network::NetworkNamespace;
use node::Node;
pub(crate) use parts::Parts;
use pki::Pki;
use process_id::ProcessId;
use processes::Processes;
use wait::Stopwatch;

use crate::images::Image;

/// Each step of the start has this long. A cold machine with both cores busy needs about half of it.
const START_LIMIT: Duration = Duration::from_mins(2);
/// Of so many failed runs the logs are kept.
const LOGS_KEPT_MAX: usize = 10;

const ETCD: &str = "etcd";
const APISERVER: &str = "kube-apiserver";
const CONTAINERD: &str = "containerd";
const CONTROLLER_MANAGER: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";
const KUBELET: &str = "kubelet";

/// What a test may want otherwise. The defaults are quick, so that a test sees each state in seconds.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a silent node counts as Ready (Kubernetes: 40–50 s). Whole seconds, at least 4.
    pub node_grace: Duration,
    /// The longest pause before a crashed container is started again (Kubernetes: 300 s). Whole seconds, 1 to 300.
    pub restart_backoff_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { node_grace: Duration::from_secs(10), restart_backoff_max: Duration::from_secs(10) }
    }
}

/// A running cluster of one node, and of those that are simulated ([`Cluster::simulate_nodes`]). Dropping it takes it down; [`Cluster::stop`] does, too, and tells what went wrong.
pub struct Cluster {
    name: String,
    folder: PathBuf,
    options: Options,
    network: NetworkNamespace,
    parts: Parts,
    pki: Pki,
    processes: Processes,
    started: Stopwatch,
    down: bool,
}

impl Cluster {
    /// Image of a userland to write failing pods in: `sh` and busybox's other programs.
    pub const BUSYBOX_IMAGE: &str = "localhost/busybox:1";

    /// Starts a cluster and waits until its node is Ready and pods can be made in the namespace `default`; says on
    /// standard error how far it is. What a crashed run left behind is taken down first.
    pub fn start(options: Options) -> Result<Self> {
        let started = Stopwatch::start();
        let parts = Parts::locate()?;
        let machine = Machine::lock(&run_folders())?;
        cleanup::leftovers(&machine)?;
        machine.remember()?;
        let name = unused_name();
        let folder = run_folders().join(&name);
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        let mut journal = Journal::create(&folder)?;
        let this = ProcessId::of(std::process::id().cast_signed()).context("this process lives")?;
        for made in [Made::Owner(this), Made::NetworkNamespace(name.clone()), Made::Cgroup(name.clone())] {
            journal.note(&made)?;
        }
        drop(machine);
        let network = NetworkNamespace::named(&name);
        let pki = Pki::create(folder.join("pki"), &name)?;
        let processes = Processes::new(journal, logs);
        // From here on `drop` takes down whatever there is.
        let mut cluster = Self { name, folder, options, network, parts, pki, processes, started, down: false };
        cluster.boot()?;
        Ok(cluster)
    }

    /// Takes down the clusters of test processes that are no more.
    pub fn clean_leftovers() -> Result<()> {
        let machine = Machine::lock(&run_folders())?;
        cleanup::leftovers(&machine)?;
        machine.restore_if_unused()
    }

    /// Ends everything and removes what was made. Unlike a drop, which is what a failed test does, it keeps no logs.
    pub fn stop(mut self) -> Result<()> {
        self.take_down()
    }

    /// The name of the node, its cgroup and the network namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the real node.
    pub fn node_name(&self) -> &str {
        &self.name
    }

    /// The name of the network namespace, as `ip netns` knows it.
    pub fn netns(&self) -> &str {
        &self.name
    }

    /// The path of the pods' cgroup below each hierarchy's mount point; `kubepods` is in it.
    pub fn cgroup(&self) -> &Path {
        Path::new(&self.name)
    }

    /// The API server's address. It is valid in the cluster's network only.
    pub fn api_url(&self) -> String {
        control_plane::api_url()
    }

    /// The store's address: plain HTTP, and valid in the cluster's network only.
    pub fn etcd_url(&self) -> &'static str {
        control_plane::ETCD_URL
    }

    /// The authority (PEM) that the API server's and the kubelet's certificates are signed by.
    pub fn authority(&self) -> PathBuf {
        self.pki.authority()
    }

    /// A kubeconfig of a user who may do everything.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("admin")
    }

    /// A log file of each program.
    pub fn logs_dir(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// A folder for a test's own files. It goes with the cluster.
    pub fn scratch_dir(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// A command that runs a program of this machine inside the cluster's network. See also [`Cluster::end_with`].
    pub fn command_in(&self, program: impl AsRef<OsStr>) -> Command {
        self.network.command(program)
    }

    /// Ends this process (started by the caller, by its number) with the cluster, also after a crash.
    pub fn end_with(&mut self, role: &str, number: u32) -> Result<()> {
        self.processes.record(role, number).map(|_| ())
    }

    /// Moves the calling thread, and every thread it starts from now on, into the cluster's network.
    pub fn enter_network(&self) -> Result<()> {
        self.network.enter()
    }

    /// Looks again and again until `probe` gives a value; `None` and errors mean "not yet". Fails past `limit`, and at
    /// once if a program of the cluster has ended. For what can be asked for only, as whether a program answers yet:
    /// [`Cluster::watch`] is told of objects as they change.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let mut broken = None;
        let found = wait::until(what, limit, || {
            broken = self.processes.check().err();
            if broken.is_some() {
                return Ok(Some(None));
            }
            Ok(probe(self)?.map(Some))
        })?;
        match (found, broken) {
            (Some(value), _) => Ok(value),
            (None, broken) => Err(broken.context("a look without a value has an error")?.context(what.to_owned())),
        }
    }

    /// Makes an image known to the node, as if it had been pulled.
    pub fn import_image(&self, image: &Image) -> Result<()> {
        let archive = self.folder.join("image.tar");
        image.write_archive(&archive)?;
        let mut ctr = self.ctr()?;
        ctr.args(["images", "import"]).arg(&archive);
        command::output(&mut ctr).with_context(|| format!("importing {}", image.name))?;
        fs::remove_file(&archive).context("removing an image archive")
    }

    /// Makes the kubelet fall silent, as a hung node does; its containers run on.
    pub fn pause_kubelet(&self) -> Result<()> {
        self.processes.signal(KUBELET, Signal::STOP)
    }

    /// Lets a paused kubelet go on.
    pub fn resume_kubelet(&self) -> Result<()> {
        self.processes.signal(KUBELET, Signal::CONT)
    }

    /// Kills the API server: connections break, and are refused from then on. One that is asked to end keeps its watches
    /// open for a while in which nobody can write any more, so that what they show grows old.
    pub fn kill_apiserver(&mut self) -> Result<()> {
        self.processes.kill(APISERVER)
    }

    /// Starts the API server again and waits until it is ready.
    pub fn start_apiserver(&mut self) -> Result<()> {
        let command = self.control_plane().apiserver()?;
        self.processes.start(APISERVER, command)?;
        self.wait_for_apiserver()
    }

    /// All watches end, and clients have to connect anew.
    pub fn restart_apiserver(&mut self) -> Result<()> {
        self.kill_apiserver()?;
        self.start_apiserver()
    }

    fn boot(&mut self) -> Result<()> {
        fs::create_dir_all(self.scratch_dir())?;
        cgroups::create(&self.name)?;
        self.network.create()?;
        for party in ["admin", "controller-manager", "scheduler", "kubelet"] {
            let pair = self.pki.pair(party);
            let credentials = Credentials::Certificate { certificate: &pair.certificate, key: &pair.key };
            kubeconfig::write(&self.kubeconfig(party), &self.api_url(), &self.authority(), &credentials)?;
        }

        // Each program waits for those it needs; we only keep away those that would end instead.
        let (etcd, apiserver) = (self.control_plane().etcd()?, self.control_plane().apiserver()?);
        self.processes.start(ETCD, etcd)?;
        self.processes.start(APISERVER, apiserver)?;
        let containerd = self.node().containerd()?;
        self.processes.start(CONTAINERD, containerd)?;
        self.wait_for("containerd", START_LIMIT, |cluster| command::output(cluster.ctr()?.arg("version")).map(Some))?;
        self.import_image(&Image::of_program(node::PAUSE_IMAGE, &self.parts.pause()?))?;
        self.import_image(&busybox::image(Self::BUSYBOX_IMAGE)?)?;
        self.say("containerd has its images");
        self.wait_for_apiserver()?;
        self.say("the API server is ready");

        let control_plane = self.control_plane();
        let controller_manager = control_plane.controller_manager(self.options.node_grace)?;
        let scheduler = control_plane.scheduler()?;
        let kubelet = self.node().kubelet(&self.options)?;
        self.processes.start(CONTROLLER_MANAGER, controller_manager)?;
        self.processes.start(SCHEDULER, scheduler)?;
        self.processes.start(KUBELET, kubelet)?;
        let ready =
            self.watch(&["nodes"], START_LIMIT, |node| (condition(node, "Ready") == Some("True")).then_some(()));
        if let Err(error) = ready {
            self.processes.check()?;
            return Err(error);
        }
        self.until_pods_can_be_made("default", START_LIMIT)?;
        self.say("the node is Ready");
        Ok(())
    }

    fn wait_for_apiserver(&mut self) -> Result<()> {
        let ready = |cluster: &Self| cluster.kubectl(&["get", "--raw", "/readyz"]).map(Some);
        self.wait_for("the API server", START_LIMIT, ready).map(|_| ())
    }

    fn take_down(&mut self) -> Result<()> {
        self.down = true;
        let machine = Machine::lock(&run_folders())?;
        let done = cleanup::take_down(&self.folder, &machine);
        self.processes.reap();
        done?;
        machine.restore_if_unused()
    }

    fn control_plane(&self) -> ControlPlane<'_> {
        ControlPlane { network: &self.network, parts: &self.parts, pki: &self.pki, folder: &self.folder }
    }

    fn node(&self) -> Node<'_> {
        let Self { name, network, parts, pki, folder, .. } = self;
        Node { name, network, parts, pki, folder }
    }

    fn ctr(&self) -> Result<Command> {
        let mut command = Command::new(self.parts.containerd("ctr")?);
        command.arg("-a").arg(node::containerd_socket(&self.folder)).args(["-n", "k8s.io"]);
        Ok(command)
    }

    /// A party's kubeconfig in the run folder.
    fn kubeconfig(&self, party: &str) -> PathBuf {
        self.folder.join(format!("{party}.kubeconfig"))
    }

    fn say(&self, what: &str) {
        eprintln!("cluster: {:5.1} s  {what}", self.started.elapsed().as_secs_f32());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.down {
            return;
        }
        let kept = run_folders().with_extension("logs").join(&self.name);
        match keep_logs(&self.logs_dir(), &kept) {
            Ok(()) => eprintln!("cluster: not stopped in order; its logs are in {}", kept.display()),
            Err(error) => eprintln!("cluster: its logs are lost: {error:#}"),
        }
        if let Err(error) = self.take_down() {
            eprintln!("cluster: not all is taken down, the next start tries again: {error:#}");
        }
    }
}

/// Below the temporary folder, as a socket's path must be short.
fn run_folders() -> PathBuf {
    std::env::temp_dir().join("tocsin-cluster")
}

fn unused_name() -> String {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    format!("tocsin-{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed))
}

/// Copies the logs of a failed run, and forgets those of runs long ago.
fn keep_logs(logs: &Path, kept: &Path) -> Result<()> {
    fs::create_dir_all(kept)?;
    for entry in fs::read_dir(logs)? {
        let entry = entry?;
        fs::copy(entry.path(), kept.join(entry.file_name()))?;
    }
    let parent = kept.parent().context("logs are kept in a folder of their own")?;
    let modified = |entry: &fs::DirEntry| entry.metadata().and_then(|its| its.modified()).ok();
    let mut runs: Vec<_> = fs::read_dir(parent)?.flatten().collect();
    runs.sort_by_key(|run| std::cmp::Reverse(modified(run)));
    for run in runs.iter().skip(LOGS_KEPT_MAX) {
        fs::remove_dir_all(run.path())?;
    }
    Ok(())
}
