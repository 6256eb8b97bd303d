//! Certificates and keys out of PEM text (RFC 7468), with errors that name the file.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Error, Origin};

/// All certificates; at least one.
pub(super) fn certificates(pem: &[u8], origin: &Origin) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::new(origin.clone(), format!("is no PEM text: {error}")))?;
    if certificates.is_empty() {
        return Err(Error::new(origin.clone(), "holds no certificate (BEGIN CERTIFICATE)"));
    }
    Ok(certificates)
}

/// The first private key, in any of the three common forms.
pub(super) fn private_key(pem: &[u8], origin: &Origin) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            Error::new(origin.clone(), "holds no private key (BEGIN PRIVATE KEY)")
        }
        error => Error::new(origin.clone(), format!("is no PEM text: {error}")),
    })
}
