//! What lies in logs, archives and snapshots, byte for byte.

use bytes::Bytes;
use serde::Serialize;

use super::super::{Answer, Ask, Broken, Hold, Mode, Question, Refusal, Said, Told, Word};
use super::{Room, lock};
use crate::paxos::{ClientId, Slot};
use crate::rsm::StateMachine;
use crate::wire::codec;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Integers are little-endian: a variant takes 4 bytes, a length and a slot 8, a session 16.
///
/// Bugs that turn it red: a field that is added, removed or moved; a variant that moves another.
/// Nodes of before and after would not apply the same.
#[test]
fn no_format_has_changed() {
    let name = || Bytes::from_static(b"n");
    let label = || Bytes::from_static(b"la");
    let (token, session) = (Slot(5), ClientId(6));
    let ask = Ask::Lock { names: vec![name()], label: label(), mode: Mode::Queue };
    let unlock = Ask::Unlock { name: name(), token: Some(token), session: Some(session) };
    let break_off = Ask::Break { name: name(), token, reason: label(), label: name() };
    let holder = Hold { session, label: label(), token, since_ms: 7, ttl_ms: 8 };
    let (by, by_session, reason) = (label(), ClientId(9), name());
    let broken = Broken { name: name(), holder, by, by_session, reason, time_ms: 10 };
    let mut room = Room::default();
    room.ask(ClientId(1), &lock(&["n"], Mode::Now));
    room.ask(ClientId(2), &lock(&["n"], Mode::Queue));
    let cases = [
        (
            hex(&ask.encode()),
            "00000000 0100000000000000 0100000000000000 6e \
             0200000000000000 6c61 02000000",
        ),
        (
            hex(&unlock.encode()),
            "01000000 0100000000000000 6e 01 0500000000000000 \
             01 06000000000000000000000000000000",
        ),
        (hex(&Ask::Cancel.encode()), "02000000"),
        (
            hex(&break_off.encode()),
            "03000000 0100000000000000 6e 0500000000000000 \
             0200000000000000 6c61 0100000000000000 6e",
        ),
        (
            hex(&broken.encode()),
            "0100000000000000 6e \
             06000000000000000000000000000000 0200000000000000 6c61 \
             0500000000000000 0700000000000000 0800000000000000 \
             0200000000000000 6c61 09000000000000000000000000000000 \
             0100000000000000 6e 0a00000000000000",
        ),
        (
            hex(&room.locks.snapshot()),
            "0100000000000000 0100000000000000 6e \
             01000000000000000000000000000000 0500000000000000 6c6162656c \
             0000000000000000 40420f0000000000 0100000000000000 \
             0100000000000000 02000000000000000000000000000000 \
             0100000000000000 0100000000000000 6e \
             0500000000000000 6c6162656c 0200000000000000 \
             00000000 0100000000000000",
        ),
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
    let name = Bytes::new;
    let said = [
        (Said::Granted { tokens: vec![] }, 0),
        (Said::Queued { ahead: 0 }, 2),
        (Said::Deadlock { cycle: vec![], left_out: 0 }, 3),
        (Said::Pending, 4),
        (Said::Unlocked, 5),
        (Said::NotOwner { holder: None }, 6),
        (Said::Cancelled, 7),
        (Said::Idle, 8),
        (Said::Broken, 9),
        (Said::Refused(Refusal::NoNames), 10),
        (Said::Unreadable, 11),
    ];
    said.iter().for_each(|(said, at)| assert_eq!(number(said), *at, "{said:?}"));
    let told = [
        (Told::Granted { tokens: vec![] }, 0),
        (Told::Free { names: vec![] }, 1),
        (Told::Broken { name: name(), token: Slot(0), by: name(), reason: name() }, 2),
    ];
    told.iter().for_each(|(told, at)| assert_eq!(number(told), *at, "{told:?}"));
    let questions = [
        (Question::Show { name: name() }, 0),
        (Question::List { after: None, prefix: name() }, 1),
        (Question::Check { name: name(), token: Slot(0) }, 2),
        (Question::Mine { session: ClientId(0), after: None }, 3),
        (Question::Breaks { from: Slot(0) }, 4),
    ];
    questions.iter().for_each(|(asked, at)| assert_eq!(number(asked), *at, "{asked:?}"));
    assert_eq!(number(&Answer::Unreadable), 5);
}
