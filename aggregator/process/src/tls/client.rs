//! The client's side: trust in one bundle of CAs, and nothing else.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Error, Origin, pem, read, ring};

/// A client speaks to an aggregator or two, not to the world.
const SESSIONS_MAX: usize = 8;

/// A TLS client for HTTP/2. Sessions are resumed until the bundle changes: whoever is not trusted any more must show a
/// certificate again.
pub struct ClientTls {
    file: Option<PathBuf>,
    current: RwLock<Bundle>,
}

struct Bundle {
    /// The text that it was made from, to see changes.
    pem: Vec<u8>,
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Trusts the CAs of a PEM file, read again by [`Self::reload`].
    pub fn from_file(path: PathBuf) -> Result<Self, Error> {
        let bundle = Bundle::parse(read(&path)?, &Origin::File(path.clone()))?;
        Ok(Self { file: Some(path), current: RwLock::new(bundle) })
    }

    /// Trusts the CAs of PEM text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        Ok(Self { file: None, current: RwLock::new(given(pem)?) })
    }

    /// Speaks TLS over `io` with whoever proves to be `name`, wherever the connection leads: a standby's or leader's
    /// address is verified by the Service's name.
    pub async fn connect<IO>(&self, name: ServerName<'static>, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.connector().connect(name, io).await
    }

    /// Connects with the newest bundle.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config))
    }

    /// Takes a bundle from PEM text for new connections, and says whether it is another one; on an error the old one stays.
    pub fn replace(&self, pem: &[u8]) -> Result<bool, Error> {
        if self.is(pem) {
            return Ok(false);
        }
        self.set(given(pem)?);
        Ok(true)
    }

    /// Reads the file again, if it was made from one. Says whether it had changed; on an error the old bundle stays.
    pub fn reload(&self) -> Result<bool, Error> {
        let Some(path) = &self.file else { return Ok(false) };
        let pem = read(path)?;
        if self.is(&pem) {
            return Ok(false);
        }
        self.set(Bundle::parse(pem, &Origin::File(path.clone()))?);
        Ok(true)
    }

    fn is(&self, pem: &[u8]) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).pem == pem
    }

    fn set(&self, bundle: Bundle) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = bundle;
    }
}

impl Bundle {
    fn parse(pem: Vec<u8>, origin: &Origin) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for (at, certificate) in pem::certificates(&pem, origin)?.into_iter().enumerate() {
            let problem = |error| Error::new(origin.clone(), format!("certificate {}: {error}", at + 1));
            roots.add(certificate).map_err(problem)?;
        }
        let mut config = ClientConfig::builder_with_provider(ring())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(origin.clone(), error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(Self { pem, config: Arc::new(config) })
    }
}

fn given(pem: &[u8]) -> Result<Bundle, Error> {
    Bundle::parse(pem.to_vec(), &Origin::Given("CA bundle"))
}

/// The name that a server must prove: a DNS name or an IP address.
pub fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    let problem =
        |_| Error::new(Origin::Given("server name"), format!("{name:?} is neither a DNS name nor an IP address"));
    ServerName::try_from(name).map(|name| name.to_owned()).map_err(problem)
}
