//! The search for linearizability, with the slots hidden: is there *any* order of the operations
//! that respects real time and explains every answer?
//!
//! The algorithm is that of Wing and Gong (1993) with Lowe's memo (*Testing for linearizability*,
//! 2017): take as next any operation that was invoked before the first answer outstanding, go back
//! when none fits, and never try twice the same set of operations taken in the same state.
//!
//! - The set is kept as a *cut*: the first operation, by invocation, above all those taken, and the
//!   holes below it. All holes were in flight together when the last one taken was invoked, so
//!   there are never more of them than clients at once, however long the history is.
//! - A read that fits now is taken now and nothing else is tried: it changes nothing, so any order
//!   that goes on from here does so with the read in front.
//! - The slots decide the order in which the candidates are *tried*, never what is accepted: the
//!   log's own order is the first guess, and a sound history is walked through once.
//! - An operation without an answer may be taken or left. A read without one says nothing.
//!
//! No search ends when too many operations are in flight: above [`WIDTH_MAX`] it does not begin,
//! and beyond [`STEPS_MAX`] it stops, and both are verdicts of their own, for the caller to count.
//! Nothing hides in the latter: the first guess of a history that the witness passes is right.
//!
//! Written here, though stateright 0.31 has a `LinearizabilityTester`: that one has no memo, allows
//! a thread one operation in flight where a session may have several, copies the history in each
//! step of a recursion as deep as the history is long, and would bring into the library fourteen
//! crates more, a web server among them.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{History, Model, Moment, Operation};

/// How many operations on one object may be in flight at a moment.
pub const WIDTH_MAX: usize = 8;

/// How many operations are tried for one object before the search stops.
pub const STEPS_MAX: u64 = 100_000;

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// There is an order that explains every answer.
    Linear {
        /// How many operations were tried; those of the history, when each guess was right.
        steps: u64,
    },
    /// There is none.
    Refused {
        /// Where the longest attempt ended, in words.
        why: String,
    },
    /// Not judged: more than [`WIDTH_MAX`] operations in flight at a moment.
    TooWide {
        /// How many there were.
        width: usize,
    },
    /// Not judged: no order found within [`STEPS_MAX`].
    TooLong,
}

/// A set of operations by the order of invocation: all below `high` but the holes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cut {
    high: usize,
    /// Ascending.
    holes: Vec<usize>,
}

/// A point of the search: what was taken, the state it led to, and what is to be tried from here.
struct Turn<M> {
    cut: Cut,
    model: M,
    /// The best guess last.
    untried: Vec<usize>,
}

struct Search<'a, M: Model> {
    /// Of one object, by invocation.
    operations: Vec<&'a Operation<M>>,
    /// All answered operations lie below.
    answered: usize,
    tried: BTreeSet<(Cut, M)>,
    steps: u64,
    /// The largest set for which an order was found.
    farthest: Cut,
}

impl<M: Model + Ord> History<M> {
    /// Searches for an order that explains the answers, from the state `model` on; each object by
    /// itself. Of several verdicts the gravest counts: refused, then not judged, then linear.
    pub fn check_linear(&self, model: M) -> Verdict {
        let mut objects: BTreeMap<&[u8], Vec<&Operation<M>>> = BTreeMap::new();
        let telling = |one: &&Operation<M>| one.answer.is_some() || !one.is_read();
        for operation in self.operations().iter().filter(telling) {
            objects.entry(M::object(&operation.input)).or_default().push(operation);
        }
        let verdicts = objects.into_values().map(|operations| judge(operations, model.clone()));
        verdicts.fold(Verdict::Linear { steps: 0 }, graver)
    }
}

fn graver(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Linear { steps: a }, Verdict::Linear { steps: b }) => {
            Verdict::Linear { steps: a + b }
        }
        (refused @ Verdict::Refused { .. }, _) | (_, refused @ Verdict::Refused { .. }) => refused,
        (wide @ Verdict::TooWide { .. }, _) | (_, wide @ Verdict::TooWide { .. }) => wide,
        (Verdict::TooLong, _) | (_, Verdict::TooLong) => Verdict::TooLong,
    }
}

fn judge<M: Model + Ord>(mut operations: Vec<&Operation<M>>, model: M) -> Verdict {
    operations.sort_by_key(|operation| operation.invoked);
    let width = width(&operations);
    if width > WIDTH_MAX {
        return Verdict::TooWide { width };
    }
    let answered = operations.iter().rposition(|operation| operation.answer.is_some());
    let (tried, farthest) = (BTreeSet::new(), Cut::default());
    let answered = answered.map_or(0, |last| last + 1);
    Search { operations, answered, tried, steps: 0, farthest }.run(model)
}

