//! Damage in the middle of a log: mended where all that it can have said is decided, else refused.

use super::{Case, ballot, slots, state};
use crate::paxos::testing::command;
use crate::paxos::{Command, Incarnation, NodeId, Record, Run, Slot, Wal};

/// Slot by slot, accepted in ballot 1 and then decided: a commit each.
fn decided(slots: std::ops::Range<u64>) -> Vec<Vec<Record>> {
    let accept = |slot| {
        let (after, first, commands) = (Slot(slot), Slot(slot), vec![Command::Noop]);
        vec![
            Record::Accepted(Run { ballot: ballot(1, 2), after, first, commands }),
            Record::Decided(Slot(slot)),
        ]
    };
    slots.map(accept).collect()
}

/// A case with these commits, whose values at these places fail their checksums.
fn spoilt(commits: &[Vec<Record>], places: &[u64]) -> Case {
    let case = Case::with(commits);
    let log = case.log();
    for place in places {
        let mut value = log.values().expect("read")[*place as usize].1.to_vec();
        value[45] ^= 4;
        log.append(*place, &[value]).expect("written");
    }
    case
}

/// Red if what was lost is taken for there, or what is left for lost.
#[test]
fn what_is_known_to_be_decided_is_done_without() {
    let commits = decided(0..20);
    for places in [&[3][..], &[0], &[3, 4, 9], &[0, 1, 2, 17]] {
        let case = spoilt(&commits, places);
        let mut store = case.open().expect("mended");
        assert_eq!(store.recovery().lost, places.len() as u64);
        let (found, whole) = (store.load().expect("loads"), state(&commits));
        assert!(found.is_mended(&whole), "{found:?}");
        // That the slot before was decided is said in the commit that is lost.
        let first = Slot(places[0].saturating_sub(1));
        assert_eq!(found.known(), first, "from there on it asks others");
        let held: Vec<u64> = found.votes(Slot(0)).map(|(slot, _)| slot.0).collect();
        let is_lost = |slot: &u64| places.contains(slot) || places.contains(&(slot + 1));
        let left: Vec<u64> = (0..20).filter(|slot| !is_lost(slot)).collect();
        assert_eq!(held, left);
        assert_eq!(found.pledges(), whole.pledges(), "others remember that many");
        let again = Record::Learned { first, commands: vec![Command::Noop] };
        assert!(found.then([again]).known() > first, "learnt again");
    }
}

/// Red if the slots that a lost commit can have spoken of are taken for fewer than they are.
#[test]
fn what_may_be_a_vote_is_refused() {
    let refused = |places: &[u64]| spoilt(&decided(0..20), places).damage();
    assert_eq!(refused(&[19]), "it ends at value 19, but 20 were acknowledged");
    let mut commits = decided(0..20);
    commits.push(vec![Record::Decided(Slot(20))]);
    assert!(spoilt(&commits, &[19]).open().is_ok(), "once it is decided it may go");
    commits.insert(
        7,
        vec![Record::Accepted(Run {
            ballot: ballot(1, 2),
            after: Slot(7),
            first: Slot(7),
            commands: vec![Command::Noop; 30],
        })],
    );
    let far = spoilt(&commits, &[7]).damage();
    assert_eq!(far, "value 7 fails its checksum; it may have voted on slots 20..37");
}

/// Red if a store met, a testimony, a trim or the standing of the log may be lost.
#[test]
fn what_only_this_node_knew_is_refused() {
    let incarnation = Incarnation(5);
    let vital = [
        Record::Incarnation { node: NodeId(1), incarnation },
        Record::Testified { node: NodeId(1), incarnation },
        Record::Standing { pledges: 7, votes: true },
    ];
    for record in vital {
        let mut commits = decided(0..20);
        commits[5].push(record);
        let what = spoilt(&commits, &[5]).damage();
        assert_eq!(what, "value 5 fails its checksum; it held what only this node knew");
    }
    let mut commits = decided(0..20);
    commits[5].push(Record::Heard { node: NodeId(1), incarnation, pledges: 3 });
    assert!(spoilt(&commits, &[5]).open().is_ok(), "what others told is a hint");
}

