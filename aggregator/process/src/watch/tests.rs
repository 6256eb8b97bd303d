//! The loop against a small server over a real socket: what only bytes can show. `plan` has the decisions.

use super::*;

#[derive(Debug, PartialEq, serde::Deserialize)]
pub(super) struct Thing {
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) size: u32,
}

impl Object for Thing {
    const COLLECTION: &'static str = "/apis/test/v1/things";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
