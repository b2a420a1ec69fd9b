//! One thing at a time.

use bytes::Bytes;

use super::super::Why;
use super::super::words::{
    ENTRY_BYTES_MAX, FOR_MS_MAX, NAMES_MAX, QUESTION_BYTES_MAX, UNSETTLED_MAX, Word,
};
use super::super::{Answer, Ask, PollId, Polls, Question, Refusal, Said, Server, Tally, Told};
use super::{Room, bytes, join, open, session, vote};
use crate::paxos::{ClientId, Slot};
use crate::rsm::StateMachine;

fn tally(poll: u64, yes: u64, no: u64, abstained: u64) -> Tally {
    Tally { poll: PollId(poll), yes, no, abstained }
}

/// A room with ann, bob and cy in sessions a, b and c.
fn three() -> Room {
    let mut room = Room { time_ms: 1000, ..Room::default() };
    for (letter, name) in [('a', "ann"), ('b', "bob"), ('c', "cy")] {
        assert_eq!(room.ask(session(letter), &join(name)).0, Said::Joined);
    }
    room
}

/// Bugs that turn it red: a second answer that counts; an answer after the close; one who was not
/// asked and votes; a close before all have answered.
#[test]
fn each_counts_once() {
    let mut room = three();
    let (said, told) = room.ask(session('x'), &open(None));
    assert_eq!(said, Said::Opened { poll: PollId(1), asked: 3, closes_ms: None });
    let whom: Vec<ClientId> = told.iter().map(|(whom, _)| *whom).collect();
    assert_eq!(whom, ['a', 'b', 'c'].map(session));
    room.ask(session('d'), &join("dan"));
    assert_eq!(room.ask(session('d'), &vote(1, true)).0, Said::NotAsked);
    assert_eq!(room.ask(session('e'), &vote(1, true)).0, Said::NotJoined);
    assert_eq!(room.ask(session('a'), &vote(2, true)).0, Said::NoSuchPoll);
    assert_eq!(room.ask(session('a'), &vote(0, true)).0, Said::NoSuchPoll);
    let recorded = |yes| Said::Recorded { poll: PollId(1), yes };
    let (said, told) = room.ask(session('a'), &vote(1, true));
    assert_eq!((said, told.len()), (recorded(true), 3), "dan is not asked, and not told");
    assert_eq!(told[0].1, Told::Voted { poll: PollId(1), voted: 1, asked: 3 });
    assert_eq!(room.ask(session('a'), &vote(1, false)), (recorded(true), Vec::new()));
    assert_eq!(room.ask(session('b'), &vote(1, false)).0, recorded(false));
    let (said, told) = room.ask(session('c'), &vote(1, true));
    assert_eq!(said, recorded(true));
    let result = Told::Result(tally(1, 2, 1, 0));
    assert_eq!(told.iter().filter(|(_, told)| *told == result).count(), 4, "all hear of it");
    let closed = Said::Closed { poll: PollId(1), tally: None };
    assert_eq!(room.ask(session('a'), &vote(1, false)).0, closed);
    let shown = room.show(PollId(1)).expect("it is there");
    assert_eq!(shown.tally(), Some(tally(1, 2, 1, 0)));
    assert_eq!(shown.closed.map(|closed| closed.why), Some(Why::Answered));
}

/// Bugs that turn it red: a poll that a clock closes by itself; a deadline of one that is closed;
/// a wake that comes late and closes again, or early and closes at all.
#[test]
fn time_is_up_when_the_log_says_so() {
    let mut room = three();
    assert_eq!(room.polls.deadline(), None);
    room.ask(session('x'), &open(Some(500)));
    room.ask(session('x'), &open(Some(300)));
    room.ask(session('x'), &open(None));
    assert_eq!(room.polls.deadline(), Some(1300));
    assert_eq!(room.wake(299), []);
    room.time_ms += 1000;
    let recorded = Said::Recorded { poll: PollId(2), yes: true };
    assert_eq!(room.ask(session('a'), &vote(2, true)).0, recorded, "it stands before the close");
    room.time_ms = 1300;
    let told = room.wake(0);
    let result = (session('a'), Told::Result(tally(2, 1, 0, 2)));
    assert_eq!((told.len(), &told[0]), (3, &result));
    assert_eq!(room.polls.deadline(), Some(1500));
    let closed = Said::Closed { poll: PollId(2), tally: Some(tally(2, 1, 0, 2)) };
    assert_eq!(room.ask(session('b'), &vote(2, true)).0, closed, "in memory: 1 is still open");
    assert_eq!(room.wake(700).len(), 3);
    assert_eq!((room.wake(0), room.polls.deadline()), (Vec::new(), None));
    let by_hand = room.ask(session('x'), &Ask::Close { poll: PollId(3) });
    assert_eq!(by_hand.0, Said::Closed { poll: PollId(3), tally: Some(tally(3, 0, 0, 3)) });
    let again = room.ask(session('x'), &Ask::Close { poll: PollId(3) });
    assert_eq!(again, (Said::Closed { poll: PollId(3), tally: None }, Vec::new()));
}

