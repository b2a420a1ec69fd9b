//! The locks as one machine would hold them, for what was said without waiting.
//!
//! Written apart from the service, from what the slots of the answers say alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use indelible::paxos::{ClientId, Slot};
use indelible::services::lock::{By, Said};
use libtest_mimic::Failed;

/// What a session asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// These locks.
    Lock(Vec<Bytes>),
    /// That this lock with this token be free.
    Unlock(Bytes, Slot),
}

/// What it was told, and where that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) slot: Slot,
    pub(super) session: ClientId,
    pub(super) op: Op,
    pub(super) said: Said,
}

/// Holds every answer against a model, in slot order.
pub(super) fn check(records: &[Record]) -> Result<(), Failed> {
    let mut by_slot = BTreeMap::new();
    for record in records {
        if let Some(other) = by_slot.insert(record.slot, record) {
            return Err(format!("{record:?} and {other:?} share a slot").into());
        }
    }
    let (mut held, mut last) = (BTreeMap::new(), BTreeMap::new());
    let mut granted = 0;
    for record in by_slot.values() {
        let fits = match (&record.op, &record.said) {
            (Op::Lock(names), Said::Granted { tokens }) => {
                granted += 1;
                tokens.len() == names.len() && grant(record, tokens, &mut held, &mut last)
            }
            (Op::Lock(names), Said::Busy { name, by: By::Held(hold) }) => {
                names.contains(name)
                    && held.get(name) == Some(&(hold.session, hold.token))
                    && hold.session != record.session
            }
            (Op::Unlock(name, token), Said::Unlocked) => {
                held.remove(name) == Some((record.session, *token))
            }
            (Op::Unlock(name, token), Said::NotOwner { holder }) => {
                let now = held.get(name).copied();
                now != Some((record.session, *token))
                    && now == holder.as_ref().map(|hold| (hold.session, hold.token))
            }
            (Op::Lock(_) | Op::Unlock(..), _) => false,
        };
        if !fits {
            return Err(format!("{record:?} does not fit what stood before it: {held:?}").into());
        }
    }
    if granted == 0 { Err("nothing was granted at all".into()) } else { Ok(()) }
}

type Held = BTreeMap<Bytes, (ClientId, Slot)>;

/// Each lock is free, or its own with the same token; a new token is this slot, above all before.
fn grant(
    record: &Record,
    tokens: &[(Bytes, Slot)],
    held: &mut Held,
    last: &mut BTreeMap<Bytes, Slot>,
) -> bool {
    tokens.iter().all(|(name, token)| match held.get(name) {
        Some(hold) => *hold == (record.session, *token),
        None => {
            held.insert(name.clone(), (record.session, *token));
            let before = last.insert(name.clone(), *token);
            *token == record.slot && before.is_none_or(|before| before < *token)
        }
    })
}
