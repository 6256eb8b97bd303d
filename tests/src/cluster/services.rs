//! What makes Services work for pods: kube-proxy, and CoreDNS for their names. Both are processes in the cluster's network.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Context, Result};

use super::command::output;
use super::network::{CLUSTER_DNS_ADDRESS, NODE_ADDRESS, POD_RANGE};
use super::{Cluster, START_LIMIT};

const KUBE_PROXY: &str = "kube-proxy";
const COREDNS: &str = "coredns";

impl Cluster {
    /// An address that pods reach: what the test itself serves is found there.
    pub const REACHED_BY_PODS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 89, 0, 1));

    /// From now on pods reach Services by address and by name.
    pub fn start_services(&mut self) -> Result<()> {
        // The address is the node's own: no rule has to lead there.
        let address = format!("{CLUSTER_DNS_ADDRESS}/32");
        output(Command::new("ip").args(["-n", self.netns(), "address", "add", &address, "dev", "node0"]))?;
        let (kube_proxy, coredns) = (self.kube_proxy()?, self.coredns()?);
        self.processes.start(KUBE_PROXY, kube_proxy)?;
        self.processes.start(COREDNS, coredns)?;
        self.wait_for("the rules of kube-proxy", START_LIMIT, |cluster| {
            let rules = output(cluster.command_in("iptables-save").args(["-t", "nat"]))?;
            Ok(rules.contains("default/kubernetes:https").then_some(()))
        })?;
        self.wait_for("CoreDNS", START_LIMIT, |cluster| {
            let mut lookup = cluster.command_in("busybox");
            let found = output(lookup.args(["nslookup", "kubernetes.default.svc.cluster.local", CLUSTER_DNS_ADDRESS]))?;
            Ok(found.contains("10.96.0.1").then_some(()))
        })?;
        self.say("Services work");
        Ok(())
    }

    fn kube_proxy(&self) -> Result<Command> {
        let mut command = self.command_in(self.parts.kubernetes("kube-proxy")?);
        command
            .arg(format!("--kubeconfig={}", self.admin_kubeconfig().display()))
            .arg(format!("--hostname-override={}", self.node_name()))
            .arg(format!("--cluster-cidr={POD_RANGE}"))
            .arg(format!("--bind-address={NODE_ADDRESS}"))
            .args([
                "--proxy-mode=iptables",
                "--healthz-bind-address=127.0.0.1:10256",
                "--metrics-bind-address=127.0.0.1:10249",
            ])
            // Answers of one pod to another go through their bridge: without this they would go past the rules.
            .arg("--masquerade-all=true")
            // These settings are the machine's.
            .args(["--conntrack-max-per-core=0", "--conntrack-min=0"])
            .args(["--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s"]);
        Ok(command)
    }

    fn coredns(&self) -> Result<Command> {
        let file = self.folder.join("Corefile");
        let kubeconfig = self.admin_kubeconfig();
        let zone = format!(
            ".:53 {{\n  errors\n  kubernetes cluster.local {{\n    kubeconfig {}\n  }}\n}}\n",
            kubeconfig.display()
        );
        std::fs::write(&file, zone).with_context(|| format!("writing {}", file.display()))?;
        let mut command = self.command_in(self.parts.coredns()?);
        command.arg("-conf").arg(file);
        Ok(command)
    }
}