/// A promise leaves only with the high-water file: what a lost commit promised is known from there.
#[test]
fn a_lost_promise_is_the_high_water_files() {
    let mut commits = decided(0..20);
    commits[5].push(Record::Promised(ballot(9, 1)));
    let mut store = spoilt(&commits, &[5]).open().expect("mended");
    assert_eq!(store.load().expect("loads").promised(), Some(ballot(9, 1)));
}

/// The highest ballot that anything was accepted in outlives the loss of what was: a campaigner
/// would adopt what that ballot had not.
#[test]
fn a_lost_acceptance_leaves_its_ballot() {
    let mut commits = decided(0..20);
    let run =
        |ballot| Run { ballot, after: Slot(5), first: Slot(5), commands: vec![Command::Noop] };
    commits[6] = vec![Record::Accepted(run(ballot(4, 1)))];
    commits.truncate(7);
    commits.push(vec![Record::Decided(Slot(6))]);
    let mut store = spoilt(&commits, &[6]).open().expect("mended");
    let chain = store.load().expect("loads").chain().expect("a chain");
    assert_eq!((chain.ballot, chain.from, chain.end), (ballot(4, 1), Slot(6), Slot(6)));
}

/// An older vote for a slot is not what was decided there: the lost one may have been another.
#[test]
fn an_older_vote_does_not_stand_in_for_a_lost_one() {
    let run = |round, command| {
        let (after, first, commands) = (Slot(5), Slot(5), vec![command]);
        vec![Record::Accepted(Run { ballot: ballot(round, 1), after, first, commands })]
    };
    let mut commits = decided(0..5);
    commits.push(vec![Record::Decided(Slot(5))]);
    commits.extend([run(2, Command::Noop), run(3, command(1)), vec![Record::Decided(Slot(6))]]);
    let mut store = spoilt(&commits, &[7]).open().expect("mended");
    let found = store.load().expect("loads");
    assert_eq!((found.vote(Slot(5)), found.known(), found.mark()), (None, Slot(5), Slot(6)));
}

/// A mended log goes on, is mended again at the next start, and is rid of its damage by a trim.
#[test]
fn a_mended_log_goes_on() {
    let case = spoilt(&decided(0..20), &[3]);
    case.commit(&decided(20..25));
    let mut store = case.open().expect("mended again");
    assert_eq!(store.recovery().lost, 1);
    let trim = store.load().expect("loads").trim(Slot(15));
    store.commit(&trim).expect("committed");
    drop(store);
    let mut store = case.open().expect("opens");
    assert_eq!(store.recovery().lost, 0);
    let found = store.load().expect("loads");
    assert_eq!((found.trimmed(), found.known(), found.mark()), (Slot(15), Slot(24), Slot(24)));
}

/// Without the numbers, a missing value in the middle would be taken for nothing.
#[test]
fn a_gap_in_the_numbers_is_refused_with_its_place() {
    let case = Case::with(&slots(0..6));
    case.log().remove(3, 4).expect("removed");
    assert!(case.damage().starts_with("value 3 is missing, 4 follows; it may have voted"));
}

/// Without the number inside, a value that stands in another's place is believed.
#[test]
fn swapped_values_are_refused() {
    let case = Case::with(&slots(0..6));
    let log = case.log();
    let values = log.values().expect("read");
    log.append(2, &[values[4].1.to_vec()]).expect("written");
    log.append(4, &[values[2].1.to_vec()]).expect("written");
    drop(log);
    assert!(case.damage().starts_with("value 2 is really value 4; it may have voted"));
}

#[test]
fn a_value_that_fails_its_checksum_is_refused_with_its_place() {
    let case = Case::with(&slots(0..6));
    let log = case.log();
    let mut value = log.values().expect("read")[3].1.to_vec();
    value[40] ^= 1;
    log.append(3, &[value]).expect("written");
    drop(log);
    assert!(case.damage().starts_with("value 3 fails its checksum; it may have voted"));
}
