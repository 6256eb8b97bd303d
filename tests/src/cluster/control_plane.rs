//! The command lines of etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::network::{NODE_ADDRESS, NetworkNamespace, SERVICE_RANGE};
use super::parts::Parts;
use super::pki::Pki;

pub(super) const ETCD_URL: &str = "http://127.0.0.1:2379";
const API_PORT: u16 = 6443;
/// By default they ask for no more than some dozens of objects a second: thousands of pods would take minutes.
const OWN_PACE: [&str; 2] = ["--kube-api-qps=1000", "--kube-api-burst=1000"];

/// What the command lines are made from.
pub(super) struct ControlPlane<'a> {
    pub(super) network: &'a NetworkNamespace,
    pub(super) parts: &'a Parts,
    pub(super) pki: &'a Pki,
    /// Holds `etcd/` and the kubeconfigs of the programs.
    pub(super) folder: &'a Path,
}

/// The API server's address, valid inside the cluster's network only.
pub(super) fn api_url() -> String {
    format!("https://{NODE_ADDRESS}:{API_PORT}")
}

impl ControlPlane<'_> {
    pub(super) fn etcd(&self) -> Result<Command> {
        let mut command = self.network.command(self.parts.etcd()?);
        command
            .arg(flag("data-dir", self.folder.join("etcd").display()))
            .arg(flag("listen-client-urls", ETCD_URL))
            .arg(flag("advertise-client-urls", ETCD_URL))
            // Nothing here has to outlive a power cut.
            .arg("--unsafe-no-fsync")
            .arg("--log-level=warn");
        Ok(command)
    }

    pub(super) fn apiserver(&self) -> Result<Command> {
        let mut command = self.network.command(self.parts.kubernetes("kube-apiserver")?);
        let serving = self.pki.pair("apiserver");
        let to_kubelet = self.pki.pair("apiserver-to-kubelet");
        let authority = self.pki.authority();
        command
            .arg(flag("etcd-servers", ETCD_URL))
            .arg(flag("advertise-address", NODE_ADDRESS))
            .arg(flag("secure-port", API_PORT))
            .arg(flag("service-cluster-ip-range", SERVICE_RANGE))
            .arg(flag("tls-cert-file", serving.certificate.display()))
            .arg(flag("tls-private-key-file", serving.key.display()))
            .arg(flag("client-ca-file", authority.display()))
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(flag("service-account-key-file", self.pki.service_account_public_key().display()))
            .arg(flag("service-account-signing-key-file", self.pki.service_account_key().display()))
            .arg("--authorization-mode=Node,RBAC")
            .arg("--enable-admission-plugins=NodeRestriction")
            .arg(flag("kubelet-client-certificate", to_kubelet.certificate.display()))
            .arg(flag("kubelet-client-key", to_kubelet.key.display()))
            .arg(flag("kubelet-certificate-authority", authority.display()))
            // Otherwise logs and exec look up the node's name, and there is no DNS.
            .arg("--kubelet-preferred-address-types=InternalIP")
            .arg("--allow-privileged=true");
        Ok(command)
    }

    /// `node_grace` is how long a silent node counts as Ready.
    pub(super) fn controller_manager(&self, node_grace: Duration) -> Result<Command> {
        let mut command = self.network.command(self.parts.kubernetes("kube-controller-manager")?);
        command
            .arg(flag("kubeconfig", self.folder.join("controller-manager.kubeconfig").display()))
            .arg("--use-service-account-credentials")
            .arg(flag("root-ca-file", self.pki.authority().display()))
            .arg(flag("service-account-private-key-file", self.pki.service_account_key().display()))
            .arg("--leader-elect=false")
            .arg("--bind-address=127.0.0.1")
            .args(OWN_PACE)
            // It makes this folder; by default one below /usr/libexec.
            .arg(flag("flex-volume-plugin-dir", self.folder.join("volume-plugins").display()))
            .arg("--node-monitor-period=1s")
            .arg(flag("node-monitor-grace-period", format_args!("{}s", node_grace.as_secs())));
        Ok(command)
    }

    pub(super) fn scheduler(&self) -> Result<Command> {
        let mut command = self.network.command(self.parts.kubernetes("kube-scheduler")?);
        command
            .arg(flag("kubeconfig", self.folder.join("scheduler.kubeconfig").display()))
            .arg("--leader-elect=false")
            .arg("--bind-address=127.0.0.1")
            .args(OWN_PACE);
        Ok(command)
    }
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}
