//! The network namespace that is the cluster's only network: it has no way out of the machine.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::command::output;
use super::process_id::ProcessId;

/// The node's address, on a bridge of its own.
pub(super) const NODE_ADDRESS: &str = "10.89.0.1";
pub(super) const POD_RANGE: &str = "10.244.0.0/24";
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The first address of the Service range: the API server's own Service.
pub(super) const API_SERVICE_ADDRESS: &str = "10.96.0.1";
pub(super) const CLUSTER_DNS_ADDRESS: &str = "10.96.0.10";

/// A named network namespace, as `ip netns` makes them.
#[derive(Clone, Debug)]
pub(super) struct NetworkNamespace {
    name: String,
}

impl NetworkNamespace {
    /// Names it; `create` makes it.
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    pub(super) fn create(&self) -> Result<()> {
        output(Command::new("ip").args(["netns", "add", &self.name]))?;
        // One end of the pair is in the bridge so that it has carrier; the kubelet wants a default route.
        for arguments in [
            "link set lo up",
            "link add node0 type bridge",
            "link add carrier0 type veth peer name carrier1",
            "link set carrier0 master node0 up",
            "link set carrier1 up",
            &format!("address add {NODE_ADDRESS}/24 dev node0"),
            "link set node0 up",
            "route add default dev node0",
        ] {
            output(Command::new("ip").args(["-n", &self.name]).args(arguments.split(' ')))?;
        }
        Ok(())
    }

    pub(super) fn delete(&self) -> Result<()> {
        if self.path().exists() {
            output(Command::new("ip").args(["netns", "delete", &self.name]))?;
        }
        Ok(())
    }

    /// The processes that run inside, but for this one; none where there is no such namespace.
    pub(super) fn processes(&self) -> Result<Vec<ProcessId>> {
        let Ok(inside) = fs::metadata(self.path()) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").context("listing processes")?.flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let is_inside = fs::metadata(entry.path().join("ns/net"))
                .is_ok_and(|its| (its.dev(), its.ino()) == (inside.dev(), inside.ino()));
            if is_inside && number != std::process::id().cast_signed() {
                found.extend(ProcessId::of(number));
            }
        }
        Ok(found)
    }

    /// A command that runs inside. Not `ip netns exec`: that one remounts /sys, and the kubelet then finds no cgroups.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Moves the calling thread, and those it starts from now on.
    pub(super) fn enter(&self) -> Result<()> {
        let path = self.path();
        let namespace = fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind).context("entering the cluster's network")
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }
}

/// How containerd attaches pods: a bridge of their own, addresses noted below `state`.
pub(super) fn cni_config(state: &std::path::Path) -> serde_json::Value {
    serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods0",
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": state,
                "ranges": [[{ "subnet": POD_RANGE }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
}
