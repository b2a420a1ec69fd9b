//! Ledgers with one violation each, which must be refuted by the right name and shown by the right
//! records: `a0 c2` are value 0 of store a and value 2 of store c, `b-` is something beside the log
//! of b.

use bytes::Bytes;

use super::*;
use crate::paxos::{Chain, Record, Slot};

#[track_caller]
fn refuted(what: &str, stores: &[Store], lines: &[&str], invariant: Invariant, shown: &str) {
    let refuted = audit(3, stores, lines).expect_err(what);
    assert_eq!(refuted.invariant, invariant, "{what}: {refuted}");
    let exhibit = |it: &Exhibit| match it.place {
        Some(place) => format!("{}{}", it.store, place.value),
        None => format!("{}-", it.store),
    };
    let exhibits: Vec<String> = refuted.exhibits.iter().map(exhibit).collect();
    assert_eq!(exhibits.join(" "), shown, "{what}: {refuted}");
}

/// A log of three records that is trimmed, with something of the trim changed.
fn trims(change: fn(&mut Record)) -> Vec<Record> {
    let mut records = trimmed(vec![met(1, 7), run(1, 0, 0, 0, &[1]), decided(1)], 1);
    records.iter_mut().for_each(change);
    records
}

/// What a trim tells, to be changed.
macro_rules! changed {
    ($record:ident { $field:ident }, $changed:expr) => {
        trims(|record| {
            if let Record::$record { $field, .. } = record {
                *$field = $changed;
            }
        })
    };
}

/// Red if the check of that name is left out of what is read record by record.
#[test]
fn a_log_that_no_acceptor_wrote_is_refuted() {
    use Invariant::{A1, A2, A3, Incarnations, R2, R4, Runs};
    let voted = || vec![run(1, 0, 0, 0, &[1]), decided(1)];
    let with = |record: Record| [voted(), vec![record]].concat();
    let longer = Some(Chain { ballot: ballot(1, 0), from: Slot(0), end: Slot(9) });
    let no_stores = changed!(Trimmed { incarnations }, Vec::new());
    let mut longer_chain = trims(|_| ());
    if let Some(Record::Trimmed { chain, .. }) = longer_chain.get_mut(3) {
        *chain = longer;
    }
    let cases = [
        ("a lower promise", vec![promised(1, 0), met(1, 7), promised(0, 2)], A1, "a0 a2"),
        ("a lower promise than a vote", with(promised(0, 2)), A1, "a0 a2"),
        ("a trim without the promise", changed!(Trimmed { promised }, None), A1, "a1 a3"),
        ("a lower vote", vec![promised(1, 0), run(0, 2, 0, 0, &[1])], A2, "a0 a1"),
        ("a trim without the chain", changed!(Trimmed { chain }, None), A3, "a1 a3"),
        ("a trim with a longer chain", longer_chain, A3, "a1 a3"),
        ("a trim of what is undecided", changed!(Trimmed { below }, Slot(2)), A3, "a3"),
        ("a hole", vec![run(0, 0, 0, 1, &[1]), decided(2)], R2, "a1"),
        ("a mark beyond all", with(decided(2)), R2, "a2"),
        ("a gap below what is learned", with(learned(2, &[3])), R2, "a1 a2"),
        ("a trim with a higher mark", changed!(Trimmed { mark }, Slot(2)), R2, "a3"),
        ("a mark that falls", with(decided(0)), R4, "a1 a2"),
        ("a trim with a lower mark", changed!(Trimmed { mark }, Slot(0)), R4, "a2 a3"),
        ("no predecessor", with(run(1, 0, 2, 2, &[2])), Runs, "a0 a2"),
        ("no predecessor in its ballot", with(run(1, 1, 2, 2, &[2])), Runs, "a0 a2"),
        ("a run that follows what comes later", with(run(1, 0, 1, 0, &[2])), Runs, "a0 a2"),
        ("an empty run", with(run(1, 0, 1, 1, &[])), Runs, "a0 a2"),
        ("an older store", vec![met(1, 7), met(1, 6)], Incarnations, "a0 a1"),
        ("a trim without the stores", no_stores, Incarnations, "a0 a3"),
    ];
    for (what, records, invariant, shown) in cases {
        refuted(what, &[Store::of(0, &records)], &[], invariant, shown);
    }
}

/// Red if what is gone from a log excuses what stands in it.
#[test]
fn a_trimmed_log_is_held_to_what_it_still_tells() {
    let rest = trimmed(vec![run(0, 0, 5, 5, &[1]), decided(6), run(0, 0, 8, 8, &[2])], 5);
    refuted("no predecessor", &[Store::of(3, &rest)], &[], Invariant::Runs, "a3 a5");
    let mut rest = trimmed(vec![run(0, 0, 5, 5, &[1]), decided(6)], 5);
    if let Some(Record::Trimmed { chain: Some(chain), .. }) = rest.get_mut(2) {
        chain.end = Slot(5);
    }
    refuted("a shorter chain", &[Store::of(3, &rest)], &[], Invariant::A3, "a3 a5");
    let rest = [trim(&[run(0, 0, 0, 0, &[1]), decided(1)], 1), vec![decided(2)]].concat();
    refuted("a mark beyond all", &[Store::of(3, &rest)], &[], Invariant::R2, "a5");
}

