//! The certificates of a cluster: one authority, and a key pair for each who serves or asks.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::network::{API_SERVICE_ADDRESS, NODE_ADDRESS};

/// The folder that all of it lies in; every file is PEM.
#[derive(Clone, Debug)]
pub(super) struct Pki {
    folder: PathBuf,
}

/// One party's certificate and private key.
pub(super) struct KeyPairFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Pki {
    pub(super) fn create(folder: PathBuf, node_name: &str) -> Result<Self> {
        let pki = Self { folder };
        std::fs::create_dir_all(&pki.folder)?;
        let authority = authority()?;
        pki.write("ca.crt", &authority.pem())?;

        let node_user = format!("system:node:{node_name}");
        let parties: [(&str, &str, Option<&str>, &[&str]); 6] = [
            (
                "apiserver",
                "kube-apiserver",
                None,
                &[
                    "kubernetes",
                    "kubernetes.default",
                    "kubernetes.default.svc",
                    "kubernetes.default.svc.cluster.local",
                    "localhost",
                    "127.0.0.1",
                    NODE_ADDRESS,
                    API_SERVICE_ADDRESS,
                ],
            ),
            ("apiserver-to-kubelet", "kube-apiserver-to-kubelet", Some("system:masters"), &[]),
            ("admin", "admin", Some("system:masters"), &[]),
            ("controller-manager", "system:kube-controller-manager", None, &[]),
            ("scheduler", "system:kube-scheduler", None, &[]),
            ("kubelet", &node_user, Some("system:nodes"), &[node_name, NODE_ADDRESS]),
        ];
        for (file, user, group, names) in parties {
            pki.issue(&authority, file, user, group, names)?;
        }

        let service_accounts = KeyPair::generate()?;
        pki.write("service-accounts.key", &service_accounts.serialize_pem())?;
        pki.write("service-accounts.pub", &service_accounts.public_key_pem())?;
        Ok(pki)
    }

    /// The certificate that all others are signed by.
    pub(super) fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    pub(super) fn pair(&self, party: &str) -> KeyPairFiles {
        KeyPairFiles {
            certificate: self.folder.join(format!("{party}.crt")),
            key: self.folder.join(format!("{party}.key")),
        }
    }

    /// What ServiceAccount tokens are signed with.
    pub(super) fn service_account_key(&self) -> PathBuf {
        self.folder.join("service-accounts.key")
    }

    /// What ServiceAccount tokens are verified with.
    pub(super) fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("service-accounts.pub")
    }

    fn issue(
        &self,
        authority: &CertifiedIssuer<'_, KeyPair>,
        party: &str,
        user: &str,
        group: Option<&str>,
        names: &[&str],
    ) -> Result<()> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, authority).with_context(|| format!("signing for {party}"))?;
        self.write(&format!("{party}.crt"), &certificate.pem())?;
        self.write(&format!("{party}.key"), &key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path: &Path = &self.folder.join(name);
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "tocsin-test-cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?).context("making the cluster's authority")
}
