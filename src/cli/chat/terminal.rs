//! The terminal: lines that are typed, and lines that arrive meanwhile.
//!
//! Two threads beside the client's, for both ways may wait: one reads (rustyline), one prints. What
//! is printed while a line is being typed goes through rustyline's external printer, which writes
//! it above that line and draws the line again. Where the terminal cannot edit (`TERM=dumb`) the
//! same threads read and print without any of that.
//!
//! The printer takes one text at a time, and hands it over before it takes the next: so all but the
//! last text are on the screen when the last one is taken. What must be seen is therefore never the
//! last: that is a farewell.
//!
//! Deliberately absent: a file of what was typed. A room is not a shell; nobody would expect their
//! words on the disk of the machine they spoke from.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::builder::styling::Style;
use rustix::process::{Signal, getpid, kill_process};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What a person does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A line; the rest of a paste may follow as further ones.
    Line(String),
    /// Something that is no text.
    Garbled,
    /// Ctrl-D: there will be no more.
    End,
    /// Ctrl-C, Ctrl-D again, or the terminal is gone.
    Left,
}

pub(super) struct Terminal {
    typed: mpsc::UnboundedReceiver<Typed>,
    texts: mpsc::Sender<String>,
    printing: JoinHandle<()>,
    /// The reader is to end when it is woken; and: it has.
    over: Arc<AtomicBool>,
    ended: oneshot::Receiver<()>,
    /// The terminal edits lines, and must be put back into the state it was in.
    is_edited: bool,
    style: Style,
}

/// Texts that wait to be printed; then the log pauses.
const TEXTS_MAX: usize = 16;

/// How long the farewell has to be drawn, and how often the reader is woken until it ends.
const WAKE: Duration = Duration::from_millis(20);

impl Terminal {
    /// Takes the terminal over. A prompt must be harmless.
    ///
    /// # Errors
    ///
    /// If there is none, or no thread.
    pub(super) fn open(prompt: String) -> io::Result<Terminal> {
        let config = Config::builder().auto_add_history(true).build();
        let editor = Editor::<(), DefaultHistory>::with_config(config);
        let mut editor = editor.map_err(io::Error::other)?;
        let printer = editor.create_external_printer().ok();
        let is_edited = printer.is_some();
        let (on_typed, typed) = mpsc::unbounded_channel();
        let (texts, waiting) = mpsc::channel(TEXTS_MAX);
        let (on_end, ended) = oneshot::channel();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        // Not of the runtime's: that would wait for a line before it ends.
        thread::Builder::new().name("typing".to_owned()).spawn(move || {
            // Between lines that arrive a prompt would only be in the way where nothing is redrawn.
            let prompt = if is_edited { prompt } else { String::new() };
            read_all(editor, &prompt, &is_over, &on_typed);
            // Nobody may wait any more.
            let _ = on_end.send(());
        })?;
        let printing = tokio::task::spawn_blocking(move || print_all(waiting, printer));
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        let style = if is_edited && !is_plain { Style::new().dimmed() } else { Style::new() };
        Ok(Terminal { typed, texts, printing, over, ended, is_edited, style })
    }

    /// What is typed next. Safe to abandon.
    pub(super) async fn next(&mut self) -> Typed {
        self.typed.recv().await.unwrap_or(Typed::Left)
    }

    /// A place for a text; waits while too many wait to be printed. Safe to abandon.
    pub(super) fn place(&self) -> impl Future<Output = Option<mpsc::OwnedPermit<String>>> + use<> {
        let texts = self.texts.clone();
        async move { texts.reserve_owned().await.ok() }
    }

    /// Says something that is not of the log.
    pub(super) async fn say(&self, line: &str) {
        let style = self.style;
        // The printer ends only when it is told to.
        let _ = self.texts.send(format!("{style}{line}{style:#}\n")).await;
    }

    /// Prints what is left and the farewell, and gives the terminal back.
    pub(super) async fn close(self, farewell: &str) {
        self.say(farewell).await;
        drop(self.texts);
        // It cannot panic but for the terminal's sake.
        let _ = self.printing.await;
        self.over.store(true, Ordering::SeqCst);
        let mut ended = self.ended;
        // A reader that does not edit holds nothing, and ends with the process.
        while self.is_edited && timeout(WAKE, &mut ended).await.is_err() {
            // While it reads, rustyline takes this as "interrupted". At any other time our own
            // handler does, to no effect.
            let _ = kill_process(getpid(), Signal::INT);
        }
    }
}

fn read_all(
    mut editor: Editor<(), DefaultHistory>,
    prompt: &str,
    over: &AtomicBool,
    typed: &mpsc::UnboundedSender<Typed>,
) {
    let mut has_ended = false;
    while !over.load(Ordering::SeqCst) {
        let news = match editor.readline(prompt) {
            Ok(text) => {
                // A paste comes as one, whatever is in it.
                let lines = text.split(['\r', '\n']).map(|line| Typed::Line(line.to_owned()));
                for line in lines {
                    let _ = typed.send(line);
                }
                continue;
            }
            Err(ReadlineError::Eof) if !has_ended => Typed::End,
            Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                Typed::Garbled
            }
            Err(_) => Typed::Left,
        };
        has_ended |= news == Typed::End;
        let is_last = news == Typed::Left;
        // Nobody may listen any more.
        let _ = typed.send(news);
        if is_last {
            return;
        }
    }
}

fn print_all(mut texts: mpsc::Receiver<String>, mut printer: Option<impl ExternalPrinter>) {
    while let Some(text) = texts.blocking_recv() {
        let printed = printer.as_mut().map(|printer| printer.print(text.clone()));
        if !matches!(printed, Some(Ok(()))) {
            // The reader has ended, or there never was an editor.
            printer = None;
            let mut out = io::stdout().lock();
            // If the terminal is gone there is nobody to tell.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}
