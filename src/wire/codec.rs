//! The codec: bincode 1, with one set of options, for everything that is sent or stored.
//!
//! Fixed-width little-endian integers; trailing bytes are an error. Decoding works on slices only:
//! there, bincode checks every length prefix against what is left before it reserves anything.
//! bincode 1.3.3 is complete but no longer maintained (RUSTSEC-2025-0141), so this is the one
//! module that names it.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are not an encoding of what was expected.
#[derive(Debug, thiserror::Error)]
#[error("malformed: {0}")]
pub struct Malformed(String);

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_little_endian()
}

/// The encoding of a value.
///
/// # Panics
///
/// If the type cannot be encoded at all (a sequence of unknown length); none of ours is such.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    options().serialize(value).expect("our types have encodings of known length")
}

/// The value that these bytes, all of them, encode.
///
/// # Errors
///
/// If they do not.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    options().deserialize(bytes).map_err(|error| Malformed(error.to_string()))
}
