//! The two objects: the Secret, and the ConfigMap that agents read. What goes wrong with them is said with what to do.

use process::objects::{ConfigMap, Data, Failure, Objects, Secret, Stored};
use process::tls;
use rules::view::Meta;
use thiserror::Error;

use super::material::{AUTHORITIES, Material, Renew};

/// Where they are.
pub(super) struct Store {
    objects: Objects,
    secret: String,
    config_map: Option<String>,
}

/// Why the certificate is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Trouble {
    /// One of the objects could not be read or written.
    #[error("cannot {verb} {object}: {failure}{}", advice(failure, verb))]
    Object { verb: &'static str, object: String, failure: Failure },
    /// What is in one of them cannot be used.
    #[error("{object}: {problem}")]
    Unusable { object: String, problem: String },
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl Store {
    pub(super) const fn new(objects: Objects, secret: String, config_map: Option<String>) -> Self {
        Self { objects, secret, config_map }
    }

    pub(super) const fn publishes(&self) -> bool {
        self.config_map.is_some()
    }

    pub(super) async fn secret(&self) -> Result<Stored<Secret>, Trouble> {
        let read = self.objects.get(&self.secret).await;
        read.map_err(|failure| Trouble::Object { verb: "get", object: self.secret_name(), failure })
    }

    /// Writes the Secret that was read as `read`.
    pub(super) async fn write(&self, read: &Meta, material: &Material) -> Result<(), Trouble> {
        let written = self.objects.patch::<Secret>(read, &material.change()).await;
        let trouble = |failure| Trouble::Object { verb: "patch", object: self.secret_name(), failure };
        written.map(drop).map_err(trouble)
    }

    /// The ConfigMap, where one is to be kept.
    pub(super) async fn published(&self) -> Result<Option<Stored<ConfigMap>>, Trouble> {
        let Some(name) = &self.config_map else { return Ok(None) };
        let read = self.objects.get(name).await;
        read.map(Some).map_err(|failure| Trouble::Object { verb: "get", object: map_name(name), failure })
    }

    /// Publishes a bundle in the ConfigMap that was read as `map`, unless it is there already.
    pub(super) async fn publish(&self, map: &Stored<ConfigMap>, authorities: &str) -> Result<bool, Trouble> {
        if map.content.data.get(AUTHORITIES).is_some_and(|published| published == authorities) {
            return Ok(false);
        }
        let data = [(AUTHORITIES.to_owned(), Some(authorities.to_owned()))].into();
        let written = self.objects.patch::<ConfigMap>(&map.metadata, &Data { data }).await;
        let trouble = |failure| Trouble::Object { verb: "patch", object: map_name(&map.metadata.name), failure };
        written.map(|_| true).map_err(trouble)
    }

    /// What is in the Secret cannot be used.
    pub(super) fn unusable(&self, problem: &tls::Error) -> Trouble {
        Trouble::Unusable { object: self.secret_name(), problem: problem.to_string() }
    }

    /// It asks for what only whoever writes it can do.
    pub(super) fn only_read(&self) -> Trouble {
        let problem = "cannot make anew a certificate of your own: replace what is in the Secret, and take renew away";
        Trouble::Unusable { object: self.secret_name(), problem: problem.to_owned() }
    }

    /// What it asks for cannot be made.
    pub(super) fn unheeded(&self, wanted: Option<Renew>) -> Trouble {
        let problem = match wanted {
            None => "cannot make anew what renew says: write ca or certificate, or take it away",
            Some(_) => {
                "cannot make anew what renew says, as ca.key is missing, or is of none of the CAs in ca.crt: put it back, or \
                 write ca, and there will be a new CA beside those"
            }
        };
        Trouble::Unusable { object: self.secret_name(), problem: problem.to_owned() }
    }

    fn secret_name(&self) -> String {
        format!("Secret {}", self.secret)
    }
}

impl Trouble {
    /// Every label.
    pub(super) const LABELS: [&str; 7] =
        ["conflict", "not_found", "forbidden", "invalid", "unreachable", "unusable", "not_made"];

    /// One of few names, for metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Object { failure, .. } => failure.label(),
            Self::Unusable { .. } => "unusable",
            Self::Make(_) => "not_made",
        }
    }

    /// Somebody else was faster: read again.
    pub(super) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Object { failure: Failure::Conflict, .. })
    }

    /// It may be over by itself.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Object { failure: Failure::Conflict | Failure::Unreachable(_), .. })
    }
}

fn map_name(name: &str) -> String {
    format!("ConfigMap {name}")
}

fn advice(failure: &Failure, verb: &str) -> String {
    match failure {
        Failure::NotFound => "; create it without data, as the chart does".to_owned(),
        Failure::Forbidden(_) => format!("; the ServiceAccount's Role needs {verb} on it by name"),
        Failure::Conflict | Failure::Invalid(_) | Failure::Unreachable(_) => String::new(),
    }
}
