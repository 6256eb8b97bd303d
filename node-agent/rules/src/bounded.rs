//! Lists and maps with a bound, for what comes from a peer: a short message that would become very many small things in
//! memory is refused at their count.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Reads a list of at most `MAX` elements; for `deserialize_with`.
pub fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(List::<T, MAX>(PhantomData))
}

/// Reads a map of at most `MAX` entries; for `deserialize_with`.
pub fn map<'de, D, K, V, const MAX: usize>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    deserializer.deserialize_map(Map::<K, V, MAX>(PhantomData))
}

struct List<T, const MAX: usize>(PhantomData<T>);

struct Map<K, V, const MAX: usize>(PhantomData<(K, V)>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        refuse_more_than(MAX, elements.size_hint().unwrap_or(0), &self)?;
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            refuse_more_than(MAX, list.len() + 1, &self)?;
            list.push(element);
        }
        Ok(list)
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for Map<K, V, MAX> {
    type Value = BTreeMap<K, V>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "at most {MAX} entries")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<BTreeMap<K, V>, A::Error> {
        refuse_more_than(MAX, entries.size_hint().unwrap_or(0), &self)?;
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry()? {
            map.insert(key, value);
            refuse_more_than(MAX, map.len(), &self)?;
        }
        Ok(map)
    }
}

fn refuse_more_than<'de, V: Visitor<'de>, E: Error>(max: usize, count: usize, expected: &V) -> Result<(), E> {
    if count > max { Err(E::invalid_length(count, expected)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::Deserializer;

    use super::*;

    #[test]
    fn a_list_may_reach_its_bound_and_no_further() {
        let read = |json: &str| list::<_, u8, 3>(&mut Deserializer::from_str(json)).ok();
        assert_eq!(read("[1, 2, 3]"), Some(vec![1, 2, 3]));
        assert_eq!(read("[1, 2, 3, 4]"), None);
    }

    #[test]
    fn a_map_may_reach_its_bound_and_no_further() {
        let read = |json: &str| map::<_, String, u8, 2>(&mut Deserializer::from_str(json)).map(|map| map.len()).ok();
        assert_eq!(read(r#"{"a": 1, "b": 2}"#), Some(2));
        assert_eq!(read(r#"{"a": 1, "b": 2, "c": 3}"#), None);
    }
}
