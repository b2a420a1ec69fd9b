//! What a client shows: lines that stay, and on a terminal one more below them, drawn anew whenever
//! something changes: the time left, how many have voted, one's own vote.

use std::io::Write;

use super::super::exit::Failure;
use super::tell::{own, standing};
use crate::services::poll::Row;

/// Where it is shown.
pub(super) struct Screen {
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new(is_terminal: bool) -> Screen {
        Screen { is_terminal }
    }

    /// Whether a person looks at it.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) -> Result<(), Failure> {
        let clear = if self.is_terminal { "\r\x1b[K" } else { "" };
        write(&format!("{clear}{line}\n"))
    }

    /// What the line below shows on a terminal.
    pub(super) fn count(&self, line: &str) -> Result<(), Failure> {
        if self.is_terminal { Ok(()) } else { self.say(line) }
    }

    /// The line below: how a poll stands, and an answer to it that is not recorded yet.
    pub(super) fn draw(&self, poll: Option<(&Row, Option<bool>)>) -> Result<(), Failure> {
        if !self.is_terminal {
            return Ok(());
        }
        let line = poll.map_or_else(String::new, |(row, given)| below(row, given));
        write(&format!("\r\x1b[K{line}"))
    }
}

fn below(row: &Row, given: Option<bool>) -> String {
    let answer = match (row.own, given) {
        (Some(yes), _) => own(yes),
        (None, Some(true)) => "your vote: yes".to_owned(),
        (None, Some(false)) => "your vote: no".to_owned(),
        (None, None) => "your vote, y or n: ".to_owned(),
    };
    format!("poll {}: {}, {answer}", row.poll, standing(row))
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::system(&error))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::services::poll::PollId;

    /// Bugs that turn it red: an answer that is shown as recorded before it is, or not at all.
    #[test]
    fn the_line_below_tells_how_it_stands() {
        let question = Bytes::from_static(b"why?");
        let (poll, asked, voted) = (PollId(3), 9, 5);
        let row = |own| Row {
            poll,
            question: question.clone(),
            asked,
            voted,
            closes_ms: None,
            tally: None,
            own,
        };
        let cases = [
            (None, None, "your vote, y or n: "),
            (None, Some(true), "your vote: yes"),
            (Some(false), None, "your vote: no (recorded)"),
        ];
        for (own, given, tail) in cases {
            assert_eq!(below(&row(own), given), format!("poll 3: 5 of 9 voted, {tail}"));
        }
    }
}
