//! Real handshakes over an in-memory pipe, with certificates made for the test.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rules::Time;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::client::TlsStream;

use super::*;
use crate::clock::Clock;

const NAME: &str = "tocsin.monitoring.svc";

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for [`NAME`] and its key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![NAME.to_owned()]).expect("params");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }
}

/// A folder with the two files of a server.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new((certificates, key): &(String, String)) -> Self {
        let files = Self { folder: tempfile::tempdir().expect("a folder") };
        files.write(certificates, key);
        files
    }

    fn write(&self, certificates: &str, key: &str) {
        std::fs::write(self.certificates(), certificates).expect("written");
        std::fs::write(self.key(), key).expect("written");
    }

    fn certificates(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    fn server(&self) -> Result<ServerTls, Error> {
        ServerTls::from_files(self.certificates(), self.key())
    }
}

/// Shakes hands, and passes a byte so that the session's tickets arrive too.
async fn shake(server: &ServerTls, client: &ClientTls, name: &str) -> std::io::Result<TlsStream<DuplexStream>> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accept = async {
        let mut stream = server.acceptor().accept(far).await?;
        stream.write_all(b"x").await?;
        stream.flush().await
    };
    let connect = async {
        let mut stream = client.connect(server_name(name).expect("a name"), near).await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    futures::join!(connect, accept).0
}

fn leaf(stream: &TlsStream<DuplexStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().expect("verified")[0].to_vec()
}

#[tokio::test]
async fn they_agree_on_http2_and_the_name_is_verified() {
    let authority = Authority::new();
    let server = Files::new(&authority.issue()).server().expect("a server");
    let client = ClientTls::from_pem(authority.pem().as_bytes()).expect("a client");
    let stream = shake(&server, &client, NAME).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let error = shake(&server, &client, "other.monitoring.svc").await.expect_err("another name").to_string();
    assert!(error.contains("not valid for name"), "{error}");
    let stranger = ClientTls::from_pem(Authority::new().pem().as_bytes()).expect("a client");
    let error = shake(&server, &stranger, NAME).await.expect_err("another authority").to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn sessions_are_resumed_until_the_bundle_changes() {
    let authority = Authority::new();
    let (certificates, key) = authority.issue();
    let server = ServerTls::from_pem(certificates.as_bytes(), key.as_bytes()).expect("a server");
    let client = ClientTls::from_pem(authority.pem().as_bytes()).expect("a client");
    let mut kinds = Vec::new();
    for bundle in [authority.pem(), authority.pem(), authority.pem() + &Authority::new().pem()] {
        client.replace(bundle.as_bytes()).expect("a bundle");
        let stream = shake(&server, &client, NAME).await.expect("a handshake");
        kinds.push(stream.get_ref().1.handshake_kind());
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Full].map(Some));
}

#[tokio::test(start_paused = true)]
async fn a_changed_key_pair_is_served_within_seconds() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue());
    let server = files.server().expect("a server");
    // Each client is new, or its session would be resumed without a certificate.
    let client = || ClientTls::from_pem(authority.pem().as_bytes()).expect("a client");
    let before = leaf(&shake(&server, &client(), NAME).await.expect("a handshake"));
    assert_eq!(server.reload(), Ok(false));
    let (certificates, key) = authority.issue();
    files.write(&certificates, &key);
    let clock = Clock::starting_at(Time::from_millis(0));
    let waited = tokio::time::timeout(RELOAD_INTERVAL + Duration::from_secs(1), server.keep_fresh(&clock)).await;
    assert!(waited.is_err(), "it goes on for ever");
    assert_ne!(leaf(&shake(&server, &client(), NAME).await.expect("a handshake")), before);
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue());
    let server = files.server().expect("a server");
    let client = ClientTls::from_pem(authority.pem().as_bytes()).expect("a client");
    // A Secret is swapped between the two reads.
    files.write(&authority.issue().0, &authority.issue().1);
    let error = server.reload().expect_err("not a pair").to_string();
    assert!(error.contains("tls.key: is not the key of the certificate in") && error.ends_with("tls.crt"), "{error}");
    std::fs::remove_file(files.key()).expect("removed");
    assert!(server.reload().is_err());
    shake(&server, &client, NAME).await.expect("the old pair serves");
    let (certificates, key) = authority.issue();
    files.write(&certificates, &key);
    assert_eq!(server.reload(), Ok(true));
}

#[tokio::test]
async fn a_new_authority_is_trusted_once_its_bundle_is_read() {
    let (old, new) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.crt");
    std::fs::write(&path, old.pem()).expect("written");
    let client = ClientTls::from_file(path.clone()).expect("a client");
    let (certificates, key) = new.issue();
    let server = ServerTls::from_pem(certificates.as_bytes(), key.as_bytes()).expect("a server");
    shake(&server, &client, NAME).await.expect_err("not trusted yet");
    assert_eq!(client.reload(), Ok(false));
    std::fs::write(&path, old.pem() + &new.pem()).expect("written");
    assert_eq!(client.reload(), Ok(true));
    shake(&server, &client, NAME).await.expect("trusted");
    std::fs::write(&path, "nothing").expect("written");
    assert!(client.reload().is_err());
    shake(&server, &client, NAME).await.expect("the old bundle stays");
    server.replace(old.issue().0.as_bytes(), b"no key").expect_err("no key");
}

#[test]
fn what_is_wrong_is_said_with_the_file() {
    let good = Authority::new().issue();
    let check = |certificates: &str, key: &str, expected: &str| {
        let files = Files::new(&(certificates.into(), key.into()));
        let error = files.server().err().expect(expected).to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    };
    check("", &good.1, "tls.crt: holds no certificate (BEGIN CERTIFICATE)");
    check(&good.1, &good.1, "tls.crt: holds no certificate");
    check(&good.0, &good.0, "tls.key: holds no private key (BEGIN PRIVATE KEY)");
    check("-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n", &good.1, "tls.crt: is no PEM text");
    check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &good.1, "tls.crt");
    check(&good.0[..good.0.len() / 2], &good.1, "tls.crt");
    check(&good.0, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "tls.key");
    let error = ServerTls::from_files("/nowhere/tls.crt".into(), "/nowhere/tls.key".into()).err().expect("no files");
    assert!(error.to_string().starts_with("/nowhere/tls.crt: cannot be read: "), "{error}");
    let error = ClientTls::from_pem(b"").err().expect("no CA").to_string();
    assert_eq!(error, "CA bundle: holds no certificate (BEGIN CERTIFICATE)");
    assert!(server_name("not a name").is_err() && server_name("10.0.0.1").is_ok());
}
