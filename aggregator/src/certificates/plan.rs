//! What to do about the Secret: when to make, when to renew, what to trust, what to put back. Pure.
//!
//! Several replicas go by this at once, each with what it remembers. They do not undo each other's work: whatever is whole
//! stays, whoever wrote it, and all else follows from what the Secret says of itself.

use rules::Time;
use rustls::pki_types::DnsName;

use super::issue::{BACKDATED, SERVING_LASTS, authority, serving};
use super::judge::{Authority, Judged, Serving};
use super::material::{Material, Renew};

/// What to do about the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It stays as it is.
    Keep,
    /// What is remembered is put back.
    Restore(Why, Box<Material>),
    /// It gets a new serving certificate, by the CA that is there.
    Serving {
        why: Why,
        by: Authority,
        /// The CAs to trust beside it; those are left out that signed nothing that is still in use.
        beside: Vec<Authority>,
        names: Vec<String>,
    },
    /// It gets a new CA, and a new serving certificate by that.
    Authority {
        why: Why,
        /// The CAs to trust beside it: what they signed is still in use.
        beside: Vec<Authority>,
    },
}

/// Why something is done about the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There was nothing in it.
    Empty,
    /// Something was missing, could not be read, or did not fit the rest.
    Damaged,
    /// Something was not valid any more, or not yet.
    OutOfTime,
    /// Two thirds of its life were over.
    Due,
    /// It was not for all names of the Service.
    Names,
    /// Somebody asked for it.
    Asked,
}

/// CAs in a bundle. More than two are there only when somebody else has put them there, or has taken keys away.
const AUTHORITIES_MAX: usize = 8;
/// Names in a serving certificate.
const NAMES_MAX: usize = 16;

impl Plan {
    /// Decides about what was found. `held` is what this process saw last that was whole, `names` are those that agents
    /// may use.
    pub(super) fn of(found: &Material, held: Option<&Material>, names: &[String], now: Time) -> Self {
        let judged = Judged::of(found, names, now);
        if judged.is_whole() {
            return Self::of_whole(judged, found.wanted(), names, now);
        }
        let why = if found.is_empty() {
            Why::Empty
        } else if judged.is_out_of_time {
            Why::OutOfTime
        } else {
            Why::Damaged
        };
        if let Some(held) = held.filter(|held| Judged::of(held, names, now).is_whole()) {
            return Self::Restore(why, Box::new(Material { renew: found.renew.clone(), ..held.clone() }));
        }
        let wanted = found.wanted();
        match judged {
            Judged { issuer: Some(by), others, .. } if !by.life.is_due(now) => {
                Self::Serving { why, beside: in_use(&by, others, now), by, names: names.to_vec() }
            }
            // Nobody can sign here any more, which matters when it is time to, and when somebody asks for who can.
            Judged { issuer: None, serving: Some(serving), is_clean: true, .. }
                if serving.has_names && !serving.life.is_due(now) && wanted != Some(Renew::Authority) =>
            {
                Self::Keep
            }
            Judged { issuer, others, .. } => {
                let why = if wanted.is_some() { Why::Asked } else { why };
                Self::Authority { why, beside: issuer.into_iter().chain(others).collect() }
            }
        }
    }

    fn of_whole(judged: Judged, wanted: Option<Renew>, names: &[String], now: Time) -> Self {
        let Judged { issuer: Some(by), others, serving: Some(serving), .. } = judged else { return Self::Keep };
        if by.life.is_due(now) || wanted == Some(Renew::Authority) {
            let why = if wanted.is_some() { Why::Asked } else { Why::Due };
            return Self::Authority { why, beside: std::iter::once(by).chain(others).collect() };
        }
        let (why, names) = match serving {
            Serving { .. } if wanted == Some(Renew::Serving) => (Why::Asked, names.to_vec()),
            Serving { life, .. } if life.is_due(now) => (Why::Due, names.to_vec()),
            Serving { names: theirs, has_names: false, .. } => (Why::Names, joined(names, &theirs)),
            Serving { .. } => return Self::Keep,
        };
        Self::Serving { why, beside: in_use(&by, others, now), by, names }
    }

    /// What the Secret should hold by this plan for `found`; `None` where it stays as it is.
    pub(super) fn carry_out(
        self,
        found: &Material,
        names: &[String],
        now: Time,
    ) -> Result<Option<Material>, rcgen::Error> {
        let wanted = found.wanted();
        let (by, authority_key, beside, names, is_heeded) = match self {
            Self::Keep => return Ok(None),
            Self::Restore(_, held) => return Ok(Some(*held)),
            Self::Serving { by, beside, names, why: _ } => {
                (by, found.authority_key.clone(), beside, names, wanted == Some(Renew::Serving))
            }
            Self::Authority { beside, why: _ } => {
                let (by, key) = authority(now)?;
                (by, key, beside, names.to_vec(), wanted.is_some())
            }
        };
        let (certificate, key) = serving(&by, &authority_key, &names, now)?;
        let renew = if is_heeded { String::new() } else { found.renew.clone() };
        Ok(Some(Material { certificate, key, authorities: bundle(&by, &beside), authority_key, renew }))
    }

    /// Says that it was carried out.
    pub(super) fn log(&self) {
        match self {
            Self::Keep => {}
            Self::Restore(why, _) => tracing::warn!(target: "certificates", why = why.name(), "certificate_restored"),
            Self::Serving { why, .. } => tracing::info!(target: "certificates", why = why.name(), "certificate_made"),
            Self::Authority { why, .. } => tracing::info!(target: "certificates", why = why.name(), "ca_made"),
        }
    }
}

impl Why {
    /// One word, for the log.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Damaged => "damaged",
            Self::OutOfTime => "out_of_time",
            Self::Due => "due",
            Self::Names => "names",
            Self::Asked => "asked",
        }
    }
}

/// Those of the `others` that signed something that may still be in use: `by` took their place when it was made, and what
/// they had signed by then ends in its own time.
fn in_use(by: &Authority, others: Vec<Authority>, now: Time) -> Vec<Authority> {
    let made = by.life.begins + BACKDATED;
    if now < made + SERVING_LASTS { others } else { Vec::new() }
}

/// The one that signs, and the newest of those to trust beside it.
fn bundle(by: &Authority, beside: &[Authority]) -> String {
    let mut beside: Vec<_> = beside.iter().collect();
    beside.sort_by_key(|authority| std::cmp::Reverse(authority.life.begins));
    let bundled = std::iter::once(by).chain(beside).take(AUTHORITIES_MAX);
    bundled.flat_map(|authority| [authority.pem.trim_end(), "\n"]).collect()
}

/// Our names and theirs: another replica may go by another configuration until it is replaced, and the two would go on
/// writing for ever, each for its own.
fn joined(names: &[String], theirs: &[String]) -> Vec<String> {
    let theirs = theirs.iter().filter(|name| !names.contains(name) && DnsName::try_from(name.as_str()).is_ok());
    let joined: Vec<_> = names.iter().chain(theirs).cloned().collect();
    if joined.len() > NAMES_MAX { names.to_vec() } else { joined }
}

#[cfg(test)]
mod tests;
