//! A certificate authority for loopback: what cert-manager or the cluster's own PKI is outside of tests.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The names that a leaf for this machine carries: every way in which a test can address it.
pub const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate authority that lives as long as its value.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

/// A certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The certificate chain, leaf first.
    pub cert_pem: String,
    /// The private key (PKCS#8).
    pub key_pem: String,
}

impl Authority {
    /// A new authority with a key of its own, valid for a year around today.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        valid(&mut params, -180, 180)?;
        let key = KeyPair::generate()?;
        let ca_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), ca_pem })
    }

    /// The authority's own certificate, PEM: what clients trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A leaf for these names and addresses, valid for 90 days, good as server and as client.
    pub fn leaf(&self, names: &[&str]) -> anyhow::Result<Leaf> {
        self.leaf_valid(names, -90, 90)
    }

    /// A leaf valid from `from_days` to `to_days` from today; both may be negative, for expired ones.
    pub fn leaf_valid(&self, names: &[&str], from_days: i32, to_days: i32) -> anyhow::Result<Leaf> {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, from_days, to_days)?;
        let key = KeyPair::generate()?;
        let cert_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Leaf { cert_pem, key_pem: key.serialize_pem() })
    }
}

impl Leaf {
    /// A server's TLS configuration with this leaf, offering HTTP/2 and HTTP/1.1.
    pub fn server_config(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let chain = CertificateDer::pem_slice_iter(self.cert_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .context("the leaf's certificate is no PEM")?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).context("the leaf's key is no PEM")?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Sets the validity to whole days from today.
fn valid(params: &mut CertificateParams, from_days: i32, to_days: i32) -> anyhow::Result<()> {
    let day = |days: i32| -> anyhow::Result<_> {
        let date = Timestamp::now().to_zoned(TimeZone::UTC).date().checked_add(days.days())?;
        Ok(rcgen::date_time_ymd(i32::from(date.year()), date.month().try_into()?, date.day().try_into()?))
    };
    params.not_before = day(from_days)?;
    params.not_after = day(to_days)?;
    Ok(())
}
