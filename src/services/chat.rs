//! The chat room: a state machine whose whole state is its archive.
//!
//! A command is one message: who says it and what, both any bytes. Its place in the room is the
//! slot in which it was decided, so every reader sees the same lines with the same numbers. The
//! reply is empty: that the message stands in its slot is all there is to say. A command that is
//! no message changes nothing, and its slot has no line.
//!
//! Deliberately absent: names that are checked, messages that are changed or removed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::printed::{is_harmful, print};
use crate::paxos::Slot;
use crate::rsm::{Archive, StateMachine, Turn};
use crate::wire::client::Entry;
use crate::wire::codec;
use crate::wire::frame::BODY_BYTES_MAX;

/// The room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chat;

/// One message of the room: a command, and an entry of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub sender: Bytes,
    /// What; may be empty.
    pub text: Bytes,
}

/// A question: what was said from a slot on?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryAsk {
    /// The first slot wanted.
    pub from: Slot,
}

/// The answer to a [`HistoryAsk`]: one page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The messages, ascending by slot, each as [`Message::encode`] gives it.
    pub entries: Vec<Entry>,
    /// Where to ask on; `None` at the end.
    pub next: Option<Slot>,
}

/// A page of history ends before it grows beyond this many bytes, but holds one message at least.
pub const PAGE_BYTES_MAX: usize = 256 << 10;

impl Message {
    /// The bytes of a command.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Bytes::from(codec::encode(self))
    }

    /// The message that these bytes are, if they are one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Message> {
        codec::decode(bytes).ok()
    }

    /// The line that people read, `SLOT SENDER: text`, without an end of line.
    #[must_use]
    pub fn line(&self, slot: Slot) -> Vec<u8> {
        let mut line = format!("{slot} ").into_bytes();
        line.extend_from_slice(&self.sender);
        line.extend_from_slice(b": ");
        line.extend_from_slice(&self.text);
        line
    }

    /// The line of an executed log, `SLOT SENDER: text`, without an end of line. Unlike
    /// [`line`](Message::line) it is one line of plain text whatever was said, and no two messages
    /// have the same: control characters, backslashes, and colons of the sender are written out.
    #[must_use]
    pub fn logged(&self, slot: Slot) -> String {
        let mut line = format!("{slot} ");
        print(&mut line, &self.sender, |char| is_harmful(char) || matches!(char, '\\' | ':'));
        line.push_str(": ");
        print(&mut line, &self.text, |char| is_harmful(char) || char == '\\');
        line
    }
}

/// The line of an executed log that an entry of the archive stands for, if it is a message.
#[must_use]
pub fn logged(entry: &Entry) -> Option<String> {
    Message::decode(&entry.body).map(|message| message.logged(entry.slot))
}

/// The longest line of an executed log, in bytes without its end: each byte of a command takes
/// `\u{9f}` at most, and the slot its 20 digits.
pub const LOGGED_BYTES_MAX: usize = BODY_BYTES_MAX * 6 + 32;

impl StateMachine for Chat {
    fn apply(&mut self, turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
        if Message::decode(command).is_some() {
            turn.archive.append(turn.at, Bytes::copy_from_slice(command));
        }
        Vec::new()
    }

    /// Answers a [`HistoryAsk`] with a [`History`]; anything else with an empty one.
    fn query(&self, query: &[u8], archive: &Archive) -> Vec<u8> {
        let history =
            codec::decode(query).map_or_else(|_| History::default(), |ask| page(ask, archive));
        codec::encode(&history)
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) {}
}

