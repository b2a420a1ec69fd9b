//! The slot witness: the answers' own slots, taken at their word.
//!
//! Each answered write names its slot and each read the number of slots it had seen, so the
//! history carries the very order that is claimed for it. Nothing needs to be searched: the order
//! has to respect real time, and a replay in that order has to give every answer. That takes
//! O(n log n), at any concurrency, and it sees more than the search does: a stale read whose answer
//! happens to be right again (the value came back meanwhile), or two writes in the wrong order
//! whose replies do not tell.
//!
//! Places are put on one line: the write of slot s stands at 2s + 1, a read of n slots at 2n,
//! between the slots n - 1 and n. Real time is then one comparison for all four pairs of reads and
//! writes: what was answered before another was invoked stands before it. Several reads may share
//! a place, writes may not.
//!
//! Deliberately absent: doubt. A history that passes is linearizable, since the order replayed is
//! the proof; one that fails may still look right to its users, and is a bug all the same.

use std::collections::BTreeMap;

use thiserror::Error;

use super::history::{History, Model, Operation};
use crate::paxos::{ClientId, Slot};

/// Two things that cannot both be true of a replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// A write was answered twice, and not alike.
    #[error("{operation} was answered {first} at slot {at}, then {second} at slot {then}")]
    AnsweredTwice {
        /// What was asked.
        operation: String,
        /// The first answer's slot.
        at: Slot,
        /// The first answer.
        first: String,
        /// The second answer's slot.
        then: Slot,
        /// The second answer.
        second: String,
    },
    /// A write stands in two slots.
    #[error("{operation} stands in slot {at} and in slot {also}")]
    TwoSlots {
        /// The write.
        operation: String,
        /// Where its answer, or else the log, first said.
        at: Slot,
        /// Where the log holds it as well.
        also: Slot,
    },
    /// Two writes stand in one slot.
    #[error("one slot for two: {first}, and {second}")]
    OneSlot {
        /// One write.
        first: String,
        /// The other.
        second: String,
    },
    /// The order of the log is not that of real time.
    #[error("{first} was answered before {second} was invoked, but that stands earlier")]
    RealTime {
        /// Answered already.
        first: String,
        /// Invoked afterwards.
        second: String,
    },
    /// A client's writes are not in the order of its session.
    #[error("one client wrote {first}, then {second}, but that stands earlier")]
    Session {
        /// Invoked first.
        first: String,
        /// Invoked afterwards.
        second: String,
    },
    /// An answer is not what a replay in the order of the slots gives.
    #[error("{operation} was answered {told}, but after {after} the answer is {computed}")]
    Replay {
        /// Whose answer it is.
        operation: String,
        /// The last write before it, in the order of the slots.
        after: String,
        /// What the client was told.
        told: String,
        /// What the model says.
        computed: String,
    },
}

/// An operation that has its place on the line.
struct Placed<'a, M: Model> {
    place: u128,
    operation: &'a Operation<M>,
}

impl<M: Model> History<M> {
    /// Checks the history against the order of its own slots, from the state `model` on.
    ///
    /// # Errors
    ///
    /// The first contradiction found, with the operations that it is between.
    pub fn check_witness(&self, model: M) -> Result<(), Contradiction> {
        self.operations().iter().try_for_each(told_one_thing)?;
        let placed: Vec<_> = self.operations().iter().filter_map(placed).collect();
        real_time(&placed)?;
        sessions(&placed)?;
        replay(placed, model)
    }
}

impl<M: Model> Clone for Placed<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Model> Copy for Placed<'_, M> {}

/// An operation that took no effect, as far as anybody knows, has no place.
fn placed<M: Model>(operation: &Operation<M>) -> Option<Placed<'_, M>> {
    let Slot(at) = operation.at()?;
    let place = 2 * u128::from(at) + u128::from(!operation.is_read());
    Some(Placed { place, operation })
}

fn told_one_thing<M: Model>(operation: &Operation<M>) -> Result<(), Contradiction> {
    if let (Some(answer), Some(other)) = (&operation.answer, &operation.other_answer) {
        return Err(Contradiction::AnsweredTwice {
            operation: operation.to_string(),
            at: answer.at,
            first: format!("{:?}", answer.output),
            then: other.at,
            second: format!("{:?}", other.output),
        });
    }
    let Some(at) = operation.at() else { return Ok(()) };
    let also = operation.decided.iter().find(|slot| **slot != at);
    also.map_or(Ok(()), |also| {
        Err(Contradiction::TwoSlots { operation: operation.to_string(), at, also: *also })
    })
}

/// Goes through all invocations and answers in the order of time, and keeps the furthest place
/// that was answered.
fn real_time<M: Model>(placed: &[Placed<'_, M>]) -> Result<(), Contradiction> {
    let invoked = placed.iter().map(|one| (one.operation.invoked, one, false));
    let returned = placed.iter().filter_map(|one| {
        let answer = one.operation.answer.as_ref()?;
        Some((answer.returned, one, true))
    });
    let mut events: Vec<_> = invoked.chain(returned).collect();
    events.sort_unstable_by_key(|(moment, ..)| *moment);
    let mut furthest: Option<&Placed<'_, M>> = None;
    for (_, one, is_answer) in events {
        let behind = furthest.filter(|furthest| one.place < furthest.place);
        match (is_answer, behind) {
            (true, None) => furthest = Some(one),
            (true, Some(_)) | (false, None) => (),
            (false, Some(furthest)) => {
                let (first, second) = words(furthest, one);
                return Err(Contradiction::RealTime { first, second });
            }
        }
    }
    Ok(())
}

/// Design 3: a session's requests stand in the order of their numbers, also those in flight
/// together.
fn sessions<M: Model>(placed: &[Placed<'_, M>]) -> Result<(), Contradiction> {
    let mut writes: Vec<_> = placed.iter().filter(|one| !one.operation.is_read()).collect();
    writes.sort_unstable_by_key(|one| one.operation.invoked);
    let mut last: BTreeMap<ClientId, &Placed<'_, M>> = BTreeMap::new();
    for one in writes {
        let before = last.insert(one.operation.client, one);
        if let Some(before) = before.filter(|before| one.place < before.place) {
            let (first, second) = words(before, one);
            return Err(Contradiction::Session { first, second });
        }
    }
    Ok(())
}

/// Every write gets exactly its reply and every read exactly its answer, in the order of places.
fn replay<M: Model>(mut placed: Vec<Placed<'_, M>>, mut model: M) -> Result<(), Contradiction> {
    placed.sort_by_key(|one| one.place);
    let mut last: Option<Placed<'_, M>> = None;
    for one in placed {
        let operation = one.operation;
        if let Some(same) = last.filter(|last| last.place == one.place) {
            let (first, second) = words(&same, &one);
            return Err(Contradiction::OneSlot { first, second });
        }
        let computed = model.apply(operation.at(), &operation.input);
        if let Some(answer) = &operation.answer
            && !M::agrees(&computed, &answer.output)
        {
            let after = last.map(|last| last.operation.to_string());
            return Err(Contradiction::Replay {
                operation: operation.to_string(),
                after: after.unwrap_or_else(|| "nothing".to_owned()),
                told: format!("{:?}", answer.output),
                computed: format!("{computed:?}"),
            });
        }
        if !operation.is_read() {
            last = Some(one);
        }
    }
    Ok(())
}

fn words<M: Model>(first: &Placed<'_, M>, second: &Placed<'_, M>) -> (String, String) {
    (first.operation.to_string(), second.operation.to_string())
}
