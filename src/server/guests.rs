//! Which clients are connected here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::paxos::ClientId;

/// The clients that are connected, by how many connections. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests(Arc<Mutex<BTreeMap<ClientId, usize>>>);

/// A connection of a client, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    guests: Guests,
    client: ClientId,
}

impl Guests {
    /// A client is connected until what this returns is dropped.
    pub(super) fn welcome(&self, client: ClientId) -> Seat {
        *self.lock().entry(client).or_default() += 1;
        Seat { guests: self.clone(), client }
    }

    /// All of them, ascending.
    pub(super) fn all(&self) -> Vec<ClientId> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ClientId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut guests = self.guests.lock();
        if let Some(count) = guests.get_mut(&self.client) {
            *count -= 1;
        }
        guests.retain(|_, count| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bugs that turn it red: a client that is gone with the first of its two connections, or stays
    /// when it has none.
    #[test]
    fn a_client_is_there_for_as_long_as_any_connection() {
        let guests = Guests::default();
        let (one, two, other) = (ClientId(1), ClientId(1), ClientId(2));
        let (first, second) = (guests.welcome(one), guests.welcome(two));
        let third = guests.welcome(other);
        assert_eq!(guests.all(), [one, other]);
        drop((first, third));
        assert_eq!(guests.all(), [one]);
        drop(second);
        assert_eq!(guests.all(), []);
    }
}