/// Bugs that turn it red: results of later polls before that of an earlier one; an archive in the
/// order of the closes.
#[test]
fn results_come_in_the_order_of_the_ids() {
    let mut room = three();
    room.ask(session('x'), &open(None));
    room.ask(session('a'), &Ask::Leave);
    room.ask(session('x'), &open(None));
    room.ask(session('x'), &Ask::Close { poll: PollId(2) });
    assert_eq!(room.results(&bytes("bob"), PollId(0)), []);
    assert!(room.entries().is_empty());
    room.ask(session('a'), &join("eve"));
    room.ask(session('x'), &open(None));
    room.ask(session('x'), &Ask::Close { poll: PollId(3) });
    let of = |room: &Room, name: &str, after: u64| {
        let rows = room.results(&bytes(name), PollId(after));
        rows.into_iter().map(|row| row.poll.0).collect::<Vec<u64>>()
    };
    assert_eq!(of(&room, "eve", 0), [3], "1 and 2 do not ask eve");
    room.ask(session('x'), &Ask::Close { poll: PollId(1) });
    assert_eq!(room.entries().len(), 1);
    assert_eq!(of(&room, "bob", 0), [1, 2, 3]);
    assert_eq!(of(&room, "bob", 2), [3]);
    assert_eq!(of(&room, "ann", 0), [1]);
}

/// Bugs that turn it red: a former session that still votes for a name, or frees it by its end; an
/// answer that is lost with its session; a poll that asks who came later.
#[test]
fn a_name_is_taken_over() {
    let mut room = three();
    room.ask(session('x'), &open(None));
    room.ask(session('a'), &vote(1, true));
    let confirm = Ask::Confirm { name: bytes("ann"), up_to: PollId(1) };
    assert_eq!(room.ask(session('a'), &confirm).0, Said::Confirmed);
    let (said, told) = room.ask(session('n'), &join("ann"));
    assert_eq!((said, told), (Said::Joined, vec![(session('a'), Told::TakenOver)]));
    assert_eq!(room.ask(session('a'), &vote(1, false)).0, Said::NotJoined);
    assert_eq!(room.ask(session('a'), &confirm).0, Said::NotJoined);
    assert_eq!(room.end(session('a')), []);
    let stands = Said::Recorded { poll: PollId(1), yes: true };
    assert_eq!(room.ask(session('n'), &vote(1, false)).0, stands);
    let Answer::Joined(joined) = room.question(&Question::Joined) else { panic!("who is") };
    let ann = &joined[&bytes("ann")];
    assert_eq!((ann.session, ann.confirmed, joined.len()), (session('n'), PollId(1), 3));
    assert_eq!(room.ask(session('n'), &join("anne")).0, Said::Joined);
    assert_eq!(room.ask(session('n'), &vote(1, false)).0, Said::NotAsked);
    room.end(session('n'));
    room.end(session('b'));
    room.end(session('c'));
    let opened = Said::Opened { poll: PollId(2), asked: 0, closes_ms: None };
    assert_eq!(room.ask(session('x'), &open(None)).0, opened);
    let shown = room.show(PollId(2)).and_then(|poll| poll.tally());
    assert_eq!(shown, Some(tally(2, 0, 0, 0)), "nobody is asked: it is closed");
}

/// Bugs that turn it red: a limit that is one off, or not checked; bytes that change something.
#[test]
fn what_breaks_a_rule_changes_nothing() {
    let long = |bytes: usize| Bytes::from(vec![b'x'; bytes]);
    let asked =
        |bytes: usize, for_ms: u64| Ask::Open { question: long(bytes), for_ms: Some(for_ms) };
    let cases = [
        (join(""), Refusal::EmptyName),
        (Ask::Join { name: long(65) }, Refusal::LongName),
        (asked(0, 1), Refusal::EmptyQuestion),
        (asked(QUESTION_BYTES_MAX + 1, 1), Refusal::LongQuestion),
        (asked(1, FOR_MS_MAX + 1), Refusal::LongTime),
    ];
    let mut room = Room::default();
    for (ask, refusal) in cases {
        assert_eq!(room.ask(session('a'), &ask).0, Said::Refused(refusal));
    }
    room.turn(session('a'), |polls, turn| {
        let reply = polls.apply(turn, b"no command");
        assert_eq!(Said::decode(&reply), Some(Said::Unreadable));
    });
    assert_eq!(room.polls, Polls::default());
    for at in 0..NAMES_MAX as u128 {
        let name = Bytes::from(format!("{at:064}"));
        assert_eq!(room.ask(ClientId(at), &Ask::Join { name }).0, Said::Joined);
    }
    let full = Said::Refused(Refusal::TooManyNames);
    assert_eq!(room.ask(ClientId(1000), &join("more")).0, full);
    assert_eq!(room.ask(ClientId(7), &join("other")).0, Said::Joined, "one goes, one comes");
    for _ in 0..UNSETTLED_MAX {
        let (said, _) = room.ask(session('x'), &asked(QUESTION_BYTES_MAX, FOR_MS_MAX));
        assert!(matches!(said, Said::Opened { .. }), "{said:?}");
    }
    let full = Said::Refused(Refusal::TooManyPolls);
    assert_eq!(room.ask(session('x'), &open(None)).0, full);
}

