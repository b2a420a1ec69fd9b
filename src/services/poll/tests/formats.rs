//! What lies in logs, archives and snapshots, byte for byte.

use bytes::Bytes;
use serde::Serialize;

use super::super::words::Word;
use super::super::{Answer, Ask, Closed, Office, Poll, PollId, Question, Refusal, Said, Server};
use super::super::{Settled, Tally, Told, Why};
use super::{Room, join, open};
use crate::paxos::ClientId;
use crate::rsm::StateMachine;
use crate::wire::codec;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn server() -> Server {
    Server { id: 3, address: Bytes::from_static(b"a:1") }
}

/// Integers are little-endian: a variant takes 4 bytes, a length and a poll 8, a session 16.
///
/// Bugs that turn it red: a field that is added, removed or moved; a variant that moves another.
/// Nodes of before and after would not apply the same.
#[test]
fn no_format_has_changed() {
    let (name, poll) = (Bytes::from_static(b"n"), PollId(5));
    let settled = Settled(vec![Poll {
        id: poll,
        question: Bytes::from_static(b"qu"),
        opened_ms: 6,
        closes_ms: Some(7),
        answers: [(name.clone(), Some(true)), (Bytes::from_static(b"o"), None)].into(),
        closed: Some(Closed { at_ms: 8, why: Why::Deadline }),
    }]);
    let mut room = Room { time_ms: 9, ..Room::default() };
    room.ask(ClientId(1), &join("n"));
    room.ask(ClientId(1), &open(None));
    room.ask(ClientId(2), &Ask::Preside { server: server(), view: 0 });
    let cases = [
        (hex(&Ask::Join { name: name.clone() }.encode()), "00000000 0100000000000000 6e"),
        (hex(&Ask::Leave.encode()), "01000000"),
        (
            hex(&Ask::Open { question: name.clone(), for_ms: Some(6) }.encode()),
            "02000000 0100000000000000 6e 01 0600000000000000",
        ),
        (hex(&Ask::Vote { poll, yes: true }.encode()), "03000000 0500000000000000 01"),
        (hex(&Ask::Close { poll }.encode()), "04000000 0500000000000000"),
        (
            hex(&Ask::Confirm { name, up_to: poll }.encode()),
            "05000000 0100000000000000 6e 0500000000000000",
        ),
        (
            hex(&settled.encode()),
            "0100000000000000 0500000000000000 0200000000000000 7175 \
             0600000000000000 01 0700000000000000 0200000000000000 \
             0100000000000000 6e 01 01 0100000000000000 6f 00 \
             01 0800000000000000 01000000",
        ),
        (
            hex(&room.polls.snapshot()),
            "0100000000000000 0100000000000000 6e \
             01000000000000000000000000000000 0000000000000000 \
             0100000000000000 0100000000000000 \
             0100000000000000 0400000000000000 7768793f 0900000000000000 00 \
             0100000000000000 0100000000000000 6e 00 00 \
             0100000000000000 \
             0100000000000000 0100000000000000 01 0300 0300000000000000 613a31 0000000000000000",
        ),
        (
            hex(&Ask::Preside { server: server(), view: 6 }.encode()),
            "06000000 0300 0300000000000000 613a31 0600000000000000",
        ),
        (
            hex(&Ask::Attend { server: server(), view: 6 }.encode()),
            "07000000 0300 0300000000000000 613a31 0600000000000000",
        ),
        (hex(&Ask::Dismiss { id: 3, view: 6 }.encode()), "08000000 0300 0600000000000000"),
    ];
    for (found, golden) in cases {
        assert_eq!(found, golden.replace(' ', ""));
    }
}

/// Bugs that turn it red: a variant that is not added at the end.
#[test]
fn variants_keep_their_numbers() {
    fn number<T: Serialize>(word: &T) -> u32 {
        let bytes = codec::encode(word);
        u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))
    }
    let poll = PollId(1);
    let said = [
        (Said::Joined, 0),
        (Said::Left, 1),
        (Said::Opened { poll, asked: 0, closes_ms: None }, 2),
        (Said::Recorded { poll, yes: true }, 3),
        (Said::Closed { poll, tally: None }, 4),
        (Said::NotAsked, 5),
        (Said::NoSuchPoll, 6),
        (Said::NotJoined, 7),
        (Said::Confirmed, 8),
        (Said::Refused(Refusal::EmptyName), 9),
        (Said::Unreadable, 10),
        (Said::Office(Office::default()), 11),
    ];
    said.iter().for_each(|(said, at)| assert_eq!(number(said), *at, "{said:?}"));
    let question = Bytes::new();
    let told = [
        (Told::Asked { poll, question, asked: 0, closes_ms: None }, 0),
        (Told::Voted { poll, voted: 0, asked: 0 }, 1),
        (Told::Result(Tally { poll, yes: 0, no: 0, abstained: 0 }), 2),
        (Told::TakenOver, 3),
        (Told::Office(Office::default()), 4),
    ];
    told.iter().for_each(|(told, at)| assert_eq!(number(told), *at, "{told:?}"));
    let questions = [
        (Question::Show { poll }, 0),
        (Question::List { after: poll }, 1),
        (Question::Results { name: Bytes::new(), after: poll }, 2),
        (Question::Open { name: None }, 3),
        (Question::Joined, 4),
        (Question::Office, 5),
    ];
    questions.iter().for_each(|(asked, at)| assert_eq!(number(asked), *at, "{asked:?}"));
    assert_eq!(number(&Answer::Unreadable), 4);
    assert_eq!(number(&Answer::Office(Office::default())), 5);
}
