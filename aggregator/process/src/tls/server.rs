//! The server's side: one key pair, replaced without dropping a connection.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::{Error, Origin, RELOAD_INTERVAL, pem, read, ring};
use crate::clock::Clock;

/// A TLS server. It offers HTTP/2 ahead of HTTP/1.1, and resumes sessions by tickets, so that thousands of agents that
/// come back at once need few full handshakes and no memory.
pub struct ServerTls {
    files: Option<Files>,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

struct Files {
    certificates: PathBuf,
    key: PathBuf,
}

/// The key pair that new connections get.
#[derive(Debug)]
struct Current(RwLock<KeyPair>);

#[derive(Debug)]
struct KeyPair {
    /// The text that it was made from, to see changes.
    certificates_pem: Vec<u8>,
    key_pem: Vec<u8>,
    certified: Arc<CertifiedKey>,
}

impl ServerTls {
    /// With the certificate chain (leaf first) and the private key of two PEM files, read again by [`Self::keep_fresh`].
    pub fn from_files(certificates: PathBuf, key: PathBuf) -> Result<Self, Error> {
        let files = Files { certificates, key };
        Self::new(files.load()?, Some(files))
    }

    /// With a key pair from PEM text.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, Error> {
        Self::new(given(certificates, key)?, None)
    }

    fn new(pair: KeyPair, files: Option<Files>) -> Result<Self, Error> {
        let current = Arc::new(Current(RwLock::new(pair)));
        let problem = |error| Error::new(Origin::Given("TLS server"), format!("{error}"));
        let mut config = ServerConfig::builder_with_provider(ring())
            .with_safe_default_protocol_versions()
            .map_err(problem)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(problem)?;
        Ok(Self { files, current, config: Arc::new(config) })
    }

    /// Accepts connections; always with the newest key pair.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// The certificate that new connections get, without those between it and its CA.
    pub fn certificate(&self) -> CertificateDer<'static> {
        let pair = self.current.0.read().unwrap_or_else(PoisonError::into_inner);
        pair.certified.cert.first().expect("a key pair is not taken without a certificate").clone()
    }

    /// Takes a key pair from PEM text for new connections, and says whether it is another one; on an error the old one
    /// stays.
    pub fn replace(&self, certificates: &[u8], key: &[u8]) -> Result<bool, Error> {
        if self.current.is(certificates, key) {
            return Ok(false);
        }
        self.current.set(given(certificates, key)?);
        Ok(true)
    }

    /// Reads the files again, if it was made from files. Says whether they had changed; on an error the old pair stays.
    pub fn reload(&self) -> Result<bool, Error> {
        let Some(files) = &self.files else { return Ok(false) };
        let (certificates, key) = (read(&files.certificates)?, read(&files.key)?);
        if self.current.is(&certificates, &key) {
            return Ok(false);
        }
        self.current.set(files.parse(certificates, key)?);
        Ok(true)
    }

    /// Reloads the files whenever they change. Never returns.
    pub async fn keep_fresh(&self, clock: &Clock) {
        let mut last_error = None;
        loop {
            clock.sleep(RELOAD_INTERVAL).await;
            match self.reload() {
                Ok(changed) => {
                    if changed {
                        tracing::info!(target: "process", "server_certificate_reloaded");
                    }
                    last_error = None;
                }
                Err(error) if last_error.as_ref() != Some(&error) => {
                    tracing::error!(target: "process", %error, "server_certificate_unusable");
                    last_error = Some(error);
                }
                Err(_) => {}
            }
        }
    }
}

impl Files {
    fn load(&self) -> Result<KeyPair, Error> {
        self.parse(read(&self.certificates)?, read(&self.key)?)
    }

    fn parse(&self, certificates: Vec<u8>, key: Vec<u8>) -> Result<KeyPair, Error> {
        let origins = (Origin::File(self.certificates.clone()), Origin::File(self.key.clone()));
        KeyPair::parse(certificates, key, &origins.0, &origins.1)
    }
}

impl Current {
    fn is(&self, certificates: &[u8], key: &[u8]) -> bool {
        let pair = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pair.certificates_pem == certificates && pair.key_pem == key
    }

    fn set(&self, pair: KeyPair) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = pair;
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).certified))
    }
}

impl KeyPair {
    fn parse(certificates: Vec<u8>, key: Vec<u8>, of_certificates: &Origin, of_key: &Origin) -> Result<Self, Error> {
        let chain = pem::certificates(&certificates, of_certificates)?;
        let private = pem::private_key(&key, of_key)?;
        let certified = CertifiedKey::from_der(chain, private, &ring()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Error::new(of_key.clone(), format!("is not the key of the certificate in {of_certificates}"))
            }
            error => Error::new(of_certificates.clone(), format!("with the key in {of_key}: {error}")),
        })?;
        Ok(Self { certificates_pem: certificates, key_pem: key, certified: Arc::new(certified) })
    }
}

fn given(certificates: &[u8], key: &[u8]) -> Result<KeyPair, Error> {
    let origins = (Origin::Given("server certificate"), Origin::Given("server key"));
    KeyPair::parse(certificates.to_vec(), key.to_vec(), &origins.0, &origins.1)
}
