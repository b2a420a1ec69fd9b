//! Who is in office: the primary, the backups that have joined it, and the announcements of it.
//!
//! The replicas say so themselves, by commands in the log: the one that leads presides, drops a
//! backup that it does not hear any more, and a backup attends once it has caught up. Each says of
//! which *view* it speaks, and counts only in that: a word that was late, because its sender was
//! cut off or stopped, changes nothing. The view counts primaries, and nothing below knows it; each
//! change of any kind has a number of its own, the *announcement*.
//!
//! ```text
//! replica A        replica B        log                                    clients
//! Preside A, view 0 ------------->  view 1: primary A, no backup      ---> announcement 1
//!                  Attend B, 1 -->  view 1: primary A, backup B       ---> announcement 2
//! (A dies)
//!                  Preside B, 1 ->  view 2: primary B, no backup      ---> announcement 3
//! (A comes back, and knows of view 1)
//! Preside A, 1 ------------------>  as it was: that is over
//! Attend A, 2 -------------------->  view 2: primary B, backup A      ---> announcement 4
//! ```

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::words::PAGE_BYTES_MAX;
use crate::paxos::Slot;

/// The longest address of a replica, in bytes: as long as a host's name can be, and a port.
pub const ADDRESS_BYTES_MAX: usize = 261;

/// How many replicas can be in office: as many as a cluster has members.
pub const SERVERS_MAX: usize = crate::cluster::MEMBERS_MAX;

/// A replica, as clients reach it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Server {
    /// Which.
    pub id: u16,
    /// Host and port.
    pub address: Bytes,
}

/// A backup that has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Host and port.
    pub address: Bytes,
    /// Its entry in the log: it has all that is below.
    pub joined: Slot,
}

/// Who is in office, as the last announcement has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Office {
    /// Its number; 0: there was none yet.
    pub announcement: u64,
    /// How many primaries there were.
    pub view: u64,
    /// Who presides.
    pub primary: Option<Server>,
    /// Who has joined it, by their ids.
    pub backups: BTreeMap<u16, Backup>,
}

impl Office {
    /// A replica leads. Whether that is news.
    pub(super) fn preside(&mut self, server: Server, view: u64) -> bool {
        let is_known = self.primary.as_ref() == Some(&server);
        if view != self.view || is_known || !is_sound(&server) {
            return false;
        }
        if self.primary.as_ref().map(|it| it.id) != Some(server.id) {
            self.view += 1;
            self.backups.remove(&server.id);
        }
        self.primary = Some(server);
        self.announcement += 1;
        true
    }

    /// A replica has all that the log has below this slot. Whether that is news.
    pub(super) fn attend(&mut self, server: Server, view: u64, at: Slot) -> bool {
        let presides = self.primary.as_ref().is_none_or(|it| it.id == server.id);
        let known = self.backups.get(&server.id).map(|it| &it.address);
        let is_full = known.is_none() && self.backups.len() + 1 >= SERVERS_MAX;
        let counts = view == self.view && !presides && !is_full && is_sound(&server);
        if !counts || known == Some(&server.address) {
            return false;
        }
        self.backups.insert(server.id, Backup { address: server.address, joined: at });
        self.announcement += 1;
        true
    }

    /// The primary hears a backup no more. Whether that is news.
    pub(super) fn dismiss(&mut self, id: u16, view: u64) -> bool {
        let is_news = view == self.view && self.backups.remove(&id).is_some();
        self.announcement += u64::from(is_news);
        is_news
    }

    /// The replicas in office: a client sends its votes to each.
    pub fn servers(&self) -> impl Iterator<Item = u16> {
        let primary = self.primary.iter().map(|it| it.id);
        primary.chain(self.backups.keys().copied())
    }
}

/// Whether a replica is something that can be announced.
fn is_sound(server: &Server) -> bool {
    let address = &server.address;
    let is_plain = address.iter().all(u8::is_ascii_graphic);
    !address.is_empty() && address.len() <= ADDRESS_BYTES_MAX && is_plain
}

/// `announcement 6, view 4: primary b:7000, backup a:7000 (joined at slot 1100)`.
impl fmt::Display for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        write!(f, "announcement {}, view {}: ", self.announcement, self.view)?;
        match &self.primary {
            Some(primary) => write!(f, "primary {}", text(&primary.address))?,
            None => f.write_str("no primary")?,
        }
        if self.backups.is_empty() {
            f.write_str(", no backup")?;
        }
        for backup in self.backups.values() {
            let address = text(&backup.address);
            write!(f, ", backup {address} (joined at slot {})", backup.joined)?;
        }
        Ok(())
    }
}

// All of it goes into one answer, and one notice.
const _: () = assert!(SERVERS_MAX * (ADDRESS_BYTES_MAX + 32) < PAGE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: u16) -> Server {
        Server { id, address: Bytes::from(format!("{}:7000", ["a", "b", "c"][usize::from(id)])) }
    }

    /// Bugs that turn it red: a word of another view that counts; a change without a number, or a
    /// number without a change; a new primary that stays its own backup; a backup of itself.
    #[test]
    fn offices_change_in_their_view_and_each_change_has_a_number() {
        let mut office = Office::default();
        assert!(!office.attend(server(1), 0, Slot(1)), "nobody presides");
        assert!(office.preside(server(0), 0));
        assert!(!office.preside(server(0), 1), "it does already");
        assert!(!office.preside(server(1), 0), "that view is over");
        assert!(!office.attend(server(0), 1, Slot(2)), "it presides");
        assert!(!office.attend(server(1), 0, Slot(2)));
        assert!(office.attend(server(1), 1, Slot(3)));
        assert!(!office.attend(server(1), 1, Slot(4)), "it has joined already");
        let line = "announcement 2, view 1: primary a:7000, backup b:7000 (joined at slot 3)";
        assert_eq!(office.to_string(), line);
        assert_eq!(office.servers().collect::<Vec<_>>(), [0, 1]);
        assert!(!office.dismiss(1, 0));
        assert!(!office.dismiss(2, 1));
        assert!(office.dismiss(1, 1));
        assert!(office.attend(server(1), 1, Slot(5)));
        assert!(office.attend(server(2), 1, Slot(6)));
        assert!(office.preside(server(1), 1));
        let line = "announcement 6, view 2: primary b:7000, backup c:7000 (joined at slot 6)";
        assert_eq!(office.to_string(), line);
        let moved = Server { id: 1, address: Bytes::from_static(b"d:7000") };
        assert!(office.preside(moved, 2), "it is elsewhere now");
        assert_eq!((office.announcement, office.view), (7, 2));
    }

    /// Bugs that turn it red: an address that writes a line of its own into an announcement, or has
    /// no end.
    #[test]
    fn an_address_is_one_word() {
        for bad in ["", "a b:1", "a:1\n", &"a".repeat(ADDRESS_BYTES_MAX + 1)] {
            let server = Server { id: 0, address: Bytes::copy_from_slice(bad.as_bytes()) };
            assert!(!Office::default().preside(server, 0), "{bad:?}");
        }
        assert_eq!(Office::default().to_string(), "announcement 0, view 0: no primary, no backup");
    }
}
