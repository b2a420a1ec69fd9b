//! The commands of the master program, and how a line becomes one.
//!
//! Scripts come from people and from other systems: lines end in LF or CRLF, blanks trail, the last
//! line lacks its end, and texts need not be UTF-8. What is no command is no error either: it is
//! passed over.

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start so many nodes and clients.
    Start {
        /// Nodes.
        nodes: u16,
        /// Clients.
        clients: usize,
    },
    /// Have a client say something.
    Send {
        /// The client.
        client: usize,
        /// What; any bytes, none too.
        text: Vec<u8>,
    },
    /// Kill a node.
    Crash(u16),
    /// Start a dead node again.
    Restart(u16),
    /// Wait until the system is idle.
    AllClear,
    /// Let the leader kill itself after so many messages.
    Bomb(u64),
    /// Let the leader leave so many slots empty.
    Skip(u64),
    /// Print a client's log.
    Print(usize),
}

/// The most clients of one run: each is a process.
pub const CLIENTS_MAX: usize = 1000;

/// The most slots that can be left empty in one go: no more can be open at a time.
pub const SKIP_MAX: u64 = 4096;

impl Command {
    /// The command that a line is; its end may still be on it. `None` if it is none.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Command> {
        let mut words = Words(line.trim_ascii_end());
        match words.word() {
            b"start" => {
                let (nodes, clients) = (words.number()?, words.number()?);
                let is_fine = nodes > 0 && clients <= CLIENTS_MAX as u64;
                let nodes = u16::try_from(nodes).ok().filter(|_| is_fine)?;
                Some(Command::Start { nodes, clients: clients as usize })
            }
            b"sendMessage" => {
                let client = words.index()?;
                Some(Command::Send { client, text: words.rest().to_vec() })
            }
            b"crashServer" => words.number()?.try_into().ok().map(Command::Crash),
            b"restartServer" => words.number()?.try_into().ok().map(Command::Restart),
            b"allClear" => Some(Command::AllClear),
            b"timeBombLeader" => words.number().map(Command::Bomb),
            b"skipSlots" => words.number().filter(|count| *count <= SKIP_MAX).map(Command::Skip),
            b"printChatLog" => words.index().map(Command::Print),
            _ => None,
        }
    }
}

/// What is left of a line.
struct Words<'l>(&'l [u8]);

impl<'l> Words<'l> {
    /// The next word; empty at the end.
    fn word(&mut self) -> &'l [u8] {
        let rest = self.0.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.0 = rest;
        word
    }

    /// The next word, if it is a number: digits and nothing else.
    fn number(&mut self) -> Option<u64> {
        let word = self.word();
        let is_number = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(word).ok().filter(|_| is_number)?.parse().ok()
    }

    fn index(&mut self) -> Option<usize> {
        self.number()?.try_into().ok()
    }

    /// All that is left after exactly one blank.
    fn rest(&self) -> &'l [u8] {
        self.0.get(1..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(client: usize, text: &[u8]) -> Option<Command> {
        Some(Command::Send { client, text: text.to_vec() })
    }

    #[test]
    fn every_command_is_known() {
        let cases: [(&[u8], Command); 9] = [
            (b"start 5 3", Command::Start { nodes: 5, clients: 3 }),
            (b"start 1 0", Command::Start { nodes: 1, clients: 0 }),
            (b"crashServer 4", Command::Crash(4)),
            (b"restartServer 0", Command::Restart(0)),
            (b"allClear", Command::AllClear),
            (b"timeBombLeader 0", Command::Bomb(0)),
            (b"skipSlots 3", Command::Skip(3)),
            (b"skipSlots 0", Command::Skip(0)),
            (b"printChatLog 2", Command::Print(2)),
        ];
        for (line, command) in cases {
            for end in [&b""[..], b"\n", b"\r\n", b"  \t\r\n", b" "] {
                let line = [line, end].concat();
                assert_eq!(Command::parse(&line), Some(command.clone()), "{}", line.escape_ascii());
            }
        }
    }

    #[test]
    fn a_text_is_kept_byte_for_byte_but_for_one_blank_and_what_trails() {
        let cases: [(&[u8], Option<Command>); 13] = [
            (b"sendMessage 0 hello world", said(0, b"hello world")),
            (b"sendMessage 1  two  blanks ", said(1, b" two  blanks")),
            (b"sendMessage 1 \t tab first", said(1, b"\t tab first")),
            (b"sendMessage 2 hello \t \r\n", said(2, b"hello")),
            (b"sendMessage 2 a\rb\r\r\n", said(2, b"a\rb")),
            (b"sendMessage 0 3 1: hm", said(0, b"3 1: hm")),
            (b"sendMessage 0 allClear", said(0, b"allClear")),
            (b"sendMessage 0 \xff\x00\xc3(", said(0, b"\xff\x00\xc3(")),
            (
                "sendMessage 0 gr\u{fc}\u{df} \u{a0}".as_bytes(),
                said(0, "gr\u{fc}\u{df} \u{a0}".as_bytes()),
            ),
            (b"sendMessage 7", said(7, b"")),
            (b"sendMessage 7 ", said(7, b"")),
            (b"sendMessage 7    \r\n", said(7, b"")),
            (b"sendMessage 0012 x", said(12, b"x")),
        ];
        for (line, expected) in cases {
            assert_eq!(Command::parse(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_command_is_passed_over() {
        let cases: [&[u8]; 28] = [
            b"",
            b"\n",
            b" \t\r\n",
            b"# a remark",
            b"allclear",
            b"allClear2",
            b"start",
            b"start 3",
            b"start 0 2",
            b"start three 2",
            b"start 3 -2",
            b"start 99999 1",
            b"start 3 1001",
            b"sendMessage",
            b"sendMessage hello",
            b"sendMessage -1 hello",
            b"sendMessage 0x hello",
            b"sendMessage 1.5 hello",
            b"sendMessage 99999999999999999999999 hello",
            b"crashServer",
            b"crashServer +1",
            b"crashServer 65536",
            b"restartServer x",
            b"timeBombLeader",
            b"timeBombLeader -1",
            b"skipSlots many",
            b"skipSlots 4097",
            b"printChatLog \xff",
        ];
        for line in cases {
            assert_eq!(Command::parse(line), None, "{}", line.escape_ascii());
        }
    }
}
