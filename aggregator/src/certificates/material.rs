//! What the Secret holds: four PEM texts, under the names that cert-manager uses, and the CA's key. Pure.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use process::objects::Data;

/// What a Secret holds, as it is: any of it may be missing, which is an empty text, or nonsense. Debug shows no key.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Material {
    /// `tls.crt`: the serving certificate, then those between it and its CA.
    pub(super) certificate: String,
    /// `tls.key`: its private key.
    pub(super) key: String,
    /// `ca.crt`: every CA that agents should trust; the one that signs comes first.
    pub(super) authorities: String,
    /// `ca.key`: the private key of the one that signs.
    pub(super) authority_key: String,
}

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// In the ConfigMap as well.
pub(super) const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";

impl Material {
    pub(super) fn read(data: &BTreeMap<String, ByteString>) -> Self {
        let text = |key| {
            let bytes = data.get(key).map(|bytes| &*bytes.0).unwrap_or_default();
            // What is no text is no PEM either, which is found out when it is read as such.
            String::from_utf8_lossy(bytes).trim_start().to_owned()
        };
        Self {
            certificate: text(CERTIFICATE),
            key: text(KEY),
            authorities: text(AUTHORITIES),
            authority_key: text(AUTHORITY_KEY),
        }
    }

    /// What to write, so that the Secret holds this.
    pub(super) fn change(&self) -> Data<ByteString> {
        let Self { certificate, key, authorities, authority_key } = self;
        let texts =
            [(CERTIFICATE, certificate), (KEY, key), (AUTHORITIES, authorities), (AUTHORITY_KEY, authority_key)];
        let data = texts.map(|(name, text)| (name.to_owned(), Some(ByteString(text.clone().into_bytes()))));
        Data { data: data.into() }
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { certificate, key, authorities, authority_key } = self;
        [certificate, key, authorities, authority_key].into_iter().all(String::is_empty)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate, key, authorities, authority_key } = self;
        out.debug_struct("Material")
            .field("certificate", certificate)
            .field("has_key", &!key.is_empty())
            .field("authorities", authorities)
            .field("has_authority_key", &!authority_key.is_empty())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material() -> Material {
        Material {
            certificate: "c".into(),
            key: "BEGIN PRIVATE".into(),
            authorities: "a".into(),
            authority_key: "BEGIN PRIVATE".into(),
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let data = material().change().data;
        assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "ca.key", "tls.crt", "tls.key"]);
        let data = data.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
        assert_eq!(Material::read(&data), material());
        assert!(!material().is_empty() && Material::read(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn bytes_that_are_no_text_are_taken_as_they_can_be() {
        let data = [("tls.key".to_owned(), ByteString(vec![0xff, 0xfe]))].into();
        assert!(!Material::read(&data).is_empty());
    }

    #[test]
    fn a_key_is_never_shown() {
        let shown = format!("{:?}", material());
        assert!(!shown.contains("PRIVATE") && shown.contains("has_key: true"), "{shown}");
    }
}
