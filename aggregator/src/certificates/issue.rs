//! Makes CAs and serving certificates (X.509 v3, RFC 5280), with ECDSA keys on P-256. Pure but for the chance in the keys.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rules::Time;

use super::judge::{Authority, Life};

/// How long a CA lasts; another takes its place after two thirds of it.
const AUTHORITY_LASTS: Duration = Duration::from_hours(24 * 3650);
/// How long a serving certificate lasts; the same.
pub(super) const SERVING_LASTS: Duration = Duration::from_hours(24 * 90);
/// Both begin so long before they are made: agents judge by the clocks of their nodes, which may be behind.
pub(super) const BACKDATED: Duration = Duration::from_hours(24);

/// A CA that signs nothing but serving certificates, and its private key, PEM.
pub(super) fn authority(now: Time) -> Result<(Authority, String), rcgen::Error> {
    let life = Life { begins: now - BACKDATED, ends: now + AUTHORITY_LASTS };
    let mut params = valid(CertificateParams::default(), life);
    // The time tells an old one from a new one, for who looks at them.
    params.distinguished_name.push(DnType::CommonName, format!("Tocsin CA {now}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok((Authority { pem: params.self_signed(&key)?.pem(), life }, key.serialize_pem()))
}

/// A serving certificate for these DNS names by a CA with that key, and its own private key, PEM. It does not outlast its
/// CA.
pub(super) fn serving(
    by: &Authority,
    key: &str,
    names: &[String],
    now: Time,
) -> Result<(String, String), rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&by.pem, KeyPair::from_pem(key)?)?;
    let life = Life { begins: now - BACKDATED, ends: (now + SERVING_LASTS).min(by.life.ends) };
    let mut params = valid(CertificateParams::new(names)?, life);
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}

fn valid(mut params: CertificateParams, life: Life) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    // A certificate has whole seconds.
    let since_epoch = |time: Time| Duration::from_secs(time.since(Time::default()).as_secs());
    params.not_before = epoch + since_epoch(life.begins);
    params.not_after = epoch + since_epoch(life.ends);
    params
}
