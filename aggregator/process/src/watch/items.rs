//! Cuts the objects of a LIST out of its body as it streams in, so that neither the body nor a tree of it is ever whole in
//! memory, and one object that cannot be decoded does not spoil the others. Pure.

use serde::Deserialize;
use thiserror::Error;

/// What a list says beside its objects is small.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
/// Buffers grown past it by one object are given back.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;
const ITEMS: &[u8] = b"items";

/// One object of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// Its JSON.
    Whole(&'a [u8]),
    /// Larger than allowed, and passed over.
    Oversized,
}

/// What a list says about itself: `metav1.ListMeta`.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ListMeta {
    /// `metadata.resourceVersion`.
    pub(super) resource_version: Option<String>,
    /// `metadata.continue`.
    #[serde(rename = "continue")]
    pub(super) continue_token: Option<String>,
}

/// The body is not a list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum NoList {
    /// Brackets do not match, or it ends too soon.
    #[error("the list is cut off or malformed")]
    Malformed,
    /// It has too much beside its objects.
    #[error("the list has more than {} KiB beside its objects", ENVELOPE_BYTES_MAX / 1024)]
    LargeEnvelope,
    /// What is beside its objects is no list.
    #[error("the list cannot be read: {0}")]
    Unreadable(String),
}

/// A scanner of `{…, "items": [{…}, {…}], …}` with its members in any order.
#[derive(Debug)]
pub(super) struct Items {
    depth: u32,
    text: Text,
    /// Within the array `items` of the list itself.
    listing: bool,
    /// The last string at the list's own level: the key, when an array opens.
    key: Vec<u8>,
    /// All that is not inside of `items`.
    envelope: Vec<u8>,
    /// The present object's bytes from earlier chunks.
    carried: Vec<u8>,
    oversized: bool,
    item_bytes_max: usize,
}

/// Where a byte stands to the strings of JSON, whose brackets do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

#[derive(Default, Deserialize)]
struct Envelope {
    metadata: Option<ListMeta>,
}

impl Items {
    /// Objects larger than `item_bytes_max` are passed over.
    pub(super) fn new(item_bytes_max: usize) -> Self {
        Self {
            depth: 0,
            text: Text::Outside,
            listing: false,
            key: Vec::new(),
            envelope: Vec::new(),
            carried: Vec::new(),
            oversized: false,
            item_bytes_max,
        }
    }

