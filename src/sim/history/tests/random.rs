//! Random histories of a real object, whole and damaged.

use super::*;

/// Where a simulated client stands with its one operation.
#[derive(Clone, Copy)]
enum Stage {
    Idle,
    Asked(OpId),
    Done(OpId, Slot),
}

/// A ledger that is used by some clients at once. Each operation takes effect at a random moment
/// between its invocation and its answer; now and then a client is never seen again.
struct Room {
    rng: Rng,
    history: History<Ledger>,
    ledger: Ledger,
    slots: u64,
    asked: Vec<Stage>,
    names: Vec<u128>,
    told: BTreeMap<OpId, Told>,
    crashes_left: usize,
}

impl Room {
    fn fill(seed: u64, operations: usize, clients: usize) -> History<Ledger> {
        let mut room = Room {
            rng: Rng::with_seed(seed),
            history: History::new(),
            ledger: Ledger::default(),
            slots: 0,
            asked: vec![Stage::Idle; clients],
            names: (0..clients as u128).collect(),
            told: BTreeMap::new(),
            crashes_left: WIDTH_MAX - clients,
        };
        let mut now = 0;
        while room.history.operations().len() < operations {
            now += room.rng.u64(0..3);
            let client = room.rng.usize(0..clients);
            room.step(now, client);
        }
        room.history
    }

    fn step(&mut self, now: u64, client: usize) {
        if self.crashes_left > 0 && self.rng.u8(..) == 0 {
            self.crashes_left -= 1;
            self.names[client] += 1_000;
            self.asked[client] = Stage::Idle;
            return;
        }
        self.asked[client] = match self.asked[client] {
            Stage::Idle => Stage::Asked(self.ask(now, client)),
            Stage::Asked(op) => Stage::Done(op, self.effect(op)),
            Stage::Done(op, at) => {
                let told = self.told.remove(&op).expect("it took effect");
                self.history.answer(op, now, at, told);
                Stage::Idle
            }
        };
    }

    fn ask(&mut self, now: u64, client: usize) -> OpId {
        let number = self.history.operations().len() as u64;
        let line = format!("{client} {number}");
        let ask = if self.rng.bool() { Ask::Read } else { append(number, &line) };
        self.history.invoke(ClientId(self.names[client]), now, ask)
    }

    fn effect(&mut self, op: OpId) -> Slot {
        let input = self.history.operations[op.0].input.clone();
        self.told.insert(op, self.ledger.apply(None, &input));
        // A hole now and then, as a leader fills it with a no-op.
        self.slots += u64::from(self.rng.u8(0..10) == 0);
        let at = Slot(self.slots);
        if !Ledger::is_read(&input) {
            self.slots += 1;
            self.history.decided(op, at);
        }
        at
    }
}

#[test]
fn whatever_a_real_object_did_passes_at_the_first_attempt() {
    for seed in 0..500 {
        let history = Room::fill(seed, 200, 1 + (seed % 6) as usize);
        let witness = history.check_witness(Ledger::default());
        assert_eq!(witness, Ok(()), "seed {seed}");
        let telling = |one: &&Operation<Ledger>| one.at().is_some();
        let steps = history.operations().iter().filter(telling).count() as u64;
        let search = history.check_linear(Ledger::default());
        let Verdict::Linear { steps: taken } = search else { panic!("seed {seed}: {search:?}") };
        assert!(taken <= steps, "seed {seed}: {taken} of {steps}");
    }
}

/// The search without its first guess: the same answers, and no slot to go by.
#[test]
fn the_search_needs_no_slots() {
    let mut judged = 0;
    for seed in 0..100 {
        let mut history = Room::fill(seed, 60, 3);
        for operation in &mut history.operations {
            operation.decided.clear();
            operation.answer.iter_mut().for_each(|answer| answer.at = Slot(0));
        }
        let search = history.check_linear(Ledger::default());
        assert!(!is_refused(&search), "seed {seed}: {search:?}");
        judged += usize::from(is_linear(&search));
    }
    assert!(judged >= 90, "{judged} of 100 judged");
}

/// Two answered operations, both reads or both writes; reads that were told different things.
fn a_pair(rng: &mut Rng, history: &History<Ledger>, reads: bool) -> Option<(usize, usize)> {
    let answered = |one: &Operation<Ledger>| one.answer.is_some() && one.is_read() == reads;
    let all = history.operations.iter().enumerate().filter(|(_, one)| answered(one));
    let all: Vec<usize> = all.map(|(index, _)| index).collect();
    let (one, other) = (*rng.choice(&all)?, *rng.choice(&all)?);
    let output = |index: usize| history.operations[index].answer.clone().map(|told| told.output);
    (output(one) != output(other)).then_some((one, other))
}

