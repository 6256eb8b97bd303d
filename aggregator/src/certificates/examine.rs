//! Looks at the certificate as it is now, and changes nothing: for whoever wants to know whether agents could use it.

use kube::Client;
use process::objects::{ConfigMap, Failure, Objects, Secret};
use process::tls::{self, ServerTls};
use rules::Time;

use super::judge::Judged;
use super::material::{AUTHORITIES, Material};
use super::{DEADLINE, ends};
use crate::options::CertificateFrom;

/// How the certificate was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Nothing is in the Secret yet.
    pub is_empty: bool,
    /// When what agents are shown ends; `None`: agents could not use it now, under any name.
    pub serving_ends: Option<Time>,
    /// It is for every name that agents may use.
    pub has_names: bool,
    /// When the CA ends.
    pub authority_ends: Option<Time>,
}

/// Whether agents find the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is not to be published: agents have it from elsewhere.
    No,
    /// The ConfigMap has what the Secret has.
    Yes,
    /// The ConfigMap has something else.
    Otherwise,
    /// The ConfigMap could not be read.
    Unread(Failure),
}

/// Looks at what the options name, at `now`. An error says what cannot be read; of files, as text.
pub async fn examine(
    from: &CertificateFrom,
    client: &Client,
    namespace: &str,
    now: Time,
) -> (Result<Examined, Unread>, Published) {
    let CertificateFrom::Secret { name, config_map, dns_names, .. } = from else {
        return (of_files(from, now), Published::No);
    };
    let objects = Objects::new(client.clone(), namespace, DEADLINE);
    let secret = objects.get::<Secret>(name).await.map(|secret| Material::read(&secret.content.data));
    let published = match config_map {
        None => Published::No,
        Some(name) => match objects.get::<ConfigMap>(name).await {
            Ok(map) => {
                let there = map.content.data.get(AUTHORITIES).map(String::as_str).unwrap_or_default();
                // Of a Secret that cannot be read nothing is known.
                let is_same = secret.as_ref().is_ok_and(|material| material.authorities == there);
                if is_same && !there.is_empty() { Published::Yes } else { Published::Otherwise }
            }
            Err(failure) => Published::Unread(failure),
        },
    };
    let examined = secret.map_err(Unread::Secret).map(|material| of_material(&material, dns_names, now));
    (examined, published)
}

/// What could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The Secret.
    Secret(Failure),
    /// One of the files, and why.
    Files(String),
}

fn of_material(material: &Material, names: &[String], now: Time) -> Examined {
    let judged = Judged::of(material, names, now);
    Examined {
        is_empty: material.is_empty(),
        serving_ends: judged.serving.as_ref().map(|serving| serving.life.ends),
        has_names: judged.serving.as_ref().is_some_and(|serving| serving.has_names),
        authority_ends: judged.first_ends(),
    }
}

/// Which names agents use for one in files, and whom they trust, is not known here.
fn of_files(from: &CertificateFrom, now: Time) -> Result<Examined, Unread> {
    let CertificateFrom::Files { certificate, key } = from else { return Ok(Examined::default()) };
    let read = |error: tls::Error| Unread::Files(error.to_string());
    let tls = ServerTls::from_files(certificate.clone(), key.clone()).map_err(read)?;
    let serving_ends = ends(&tls).filter(|ends| *ends > now);
    Ok(Examined { serving_ends, has_names: true, ..Examined::default() })
}
