//! How fields are read: `null` is empty, a word is read without a copy, a text with one.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::time::Time;

/// Any field whose `null` means the same as its absence.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(input: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(input).map(Option::unwrap_or_default)
}

/// A text; `null` is the empty one.
pub(super) fn text<'de, D: Deserializer<'de>>(input: D) -> Result<Arc<str>, D::Error> {
    word(input)
}

/// A word of a closed set, or anything else that can be made of a borrowed text; `null` is the default.
pub(super) fn word<'de, D: Deserializer<'de>, T: for<'a> From<&'a str> + Default>(input: D) -> Result<T, D::Error> {
    input.deserialize_any(Word(PhantomData))
}

/// A timestamp; one that cannot be read is none.
pub(super) fn time<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Time>, D::Error> {
    word::<D, Timestamp>(input).map(|read| read.0)
}

struct Word<T>(PhantomData<T>);

#[derive(Default)]
struct Timestamp(Option<Time>);

impl From<&str> for Timestamp {
    fn from(text: &str) -> Self {
        Self(Time::parse(text))
    }
}

impl<T: for<'a> From<&'a str> + Default> Visitor<'_> for Word<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text or null")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::from(text))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }
}