/// Red if the check of that name is left out of what a log says of stores as a whole.
#[test]
fn stores_that_forget_themselves_or_others_are_refuted() {
    use Invariant::{A2, A3, Pledges, Suffrage};
    let (born, voted) = (standing(0, false), run(1, 0, 0, 0, &[1]));
    let records = || vec![met(1, 7), heard(1, 7, 5), testified(1, 7), voted.clone(), decided(1)];
    let without = |at: usize| {
        let mut records = trimmed(records(), 1);
        records.remove(at);
        records
    };
    let (fewer, more) = (changed!(Standing { pledges }, 0), changed!(Standing { pledges }, 2));
    let unfit = changed!(Standing { votes }, false);
    let mut votes = trimmed(vec![born.clone(), learned(0, &[1])], 1);
    votes.pop();
    votes.push(standing(0, true));
    let taken = imported(Some(ballot(2, 0)), &[(1, 0, 2)]);
    let twice = vec![born.clone(), taken.clone(), taken.clone()];
    let high = imported(Some(ballot(0, 0)), &[(1, 0, 2)]);
    let cases = [
        ("a trim without its testimony", without(7), A3, "a2 a5"),
        ("a trim without what was heard", without(6), Pledges, "a1 a5"),
        ("a trim without its pledges", without(8), Pledges, "a5"),
        ("a trim with fewer pledges", fewer, Pledges, "a3 a3"),
        ("a trim with more pledges", more, Pledges, "a3 a3"),
        ("a trim of one that votes", unfit, Suffrage, "a3 a3"),
        ("a trim makes a vote", votes, Suffrage, "a2 a2"),
        ("a new store promises", vec![born.clone(), promised(1, 0)], Suffrage, "a0 a1"),
        ("a new store accepts", vec![born.clone(), voted.clone()], Suffrage, "a0 a1"),
        (
            "a new store testifies",
            vec![born.clone(), met(1, 7), testified(1, 7)],
            Suffrage,
            "a0 a2",
        ),
        ("a store that votes takes over", vec![voted.clone(), taken.clone()], Suffrage, "a1"),
        ("taken over twice", twice, Suffrage, "a2"),
        ("taken over above the promise", vec![born.clone(), high], A2, "a1"),
        ("a lower vote", vec![born, taken, voted.clone()], A2, "a1 a2"),
    ];
    for (what, records, invariant, shown) in cases {
        refuted(what, &[Store::of(0, &records)], &[], invariant, shown);
    }
    let stores = logs(&[&[promised(1, 0)], &[met(0, STORE), heard(0, STORE, 2)]]);
    refuted("a store that forgot", &stores, &[], Pledges, "a- b1");
}

/// Red if the check of that name is left out of what is compared slot by slot.
#[test]
fn logs_that_contradict_each_other_are_refuted() {
    use Invariant::{A4, A5, Majority, Once, R1};
    let vote = [run(0, 0, 0, 0, &[1])];
    let known = [run(0, 0, 0, 0, &[1]), decided(1)];
    let two = [run(0, 0, 0, 0, &[1, 1]), decided(2)];
    let other = [run(0, 0, 0, 0, &[2])];
    let later = [run(1, 1, 0, 0, &[2])];
    let learnt = [learned(0, &[2])];
    let taken = [standing(0, false), imported(Some(ballot(0, 0)), &[(0, 0, 2)])];
    let votes = [standing(0, false), imported(Some(ballot(0, 0)), &[(0, 0, 1)])];
    let cases: [(&str, [&[Record]; 3], Invariant, &str); 10] = [
        ("two values in a ballot", [&vote, &other, &[]], A4, "a0 b0"),
        ("two values in one store", [&[known[0].clone(), other[0].clone()], &[], &[]], A4, "a0 a1"),
        ("another taken over", [&vote, &taken, &[]], A4, "a0 b1"),
        ("a later ballot", [&vote, &vote, &later], A5, "a0 b0 c0"),
        ("a later ballot than what is taken over", [&vote, &votes, &later], A5, "a0 b1 c0"),
        ("two values decided", [&known, &[], &learnt], R1, "a0 a1 c0"),
        ("another than a majority's", [&vote, &vote, &learnt], R1, "a0 b0 c0"),
        ("a minority", [&known, &[], &[]], Majority, "a0 a1"),
        (
            "a majority in two ballots",
            [&known, &[run(1, 1, 0, 0, &[1])], &[]],
            Majority,
            "a0 b0 a1",
        ),
        ("a request twice", [&two, &two, &[]], Once, "a0 a1 a0 a1"),
    ];
    for (what, records, invariant, shown) in cases {
        refuted(what, &logs(&records), &[], invariant, shown);
    }
}

