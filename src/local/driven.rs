//! A chat client that a harness drives: a process of its own, with a pipe each way.
//!
//! Orders go in, answers come out, each in a frame; every answer belongs to one question. What the
//! client sends to the cluster, retransmits and receives is its own affair: it is the program
//! `indelible chat` with another pair of hands. The end of the orders is the end of the client.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::process::Process;
use crate::paxos::Slot;
use crate::wire::codec;
use crate::wire::frame::BODY_BYTES_MAX;

/// An order to a driven client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drive {
    /// Say this in the room. Not answered.
    Send(Bytes),
    /// Answer `HandedOver` when all that was to be said so far has stood in a leader's queue.
    HandOver(u64),
    /// Answer `State`.
    Sync(u64),
    /// Answer `Log`, in pieces.
    PrintLog(u64),
}

/// The answer of a driven client, with the number of the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Driving {
    /// All that was to be said then has stood in a leader's queue.
    HandedOver(u64),
    /// How far the client is.
    State(u64, State),
    /// A piece of the log: whole lines, each with its end.
    Log {
        /// The question.
        id: u64,
        /// The lines.
        lines: Bytes,
        /// Whether this is the last piece.
        last: bool,
    },
}

/// How far a driven client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Messages that it was to say, and that are not known to be decided.
    pub pending: u64,
    /// It knows every message below this slot.
    pub seen: Slot,
}

/// The longest frame either way, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The longest text, in bytes: with its sender it fits one request.
pub const TEXT_BYTES_MAX: usize = BODY_BYTES_MAX - 4096;

/// Our end of a driven client. Dropping it kills the client.
#[derive(Debug)]
pub struct Driven {
    orders: FramedWrite<pipe::Sender, LengthDelimitedCodec>,
    answers: FramedRead<pipe::Receiver, LengthDelimitedCodec>,
    asked: u64,
    process: Process,
}

impl Driven {
    /// Drives a process that was started for it. Needs a tokio runtime around it.
    pub(super) fn over(mut process: Process) -> io::Result<Driven> {
        let no_pipes = || io::Error::other("a driven client needs two pipes");
        let (stdin, stdout) = process.take_pipes().ok_or_else(no_pipes)?;
        let orders = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
        let answers = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
        Ok(Driven {
            orders: FramedWrite::new(orders, frames()),
            answers: FramedRead::new(answers, frames()),
            asked: 0,
            process,
        })
    }

    /// Has the client say something. Returns when the client's pipe has it.
    ///
    /// # Errors
    ///
    /// If the client is gone, or the text is longer than [`TEXT_BYTES_MAX`] (`InvalidInput`).
    pub async fn send(&mut self, text: Bytes) -> io::Result<()> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.say(&Drive::Send(text)).await
    }

    /// Waits until all that the client was to say has stood in a leader's queue, or `patience`
    /// ends. Whether it has.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub async fn hand_over(&mut self, patience: Duration) -> io::Result<bool> {
        let id = self.ask(Drive::HandOver).await?;
        let waiting = self.answer(|answer| match answer {
            Driving::HandedOver(to) if to == id => Some(()),
            Driving::HandedOver(_) | Driving::State(..) | Driving::Log { .. } => None,
        });
        match tokio::time::timeout(patience, waiting).await {
            Ok(handed) => handed.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// How far the client is.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub async fn sync(&mut self) -> io::Result<State> {
        let id = self.ask(Drive::Sync).await?;
        self.answer(|answer| match answer {
            Driving::State(to, state) if to == id => Some(state),
            Driving::HandedOver(_) | Driving::State(..) | Driving::Log { .. } => None,
        })
        .await
    }

    /// Asks for the log; its pieces come from [`log_piece`](Driven::log_piece).
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub async fn ask_log(&mut self) -> io::Result<()> {
        self.ask(Drive::PrintLog).await.map(drop)
    }

    /// The next piece of the log that was asked for last, and whether it is the last piece.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub async fn log_piece(&mut self) -> io::Result<(Bytes, bool)> {
        let asked = self.asked;
        self.answer(|answer| match answer {
            Driving::Log { id, lines, last } if id == asked => Some((lines, last)),
            Driving::HandedOver(_) | Driving::State(..) | Driving::Log { .. } => None,
        })
        .await
    }

    /// The client's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn ask(&mut self, question: impl FnOnce(u64) -> Drive) -> io::Result<u64> {
        self.asked += 1;
        self.say(&question(self.asked)).await?;
        Ok(self.asked)
    }

    async fn say(&mut self, order: &Drive) -> io::Result<()> {
        self.orders.send(Bytes::from(codec::encode(order))).await
    }

    /// The first answer that is wanted; others are answers to questions nobody waits for any more.
    async fn answer<T>(&mut self, wanted: impl Fn(Driving) -> Option<T>) -> io::Result<T> {
        loop {
            let frame = self.answers.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
            let answer = codec::decode(&frame).map_err(io::Error::other)?;
            if let Some(found) = wanted(answer) {
                return Ok(found);
            }
        }
    }
}

/// The codec of both pipes.
pub(super) fn frames() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec()
}
