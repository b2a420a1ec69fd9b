//! A key is an answer: on a terminal nobody has to press Enter, and what was typed does not vanish
//! below a line that is drawn anew. Without a terminal a line is an answer.

use rustix::stdio::stdin;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines, Stdin};

/// What is typed. The terminal is as it was when this is dropped.
pub(super) struct Keys {
    lines: Lines<BufReader<Stdin>>,
    /// How the terminal was, if keys count on it.
    before: Option<Termios>,
}

impl Keys {
    /// Listens: to keys, if there is a person to press them.
    pub(super) fn listen(is_person: bool) -> Keys {
        let before = if is_person { tcgetattr(stdin()).ok() } else { None };
        let before = before.filter(|before| {
            let mut now = before.clone();
            now.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            now.special_codes[SpecialCodeIndex::VMIN] = 1;
            now.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(stdin(), OptionalActions::Now, &now).is_ok()
        });
        Keys { lines: BufReader::new(tokio::io::stdin()).lines(), before }
    }

    /// The next key, or line; `None` at the end, or of what is no text. Safe to abandon while it
    /// waits.
    pub(super) async fn next(&mut self) -> Option<String> {
        if self.before.is_none() {
            return self.lines.next_line().await.ok().flatten();
        }
        loop {
            let key = self.lines.get_mut().read_u8().await.ok()?;
            if key.is_ascii_graphic() {
                return Some(char::from(key).to_string());
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // The terminal may be gone.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