/// Bugs that turn it red: an entry as long as all that closes in one slot; what did not fit, left
/// out of the answers or never put into the archive; a page that does not say that there is more.
#[test]
fn what_does_not_fit_an_entry_waits() {
    let mut room = three();
    let question = Bytes::from(vec![b'?'; QUESTION_BYTES_MAX]);
    let count = UNSETTLED_MAX as u64;
    for _ in 0..count {
        room.ask(session('x'), &Ask::Open { question: question.clone(), for_ms: Some(1) });
    }
    room.wake(1);
    let ids: Vec<u64> = (1..=count).collect();
    for round in 0..10 {
        let rows = room.results(&bytes("bob"), PollId(0));
        assert_eq!(rows.iter().map(|row| row.poll.0).collect::<Vec<_>>(), ids, "{round}");
        room.ask(session('a'), &vote(1, true));
    }
    let entries = room.entries();
    assert!(entries.len() > 3, "{}", entries.len());
    let settled: Vec<u64> = entries.iter().flatten().map(|poll| poll.id.0).collect();
    assert_eq!((settled, room.polls.settled()), (ids, PollId(count)));
    let page = room.archive.page(Slot(0), usize::MAX);
    assert!(page.iter().all(|(_, body)| body.len() < ENTRY_BYTES_MAX + 100));
    let (rows, pages) = room.pages(|after| Question::List { after }, PollId(0));
    assert!(rows.len() as u64 == count && pages > 1, "{pages}");
}

/// Bugs that turn it red: a new primary that tells nothing of what is open, or tells those who are
/// not asked, or of results that are confirmed; a word of an old view that is told; an office that
/// a snapshot leaves out.
#[test]
fn a_new_primary_tells_what_is_not_done() {
    let mut room = three();
    let server = |id: u16| Server { id, address: Bytes::from(format!("h:{id}")) };
    let (x, y) = (session('x'), session('y'));
    let (said, told) = room.ask(x, &Ask::Preside { server: server(1), view: 0 });
    let Said::Office(office) = said else { panic!("{said:?}") };
    assert_eq!((office.announcement, told.len()), (1, 3), "all hear of it");
    room.ask(x, &open(None));
    room.ask(x, &open(None));
    room.ask(session('d'), &join("dan"));
    room.ask(x, &Ask::Close { poll: PollId(2) });
    let confirm = |name: &str| Ask::Confirm { name: bytes(name), up_to: PollId(2) };
    assert_eq!(room.ask(session('a'), &confirm("ann")).0, Said::Confirmed);
    let (_, told) = room.ask(y, &Ask::Preside { server: server(2), view: 1 });
    let Some((_, Told::Office(office))) = told.first() else { panic!("{told:?}") };
    assert_eq!((office.announcement, office.view), (2, 2));
    let of = |wanted: fn(&Told) -> bool| {
        let told = told.iter().filter(move |(_, told)| wanted(told));
        told.map(|(whom, _)| *whom).collect::<Vec<_>>()
    };
    let asked = of(|told| matches!(told, Told::Asked { poll: PollId(1), .. }));
    assert_eq!(asked, ['a', 'b', 'c'].map(session));
    let results = of(|told| matches!(told, Told::Result(it) if it.poll == PollId(2)));
    assert_eq!(results, ['b', 'c', 'd'].map(session));
    let late = Ask::Attend { server: server(1), view: 1 };
    assert_eq!(room.ask(x, &late), (Said::Office(office.clone()), Vec::new()));
    let (said, told) = room.ask(x, &Ask::Attend { server: server(1), view: 2 });
    let Said::Office(office) = said else { panic!("{said:?}") };
    assert_eq!((office.backups[&1].joined.next(), told.len()), (room.next, 4));
    let mut restored = Polls::default();
    restored.restore(&room.polls.snapshot());
    assert_eq!(restored, room.polls);
    assert_eq!(room.question(&Question::Office), Answer::Office(office));
    let (said, told) = room.ask(y, &Ask::Dismiss { id: 1, view: 2 });
    let Said::Office(office) = said else { panic!("{said:?}") };
    assert_eq!((office.backups.len(), office.announcement, told.len()), (0, 4, 4));
}
