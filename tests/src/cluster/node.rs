//! The node: containerd and the kubelet, their configuration files and command lines. All that they write lies below the
//! run folder, as far as they can be told.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Options;
use super::network::{CLUSTER_DNS_ADDRESS, NODE_ADDRESS, NetworkNamespace, cni_config};
use super::parts::{CNI_PLUGINS, Parts};
use super::pki::Pki;

/// The longest folder that containerd's shims take for their sockets (a socket's path has 108 bytes).
const SHIM_SOCKETS_MAX: usize = 38;
pub(super) const PAUSE_IMAGE: &str = "localhost/pause:1";

/// What the node's files and command lines are made from.
pub(super) struct Node<'a> {
    /// Also the name of its cgroup.
    pub(super) name: &'a str,
    pub(super) network: &'a NetworkNamespace,
    pub(super) parts: &'a Parts,
    pub(super) pki: &'a Pki,
    pub(super) folder: &'a Path,
}

/// containerd's address in a run folder. Its shims name it on their command lines.
pub(super) fn containerd_socket(run_folder: &Path) -> PathBuf {
    run_folder.join("containerd.sock")
}

impl Node<'_> {
    pub(super) fn containerd(&self) -> Result<Command> {
        let cni = self.folder.join("cni");
        std::fs::create_dir_all(&cni)?;
        std::fs::write(cni.join("pods.conflist"), cni_config(&cni.join("addresses")).to_string())?;
        let config = self.folder.join("containerd.toml");
        std::fs::write(&config, self.containerd_config()?)?;
        let program = self.parts.containerd("containerd")?;
        let shims = program.parent().context("a program lies in a folder")?;
        let mut path = vec![shims.to_owned()];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        // What its shims put there for a moment stays when they are killed in it.
        let temporary = self.folder.join("tmp");
        std::fs::create_dir_all(&temporary)?;
        let mut command = self.network.command(&program);
        command
            .arg("--config")
            .arg(config)
            .env("PATH", std::env::join_paths(path)?)
            .env("TMPDIR", &temporary)
            .env("XDG_RUNTIME_DIR", &temporary);
        Ok(command)
    }

    pub(super) fn kubelet(&self, options: &Options) -> Result<Command> {
        let config = self.folder.join("kubelet.json");
        std::fs::write(&config, self.kubelet_config(options).to_string())?;
        let mut command = self.network.command(self.parts.kubernetes("kubelet")?);
        command
            .arg(format!("--config={}", config.display()))
            .arg(format!("--kubeconfig={}", self.folder.join("kubelet.kubeconfig").display()))
            .arg(format!("--root-dir={}", self.folder.join("kubelet").display()))
            .arg(format!("--hostname-override={}", self.name))
            .arg(format!("--node-ip={NODE_ADDRESS}"));
        Ok(command)
    }

    fn containerd_config(&self) -> Result<String> {
        let folder = self.folder.display();
        let shim_sockets = self.folder.join("s");
        ensure!(
            shim_sockets.as_os_str().len() <= SHIM_SOCKETS_MAX,
            "{folder} is too long a path for sockets; set TMPDIR to a shorter one",
        );
        // restrict_oom_score_adj: in a sandbox that may not lower it every pod would fail.
        // NRI would share one socket of the machine, the opt plugin makes /opt/containerd.
        Ok(format!(
            r#"version = 3
root = "{folder}/containerd"
state = "{folder}/containerd-state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.shim.v1.manager"]
  socket_dir = "{shim_sockets}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{CNI_PLUGINS}"]
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      Root = "{folder}/runc"
      SystemdCgroup = false
"#,
            socket = containerd_socket(self.folder).display(),
            shim_sockets = shim_sockets.display(),
            runc = self.parts.runc()?.display(),
        ))
    }

    fn kubelet_config(&self, options: &Options) -> serde_json::Value {
        let serving = self.pki.pair("kubelet");
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_ADDRESS,
            "healthzBindAddress": "127.0.0.1",
            "tlsCertFile": serving.certificate,
            "tlsPrivateKeyFile": serving.key,
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true },
                "x509": { "clientCAFile": self.pki.authority() },
            },
            "authorization": { "mode": "Webhook" },
            "containerRuntimeEndpoint": format!("unix://{}", containerd_socket(self.folder).display()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.name),
            "failCgroupV1": false,
            "failSwapOn": false,
            "resolvConf": "/dev/null",
            // Nobody answers there. Without it every pod gets a Warning event.
            "clusterDNS": [CLUSTER_DNS_ADDRESS],
            "clusterDomain": "cluster.local",
            "podLogsDir": self.folder.join("pod-logs"),
            "volumePluginDir": self.folder.join("volume-plugins"),
            // The lease is renewed four times in its duration.
            "nodeLeaseDurationSeconds": options.node_grace.as_secs(),
            "nodeStatusUpdateFrequency": "2s",
            // A changed ConfigMap or Secret is in its pods this soon (Kubernetes: 60 s), and up to half as much later.
            "syncFrequency": "4s",
            // A full emptyDir is seen this soon (and evicted within the kubelet's fixed 10 s after).
            "volumeStatsAggPeriod": "2s",
            "crashLoopBackOff": { "maxContainerRestartPeriod": format!("{}s", options.restart_backoff_max.as_secs()) },
            // The machine's own disk and memory are not what is tested here: nothing is ever too little.
            "evictionHard": {
                "memory.available": "0%",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
                "imagefs.inodesFree": "0%",
            },
            "imageGCHighThresholdPercent": 100,
        })
    }
}