fn page(ask: HistoryAsk, archive: &Archive) -> History {
    let page = archive.page(ask.from, PAGE_BYTES_MAX);
    let next = page.last().map(|(slot, _)| slot.next()).filter(|end| *end < archive.extent().end);
    let entries = page.into_iter().map(|(slot, body)| Entry { slot, body }).collect();
    History { entries, next }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(sender: &[u8], text: &[u8]) -> Message {
        Message { sender: Bytes::copy_from_slice(sender), text: Bytes::copy_from_slice(text) }
    }

    fn said(commands: &[Bytes]) -> Archive {
        let (mut room, mut archive) = (Chat, Archive::default());
        for (slot, command) in commands.iter().enumerate() {
            let turn = &mut Turn::new(Slot(slot as u64), &mut archive);
            assert!(room.apply(turn, command).is_empty());
        }
        archive
    }

    fn ask(archive: &Archive, from: u64) -> History {
        let query = codec::encode(&HistoryAsk { from: Slot(from) });
        codec::decode(&Chat.query(&query, archive)).expect("a history")
    }

    #[test]
    fn messages_stand_at_their_slots_and_other_bytes_nowhere() {
        let empty = message(b"", b"");
        let odd = message(b"7", b" \xff\x00 3 1: hm ");
        let archive = said(&[empty.encode(), Bytes::from_static(b"noise"), odd.encode()]);
        assert_eq!(
            archive.page(Slot(0), 1000),
            [(Slot(0), empty.encode()), (Slot(2), odd.encode())]
        );
        assert_eq!(empty.line(Slot(0)), b"0 : ");
        assert_eq!(odd.line(Slot(2)), b"2 7:  \xff\x00 3 1: hm ");
    }

    /// Bugs that turn it red: a character that is not escaped; a backslash or a sender's colon
    /// that stays as it is.
    #[test]
    fn a_logged_line_is_one_line_and_of_one_message_only() {
        let cases: [(&[u8], &[u8], &str); 6] = [
            (b"ann", b"hello", "3 ann: hello"),
            (b"", b"", "3 : "),
            (b"a: b", b"c: d", "3 a\\u{3a} b: c: d"),
            (b"a", b"x\ny\r\tz\x1b[2J", "3 a: x\\u{a}y\\u{d}\\u{9}z\\u{1b}[2J"),
            (b"a", b"\\u{a} \xff", "3 a: \\u{5c}u{a} \\xff"),
            (b"a", "na\u{ef}ve \u{202e}\u{2028}".as_bytes(), "3 a: na\u{ef}ve \\u{202e}\\u{2028}"),
        ];
        for (sender, text, line) in cases {
            assert_eq!(message(sender, text).logged(Slot(3)), line);
        }
    }

    #[test]
    fn history_comes_in_pages_without_gap_or_repeat() {
        let text = vec![b'x'; PAGE_BYTES_MAX / 4];
        let mut commands = vec![message(b"a", &text).encode(); 9];
        commands.push(message(b"a", &vec![b'y'; 2 * PAGE_BYTES_MAX]).encode());
        let archive = said(&commands);
        let (mut next, mut slots, mut pages) = (Some(Slot(0)), Vec::new(), 0);
        while let Some(from) = next {
            let history = ask(&archive, from.0);
            assert!(history.entries.len() <= 4);
            slots.extend(history.entries.iter().map(|entry| entry.slot.0));
            (next, pages) = (history.next, pages + 1);
        }
        assert_eq!(slots, (0..10).collect::<Vec<_>>());
        assert_eq!(pages, 4, "three messages a page, and the long one alone");
        assert_eq!(ask(&archive, 10), History::default());
    }

    proptest! {
        #[test]
        fn any_bytes_do_as_command_and_as_query(command: Vec<u8>, query: Vec<u8>) {
            let (mut room, mut archive) = (Chat, Archive::default());
            room.apply(&mut Turn::new(Slot(0), &mut archive), &command);
            prop_assert_eq!(
                archive.extent().entries,
                u64::from(Message::decode(&command).is_some())
            );
            room.query(&query, &archive);
        }

        #[test]
        fn equal_lines_are_of_equal_messages(one: (Vec<u8>, Vec<u8>), other: (Vec<u8>, Vec<u8>)) {
            let (one, other) = (message(&one.0, &one.1), message(&other.0, &other.1));
            let (line, other_line) = (one.logged(Slot(u64::MAX)), other.logged(Slot(u64::MAX)));
            prop_assert_eq!(one == other, line == other_line);
            prop_assert!(!line.contains(char::is_control));
            prop_assert!(line.len() <= 6 * (one.sender.len() + one.text.len()) + 32);
        }
    }
}