fn swap_answers(history: &mut History<Ledger>, (one, other): (usize, usize)) {
    let first = history.operations[one].answer.clone().expect("answered");
    let second = history.operations[other].answer.clone().expect("answered");
    for (index, told) in [(one, &second), (other, &first)] {
        let answer = history.operations[index].answer.as_mut().expect("answered");
        (answer.at, answer.output) = (told.at, told.output.clone());
    }
}

/// How many of 500 histories with two operations exchanged are refused: by the witness, by the
/// search, and left unjudged by the search.
fn refused(damage: impl Fn(&mut Rng, &mut History<Ledger>) -> bool) -> (u32, u32, u32) {
    let (mut damaged, mut witness, mut search, mut unjudged) = (0, 0, 0, 0);
    for seed in 0.. {
        let mut rng = Rng::with_seed(seed);
        let mut history = Room::fill(seed, 60, 3);
        if !damage(&mut rng, &mut history) {
            continue;
        }
        let is_caught = history.check_witness(Ledger::default()).is_err();
        let verdict = history.check_linear(Ledger::default());
        assert!(is_caught || is_linear(&verdict), "seed {seed}: the witness has an order");
        witness += u32::from(is_caught);
        search += u32::from(is_refused(&verdict));
        unjudged += u32::from(!is_refused(&verdict) && !is_linear(&verdict));
        damaged += 1;
        if damaged == 500 {
            break;
        }
    }
    (witness, search, unjudged)
}

#[test]
fn the_answers_of_two_reads_exchanged_are_caught() {
    let (witness, search, unjudged) = refused(|rng, history| {
        let pair = a_pair(rng, history, true);
        pair.inspect(|pair| swap_answers(history, *pair)).is_some()
    });
    // The rest were in flight together, or stood side by side with nothing between them.
    assert!(witness >= 490 && search >= 490, "{witness}, {search}, {unjudged}");
}

#[test]
fn the_slots_of_two_writes_exchanged_are_caught() {
    let (witness, ..) = refused(|rng, history| {
        let Some((one, other)) = a_pair(rng, history, false) else { return false };
        let slots = [one, other].map(|index| history.operations[index].at().expect("answered"));
        for (index, slot) in [(one, slots[1]), (other, slots[0])] {
            history.operations[index].decided = vec![slot];
            history.operations[index].answer.as_mut().expect("answered").at = slot;
        }
        true
    });
    assert!(witness >= 490, "{witness}");
}

#[test]
fn the_replies_of_two_writes_exchanged_are_always_caught() {
    let all = refused(|rng, history| {
        let pair = a_pair(rng, history, false);
        pair.inspect(|pair| swap_answers(history, *pair)).is_some()
    });
    assert_eq!(all, (500, 500, 0));
}

/// All orders of the indices, by the plainest of recursions.
fn some_order(history: &History<Ledger>, taken: &[usize], model: Ledger) -> bool {
    let all = history.operations();
    let left = || (0..all.len()).filter(|index| !taken.contains(index));
    if left().all(|index| all[index].answer.is_none()) {
        return true;
    }
    left().any(|next| {
        let precedes = |before: usize| {
            let returned = all[before].answer.as_ref().map(|answer| answer.returned);
            returned.is_some_and(|returned| returned < all[next].invoked)
        };
        let mut model = model;
        let computed = model.apply(None, &all[next].input);
        let fits = all[next].answer.as_ref().is_none_or(|answer| answer.output == computed);
        let taken: Vec<usize> = taken.iter().copied().chain([next]).collect();
        fits && !left().any(precedes) && some_order(history, &taken, model)
    })
}

#[test]
fn the_search_agrees_with_a_trial_of_all_orders() {
    let mut verdicts = [0; 2];
    for seed in 0..2_000 {
        let mut rng = Rng::with_seed(seed);
        let mut history = Room::fill(seed, 7, 3);
        if let Some(pair) = a_pair(&mut rng, &history, true) {
            swap_answers(&mut history, pair);
        }
        let expected = some_order(&history, &[], Ledger::default());
        let search = history.check_linear(Ledger::default());
        assert_eq!(is_linear(&search), expected, "seed {seed}: {search:?} {history:?}");
        assert_eq!(is_refused(&search), !expected, "seed {seed}: {search:?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 200), "{verdicts:?} tell too little");
}