/// Red if archives are not compared where logs are trimmed, or with the logs above; or if snapshots
/// or states are not.
#[test]
fn what_lies_beside_the_logs_is_compared() {
    use Invariant::{R1, R3};
    let records = [run(0, 0, 0, 0, &[1, 2, 3]), decided(3)];
    let past = Store::of(9, &trim(&records, 3));
    let pasts = |one: &[u64], other: &[u64]| {
        [one, other].map(|numbers| past.clone().archived(numbers)).to_vec()
    };
    refuted("archives", &pasts(&[1, 2, 3], &[1, 5, 3]), &[], R1, "a- b-");
    let mut short = pasts(&[1, 2, 3], &[1, 2]);
    short[1].applied = Slot(3);
    refuted("an archive that lacks a line", &short, &[], R1, "a- b-");
    let stores = [past.clone().archived(&[1, 5, 3]), Store::of(0, &records).archived(&[])];
    refuted("an archive and a log", &stores, &[], R1, "a- b0 b1");
    let mut stores = pasts(&[1, 2], &[1, 2]);
    stores[0].snapshots = vec![(Slot(2), Bytes::from_static(b"one"))];
    stores[1].snapshots = vec![(Slot(2), Bytes::from_static(b"other"))];
    refuted("snapshots", &stores, &[], R3, "a- b-");
    let mut stores = pasts(&[1, 2], &[1, 2]);
    stores[1].hash = 0xbad;
    refuted("states", &stores, &[], R3, "a- b-");
}

/// Red if an acknowledgement is looked for anywhere but at its slot, in the archive alone or in the
/// log alone; or if a minority is enough.
#[test]
fn acknowledgements_stand_at_their_slots_on_a_majority() {
    let records = [run(0, 0, 0, 0, &[1, 2, 3]), decided(3)];
    let past = Store::of(9, &trim(&records, 3)).archived(&[1, 2, 3]);
    let (log, nothing) = (Store::of(0, &records), Store::of(0, &[]));
    let voted = Store::of(0, &records[..1]);
    for other in [&past, &voted] {
        let stores = [log.clone(), other.clone(), nothing.clone()];
        let proof = audit(3, &stores, &["1 ann: 2"]).expect("it stands on two");
        assert_eq!(proof.acknowledged, 1);
        for line in ["1 ann: 1", "2 ann: 2", "1 bob: 2", "3 ann: 4", "18446744073709551615 ann: 1"]
        {
            let lines = ["0 ann: 1", line];
            refuted(line, &stores, &lines, Invariant::Acknowledged, "a- b- c-");
        }
    }
    let stores = [log, past.archived(&[]), nothing];
    refuted("a minority", &stores, &["1 ann: 2"], Invariant::Acknowledged, "a- b- c-");
}

/// What people read. Red if a record is told by another's words, or a message by another's slot.
#[test]
fn records_are_told_in_words() {
    let told = |stores: &[Store]| {
        let refuted = audit(3, stores, &[]).expect_err("broken");
        let shown = refuted.exhibits.iter().map(|it| format!("{it}\n"));
        format!("{refuted}\n{}", shown.collect::<String>())
    };
    let learnt = Store::of(0, &[learned(0, &[2])]);
    let known = Store::of(0, &[run(0, 0, 0, 0, &[1]), decided(1)]);
    let twice =
        "R1: slot 0 is decided twice: request 2 of 00000001, \"0 ann: 2\" and request 1 of \
        00000001, \"0 ann: 1\"
a (node 0), value 0, record 0: learns that slot 0, request 2 of 00000001, \"0 ann: 2\" is decided
b (node 1), value 0, record 0: accepts slot 0, request 1 of 00000001, \"0 ann: 1\" in ballot 0.0, \
after slot 0
b (node 1), value 1, record 0: knows every slot below 1 to be decided
";
    assert_eq!(told(&[learnt, known]), twice);
    let mut one_commit = Store::of(0, &changed!(Trimmed { promised }, None));
    one_commit.records.iter_mut().for_each(|(number, _)| *number = 4);
    let forgotten = "A1: nothing is promised, where ballot 1.0 was promised
a (node 0), value 4, record 1: accepts slots 0..1 in ballot 1.0, after slot 0
a (node 0), value 4, record 3: trims below slot 1; restates promise nothing, mark 1, runs 0..1 of \
1.0, stores [1:7]
";
    assert_eq!(told(&[one_commit]), forgotten);
    let taken = imported(Some(ballot(2, 0)), &[(1, 0, 2)]);
    let stores = [standing(0, false), taken.clone(), taken].map(|record| (0, record));
    let mut new = Store::of(0, &[]);
    new.records = stores.to_vec();
    let again = "suffrage: a store that votes takes over what others testify to
a (node 0), value 0, record 2: takes over promise 2.0, runs 0..1 of 1.0, and 1 slots
";
    assert_eq!(told(&[new]), again);
}