/// The most operations in flight at a moment. One without an answer stays in flight.
fn width<M: Model>(operations: &[&Operation<M>]) -> usize {
    let mut returns: Vec<Moment> = operations.iter().filter_map(|one| returned(one)).collect();
    returns.sort_unstable();
    let in_flight = operations.iter().enumerate().map(|(index, operation)| {
        index + 1 - returns.partition_point(|returned| *returned < operation.invoked)
    });
    in_flight.max().unwrap_or(0)
}

fn returned<M: Model>(operation: &Operation<M>) -> Option<Moment> {
    operation.answer.as_ref().map(|answer| answer.returned)
}

impl<M: Model + Ord> Search<'_, M> {
    fn run(mut self, model: M) -> Verdict {
        let first = self.turn(Cut::default(), model);
        // A stack of our own: a history may be longer than a thread's stack is deep.
        let mut path = vec![first];
        while let Some(turn) = path.last_mut() {
            if self.is_done(&turn.cut) {
                return Verdict::Linear { steps: self.steps };
            }
            let Some(next) = turn.untried.pop() else {
                path.pop();
                continue;
            };
            if self.steps == STEPS_MAX {
                return Verdict::TooLong;
            }
            self.steps += 1;
            let taken = self.take(turn, next);
            path.extend(taken);
        }
        Verdict::Refused { why: self.why() }
    }

    /// Takes `next` if its answer fits and this leads to somewhere new.
    fn take(&mut self, turn: &mut Turn<M>, next: usize) -> Option<Turn<M>> {
        let operation = self.operations[next];
        let mut model = turn.model.clone();
        let computed = model.apply(None, &operation.input);
        let told = operation.answer.as_ref();
        if told.is_some_and(|answer| !M::agrees(&computed, &answer.output)) {
            return None;
        }
        if operation.is_read() {
            turn.untried.clear();
        }
        let cut = turn.cut.with(next);
        if self.farthest.len() < cut.len() {
            self.farthest.clone_from(&cut);
        }
        let is_new = self.tried.insert((cut.clone(), model.clone()));
        is_new.then(|| self.turn(cut, model))
    }

    fn turn(&self, cut: Cut, model: M) -> Turn<M> {
        let mut untried = self.candidates(&cut);
        let guess = |index: &usize| {
            let operation = self.operations[*index];
            let at = operation.at();
            (at.is_none(), at, !operation.is_read(), operation.invoked)
        };
        untried.sort_by_key(|index| std::cmp::Reverse(guess(index)));
        Turn { cut, model, untried }
    }

    /// All that may be next: invoked before the first answer outstanding.
    fn candidates(&self, cut: &Cut) -> Vec<usize> {
        let mut soonest: Option<Moment> = None;
        let mut found = Vec::with_capacity(WIDTH_MAX);
        let outside = cut.holes.iter().copied().chain(cut.high..self.operations.len());
        for index in outside {
            let operation = self.operations[index];
            if soonest.is_some_and(|soonest| soonest < operation.invoked) {
                break;
            }
            found.push(index);
            let returned = returned(operation);
            soonest = soonest.into_iter().chain(returned).min();
        }
        found
    }

    /// Whether only operations without an answer are left.
    fn is_done(&self, cut: &Cut) -> bool {
        let is_open = |index: &usize| self.operations[*index].answer.is_none();
        self.answered <= cut.high && cut.holes.iter().all(is_open)
    }

    fn why(&self) -> String {
        let (fit, all) = (self.farthest.len(), self.operations.len());
        let next = self.candidates(&self.farthest);
        let next: Vec<String> = next.iter().map(|index| self.told(*index)).collect();
        format!("{fit} of {all} operations fit; next can be none of: {}", next.join("; "))
    }

    fn told(&self, index: usize) -> String {
        let operation = self.operations[index];
        let answer = operation.answer.as_ref();
        answer.map_or_else(
            || operation.to_string(),
            |answer| format!("{operation}, told {:?}", answer.output),
        )
    }
}

impl Cut {
    /// How many operations are in the set.
    fn len(&self) -> usize {
        self.high - self.holes.len()
    }

    /// The set with one more.
    fn with(&self, index: usize) -> Cut {
        let mut cut = self.clone();
        if index < cut.high {
            cut.holes.retain(|hole| *hole != index);
        } else {
            cut.holes.extend(cut.high..index);
            cut.high = index + 1;
        }
        cut
    }
}
