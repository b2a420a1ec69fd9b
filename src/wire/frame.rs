//! The frame: what travels between two processes, checked before it is believed.
//!
//! A frame is a length (4 bytes, big-endian, of what follows), a version byte, a CRC-32 of the body
//! (4 bytes, little-endian), and the body: one encoded value. The length is checked against a limit
//! before anything is allocated. A frame that does not hold ends its connection, and nothing else.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::LengthDelimitedCodec;

use super::codec::{self, Malformed};

/// The version of frames; anything else is refused.
pub const VERSION: u8 = 3;

/// The longest frame between nodes, in bytes. The window of the core stays well below it.
pub const PEER_BYTES_MAX: usize = 2 << 20;

/// The longest frame from a client to a node, in bytes.
pub const REQUEST_BYTES_MAX: usize = 256 << 10;

/// The longest frame from a node to a client, in bytes.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The longest body of one request, in bytes: it fits a frame, with room for the rest.
pub const BODY_BYTES_MAX: usize = 192 << 10;

/// A frame that is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    /// Too short to hold a version and a checksum.
    #[error("a frame of {0} bytes is too short")]
    Short(usize),
    /// Another version.
    #[error("frame version {0}, but this is version {VERSION}")]
    Version(u8),
    /// Damaged on the way.
    #[error("the checksum of a frame does not match")]
    Checksum,
    /// Not an encoding of what was expected.
    #[error(transparent)]
    Body(#[from] Malformed),
}

/// The codec that cuts a stream into frames of at most `bytes_max`.
#[must_use]
pub fn codec(bytes_max: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(bytes_max).new_codec()
}

/// A value as the content of a frame.
#[must_use]
pub fn seal<T: Serialize>(value: &T) -> Bytes {
    let body = codec::encode(value);
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + body.len());
    frame.put_u8(VERSION);
    frame.put_u32_le(crc32fast::hash(&body));
    frame.put_slice(&body);
    frame.freeze()
}

/// The value in a frame.
///
/// # Errors
///
/// If it is not one of ours, or damaged.
pub fn open<T: DeserializeOwned>(frame: &[u8]) -> Result<T, BadFrame> {
    let Some((header, body)) = frame.split_at_checked(HEADER_BYTES) else {
        return Err(BadFrame::Short(frame.len()));
    };
    if header[0] != VERSION {
        return Err(BadFrame::Version(header[0]));
    }
    if header[1..] != crc32fast::hash(body).to_le_bytes() {
        return Err(BadFrame::Checksum);
    }
    Ok(codec::decode(body)?)
}

/// Version and checksum.
const HEADER_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::paxos::{Envelope, Heartbeat, Message, NodeId, Slot, testing};
    use crate::wire::client::{FromNode, ToNode};
    use crate::wire::hello::Hello;

    proptest! {
        #[test]
        fn random_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(open::<Envelope>(&bytes).is_err());
        }

        #[test]
        fn random_bodies_decode_or_are_refused(body: Vec<u8>) {
            // Past the checksum: whatever comes out, nothing panics or allocates what it claims.
            let _ = codec::decode::<Envelope>(&body);
            let _ = codec::decode::<ToNode>(&body);
            let _ = codec::decode::<FromNode>(&body);
            let _ = codec::decode::<Hello>(&body);
        }

        #[test]
        fn one_flipped_bit_is_noticed(bit in 0usize..64) {
            let frame = seal(&example());
            let mut bytes = frame.to_vec();
            let at = bit % (bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert!(open::<Envelope>(&bytes).is_err());
        }
    }

    fn example() -> Envelope {
        let ballot = testing::ballot(3, 1);
        let (watermark, decided) = (Slot(7), Slot(7));
        let message =
            Message::from(Heartbeat { ballot, round: 9, watermark, decided, digest: None });
        Envelope { from: NodeId(1), to: NodeId(2), message }
    }

    #[test]
    fn a_frame_comes_back() {
        assert_eq!(open::<Envelope>(&seal(&example())).expect("whole"), example());
    }

    #[test]
    fn a_claimed_length_is_not_believed() {
        // An envelope with a CatchUp that claims 2^60 commands.
        let mut body = codec::encode(&(NodeId(0), NodeId(1), 12u32, Slot(0)));
        body.extend_from_slice(&(1u64 << 60).to_le_bytes());
        assert!(codec::decode::<Envelope>(&body).is_err());
    }
}
