//! Whose store it is: written once, when it is made.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::disk::sync;
use crate::paxos::{Incarnation, NodeId};
use crate::wire::codec;

/// Whose store it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node.
    pub node: NodeId,
    /// This very store, among all that the node ever had.
    pub incarnation: Incarnation,
}

/// The format of the store as a whole; it covers sled's segment size.
pub(super) const FORMAT: u8 = 1;

const MAGIC: &[u8; 8] = b"INDELSTO";

impl Identity {
    /// A store of this node, made now.
    #[must_use]
    pub fn new(cluster: &str, node: NodeId, incarnation: Incarnation) -> Identity {
        Identity { cluster: cluster.to_owned(), node, incarnation }
    }

    /// A checksum of it, which every value of the log carries, so that no other node's is taken for
    /// ours.
    pub(crate) fn fingerprint(&self) -> u32 {
        crc32fast::hash(&codec::encode(self))
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        let body = codec::encode(self);
        let mut content = MAGIC.to_vec();
        content.push(FORMAT);
        content.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        content.extend_from_slice(&body);
        sync::replace(path, &content).map_err(|error| Error::io(path, error))
    }

    pub(super) fn read(path: &Path) -> Result<Identity, Error> {
        let content = match fs::read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing(path.parent().unwrap_or(path).to_owned()));
            }
            Err(error) => return Err(Error::io(path, error)),
        };
        let damaged = |what: &str| Error::damaged(path, what);
        let rest = content.strip_prefix(MAGIC).ok_or_else(|| damaged("not an identity file"))?;
        let (format, rest) = rest.split_first().ok_or_else(|| damaged("too short"))?;
        if *format != FORMAT {
            return Err(Error::Newer { path: path.to_owned(), found: *format, known: FORMAT });
        }
        let (checksum, body) = rest.split_at_checked(4).ok_or_else(|| damaged("too short"))?;
        if checksum != crc32fast::hash(body).to_le_bytes() {
            return Err(damaged("the checksum of the identity does not match"));
        }
        codec::decode(body).map_err(|error| damaged(&error.to_string()))
    }

    pub(super) fn describe(&self) -> String {
        format!("node {} of cluster \"{}\"", self.node.0, self.cluster)
    }
}