    /// Takes in the next bytes and hands out each object that they complete.
    pub(super) fn push(&mut self, chunk: &[u8], mut on_item: impl FnMut(Item<'_>)) -> Result<(), NoList> {
        let mut start = 0;
        for (at, &byte) in chunk.iter().enumerate() {
            let was_inside = self.inside_item();
            self.scan(byte)?;
            match (was_inside, self.inside_item()) {
                (false, true) => start = at,
                (true, false) => self.complete(&chunk[start..=at], &mut on_item),
                (true, true) => {}
                (false, false) => self.beside(byte)?,
            }
        }
        if self.inside_item() {
            self.carry(&chunk[start..]);
        }
        Ok(())
    }

    /// The body has ended: what the list says about itself.
    pub(super) fn finish(self) -> Result<ListMeta, NoList> {
        if self.depth != 0 || self.text != Text::Outside {
            return Err(NoList::Malformed);
        }
        let envelope: Envelope =
            serde_json::from_slice(&self.envelope).map_err(|error| NoList::Unreadable(error.to_string()))?;
        Ok(envelope.metadata.unwrap_or_default())
    }

    /// Whether the bytes now belong to an object of the list: deeper than the list (1) and its array (2).
    const fn inside_item(&self) -> bool {
        self.listing && self.depth > 2
    }

    fn scan(&mut self, byte: u8) -> Result<(), NoList> {
        if self.text != Text::Outside {
            self.text = match (self.text, byte) {
                (Text::Inside, b'"') => Text::Outside,
                (Text::Inside, b'\\') => Text::Escaped,
                _ => Text::Inside,
            };
            if self.text != Text::Outside && self.depth == 1 && self.key.len() <= ITEMS.len() {
                self.key.push(byte);
            }
            return Ok(());
        }
        match byte {
            b'"' => {
                self.text = Text::Inside;
                if self.depth == 1 {
                    self.key.clear();
                }
            }
            b'{' | b'[' => {
                if byte == b'[' && self.depth == 1 && self.key == ITEMS {
                    self.listing = true;
                }
                self.depth = self.depth.checked_add(1).ok_or(NoList::Malformed)?;
            }
            b'}' | b']' => {
                self.depth = self.depth.checked_sub(1).ok_or(NoList::Malformed)?;
                if self.depth == 1 {
                    self.listing = false;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn complete(&mut self, tail: &[u8], on_item: &mut impl FnMut(Item<'_>)) {
        let oversized = self.oversized || self.carried.len() + tail.len() > self.item_bytes_max;
        if oversized {
            on_item(Item::Oversized);
        } else if self.carried.is_empty() {
            on_item(Item::Whole(tail));
        } else {
            self.carried.extend_from_slice(tail);
            on_item(Item::Whole(&self.carried));
        }
        self.oversized = false;
        self.carried.clear();
        self.carried.shrink_to(BUFFER_BYTES_KEPT);
    }

    fn carry(&mut self, part: &[u8]) {
        if self.oversized || self.carried.len() + part.len() > self.item_bytes_max {
            self.oversized = true;
            self.carried.clear();
        } else {
            self.carried.extend_from_slice(part);
        }
    }

    fn beside(&mut self, byte: u8) -> Result<(), NoList> {
        // Commas and spaces between the objects went with them.
        if self.listing && byte != b'[' {
            return Ok(());
        }
        if self.envelope.len() >= ENVELOPE_BYTES_MAX {
            return Err(NoList::LargeEnvelope);
        }
        self.envelope.push(byte);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The objects' texts and the list's own words, however the body is cut into chunks.
    fn split(body: &str, chunk: usize, item_bytes_max: usize) -> Result<(Vec<String>, ListMeta), NoList> {
        let mut items = Items::new(item_bytes_max);
        let mut found = Vec::new();
        for part in body.as_bytes().chunks(chunk) {
            items.push(part, |item| {
                found.push(match item {
                    Item::Whole(json) => String::from_utf8(json.to_vec()).expect("UTF-8"),
                    Item::Oversized => "oversized".into(),
                });
            })?;
        }
        items.finish().map(|meta| (found, meta))
    }

    fn check(body: &str, objects: &[&str], version: Option<&str>) {
        for chunk in 1..=body.len() {
            let (found, meta) = split(body, chunk, 1_000).unwrap_or_else(|error| panic!("{body} by {chunk}: {error}"));
            assert_eq!(found, objects, "{body} by {chunk}");
            assert_eq!(meta.resource_version.as_deref(), version, "{body} by {chunk}");
        }
    }

    #[test]
    fn objects_are_cut_out_wherever_the_chunks_end_and_whatever_the_order() {
        check(
            r#"{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"a":1}, {"b":{}}]}"#,
            &[r#"{"a":1}"#, r#"{"b":{}}"#],
            Some("7"),
        );
        check(
            r#"{"apiVersion":"v1","items":[{"a":"]}\\\"{["}],"metadata":{"resourceVersion":"7"}}"#,
            &[r#"{"a":"]}\\\"{["}"#],
            Some("7"),
        );
        check(r#"{"items":[],"metadata":{"resourceVersion":"7"}}"#, &[], Some("7"));
        check(r#"{"items":null,"metadata":{"resourceVersion":"7","continue":"x"}}"#, &[], Some("7"));
        check(
            r#"{"kind":"items","other":[{"a":1}],"items":[{"items":[{"deep":1}]}]}"#,
            &[r#"{"items":[{"deep":1}]}"#],
            None,
        );
        check("{\"items\" : [\n {\"a\":\"ü\"}\n ] , \"metadata\" : null }", &["{\"a\":\"ü\"}"], None);
    }

    #[test]
    fn the_token_of_the_next_page_is_read() {
        let (_, meta) =
            split(r#"{"metadata":{"resourceVersion":"7","continue":"abc"},"items":[]}"#, 5, 10).expect("a list");
        assert_eq!(meta.continue_token.as_deref(), Some("abc"));
    }

    #[test]
    fn an_oversized_object_is_passed_over_and_the_next_is_whole() {
        let body = r#"{"items":[{"a":"xxxxxxxxxxxxxxxxxxxx"},{"b":1}],"metadata":{}}"#;
        for chunk in 1..=body.len() {
            let (found, _) = split(body, chunk, 10).expect("a list");
            assert_eq!(found, ["oversized", r#"{"b":1}"#], "by {chunk}");
        }
    }

    #[test]
    fn a_body_cut_off_anywhere_is_an_error() {
        let body = r#"{"metadata":{"resourceVersion":"7"},"items":[{"a":1},{"b":[2]}]}"#;
        for end in 0..body.len() {
            assert!(split(&body[..end], 7, 100).is_err(), "cut at {end}");
        }
        assert_eq!(split("]", 1, 100), Err(NoList::Malformed));
        assert!(split("<html>", 1, 100).is_err());
        let padded = format!(r#"{{"padding":"{}","items":[]}}"#, "x".repeat(ENVELOPE_BYTES_MAX));
        assert_eq!(split(&padded, 4096, 100), Err(NoList::LargeEnvelope));
    }
}
