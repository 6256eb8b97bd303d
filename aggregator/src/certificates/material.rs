//! What the Secret holds: four PEM texts, under the names that cert-manager uses, and the CA's key; and what somebody asks for
//! there. Pure.

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
    /// `renew`: what somebody wants to be made anew, see [`Renew`]. It is taken away when that is done.
    pub(super) renew: String,
}

/// What somebody wants to be made anew, before it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renew {
    /// `ca`: the CA, and with it the serving certificate.
    Authority,
    /// `certificate`: the serving certificate.
    Serving,
}

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// In the ConfigMap as well.
pub(super) const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const RENEW: &str = "renew";

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
            renew: text(RENEW),
        }
    }

    /// What to write, so that the Secret holds this.
    pub(super) fn change(&self) -> Data<ByteString> {
        let Self { certificate, key, authorities, authority_key, renew } = self;
        let texts =
            [(CERTIFICATE, certificate), (KEY, key), (AUTHORITIES, authorities), (AUTHORITY_KEY, authority_key)];
        let bytes = |text: &String| ByteString(text.clone().into_bytes());
        let texts = texts.map(|(name, text)| (name.to_owned(), Some(bytes(text))));
        let renew = (RENEW.to_owned(), (!renew.is_empty()).then(|| bytes(renew)));
        Data { data: texts.into_iter().chain([renew]).collect() }
    }

    /// What is to be made anew; `None` when nothing is, or nothing that is known.
    pub(super) fn wanted(&self) -> Option<Renew> {
        match self.renew.trim_end() {
            "ca" => Some(Renew::Authority),
            "certificate" => Some(Renew::Serving),
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { certificate, key, authorities, authority_key, renew: _ } = self;
        [certificate, key, authorities, authority_key].into_iter().all(String::is_empty)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate, key, authorities, authority_key, renew } = self;
        out.debug_struct("Material")
            .field("certificate", certificate)
            .field("has_key", &!key.is_empty())
            .field("authorities", authorities)
            .field("has_authority_key", &!authority_key.is_empty())
            .field("renew", renew)
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
            renew: String::new(),
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let data = material().change().data;
        assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "ca.key", "renew", "tls.crt", "tls.key"]);
        assert!(data["renew"].is_none(), "what was asked for is taken away");
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
