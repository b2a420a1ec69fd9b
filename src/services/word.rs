//! A word of a service: a value that travels as bytes.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::codec;

/// A word: a value that travels as bytes.
pub trait Word: Serialize + DeserializeOwned {
    /// Its bytes.
    #[must_use]
    fn encode(&self) -> Bytes {
        Bytes::from(codec::encode(self))
    }

    /// The word that these bytes are, if they are one of its kind.
    #[must_use]
    fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode(bytes).ok()
    }
}
