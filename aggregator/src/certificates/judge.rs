//! Looks at what a Secret holds the way an agent would, and finds out who could sign. Pure.

use std::sync::Arc;

use rcgen::{KeyPair, PublicKeyData as _};
use rules::Time;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::issue::BACKDATED;
use super::material::Material;

/// What is found in a Secret.
#[derive(Debug)]
pub(super) struct Judged {
    /// The CA whose key is there, if it may sign now.
    pub(super) issuer: Option<Authority>,
    /// The other CAs that are valid now.
    pub(super) others: Vec<Authority>,
    /// The serving certificate, if its key is there and agents that trust the issuer (where there is none: the others)
    /// accept it now, under one of the names or another.
    pub(super) serving: Option<Serving>,
    /// Each of the CAs can be read and is valid, and there is one.
    pub(super) is_clean: bool,
    /// The serving certificate or a CA has ended, or lies in the future.
    pub(super) is_out_of_time: bool,
}

/// A CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) pem: String,
    pub(super) life: Life,
}

/// A serving certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Serving {
    pub(super) life: Life,
    /// The DNS names that it is for.
    pub(super) names: Vec<String>,
    /// It is for all names that it should be for.
    pub(super) has_names: bool,
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) begins: Time,
    pub(super) ends: Time,
}

/// A certificate and what is read of it.
struct Certificate {
    der: CertificateDer<'static>,
    life: Life,
    public_key: Vec<u8>,
    names: Vec<String>,
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

impl Judged {
    /// Looks at `found`, which should serve for all of `names`.
    pub(super) fn of(found: &Material, names: &[String], now: Time) -> Self {
        let signs = KeyPair::from_pem(&found.authority_key).ok().map(|key| key.subject_public_key_info());
        let mut judged =
            Self { issuer: None, others: Vec::new(), serving: None, is_clean: true, is_out_of_time: false };
        let (mut of_issuer, mut of_others) = (RootCertStore::empty(), RootCertStore::empty());
        for pem in blocks(&found.authorities) {
            let Some(read) = Certificate::read(pem.as_bytes()) else {
                judged.is_clean = false;
                continue;
            };
            // Agents do not look at when a CA begins: it is too early only for who made it by a clock that was far ahead.
            if !read.life.holds(now) && !read.life.holds(now + BACKDATED) {
                (judged.is_clean, judged.is_out_of_time) = (false, true);
                continue;
            }
            let authority = Authority { pem: pem.to_owned(), life: read.life };
            let is_issuer = judged.issuer.is_none() && signs.as_ref() == Some(&read.public_key);
            let roots = if is_issuer { &mut of_issuer } else { &mut of_others };
            if roots.add(read.der).is_err() {
                judged.is_clean = false;
            } else if is_issuer {
                judged.issuer = Some(authority);
            } else {
                judged.others.push(authority);
            }
        }
        let roots = if judged.issuer.is_some() { of_issuer } else { of_others };
        judged.is_clean &= !found.authorities.is_empty();
        if let Some(read) = Certificate::read(found.certificate.as_bytes()) {
            judged.is_out_of_time |= !read.life.holds(now);
            judged.serving = Serving::accepted(found, read, roots, names, now);
        }
        judged
    }

    /// When the first CA ends: the one that signs, where that is known.
    pub(super) fn first_ends(&self) -> Option<Time> {
        let first = self.issuer.as_ref().or(self.others.iter().min_by_key(|authority| authority.life.ends));
        first.map(|authority| authority.life.ends)
    }

    /// Nothing is missing, and all of it fits together.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_clean && self.issuer.is_some() && self.serving.is_some()
    }
}

impl Serving {
    /// `None` when its key does not fit, or whoever trusts `roots` would not accept it now.
    fn accepted(
        found: &Material,
        read: Certificate,
        roots: RootCertStore,
        names: &[String],
        now: Time,
    ) -> Option<Self> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(found.certificate.as_bytes()).collect::<Result<_, _>>().ok()?;
        let key = PrivateKeyDer::from_pem_slice(found.key.as_bytes()).ok()?;
        CertifiedKey::from_der(chain.clone(), key, &default_provider()).ok()?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        let (verifier, at) = (verifier.build().ok()?, UnixTime::since_unix_epoch(now.since(Time::default())));
        let mut has_names = true;
        for name in names {
            let name = ServerName::try_from(name.as_str()).ok()?;
            match verifier.verify_server_cert(chain.first()?, &chain[1..], &name, &[], at) {
                Ok(_) => {}
                // The name comes last: all else is as it should be.
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => has_names = false,
                Err(_) => return None,
            }
        }
        Some(Self { life: read.life, names: read.names, has_names })
    }
}

impl Life {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let time = |seconds: i64| Time::from_millis(seconds.saturating_mul(1000));
        let validity = certificate.validity();
        Self { begins: time(validity.not_before.timestamp()), ends: time(validity.not_after.timestamp()) }
    }

    fn holds(self, now: Time) -> bool {
        self.begins <= now && now <= self.ends
    }

    /// Two thirds of it are over. What takes its place should be there long before its end, however short it lasts.
    pub(super) fn is_due(self, now: Time) -> bool {
        now >= self.begins + self.ends.since(self.begins) * 2 / 3
    }
}

impl Certificate {
    /// The first one of a PEM text; `None` when it cannot be read.
    fn read(pem: &[u8]) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        let (_, read) = X509Certificate::from_der(&der).ok()?;
        let life = Life::of(&read);
        let names = read.subject_alternative_name().ok().flatten();
        let names = names.into_iter().flat_map(|names| &names.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let (names, public_key) = (names.collect(), read.public_key().raw.to_vec());
        Some(Self { der: der.clone(), life, public_key, names })
    }
}

/// When a certificate ends; `None` when it cannot be read.
pub(super) fn ends(certificate: &CertificateDer<'_>) -> Option<Time> {
    X509Certificate::from_der(certificate).ok().map(|(_, read)| Life::of(&read).ends)
}

/// The certificates of a PEM text, each as it is written there.
fn blocks(pem: &str) -> impl Iterator<Item = &str> {
    pem.split_inclusive(END).filter_map(|piece| piece.find(BEGIN).map(|at| &piece[at..]))
}
