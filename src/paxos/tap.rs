//! A tap on the gate: whoever is given to a node hears all that it records, says and does, in the
//! order in which it happens.
//!
//! It hears, and can change nothing. By default nobody listens.

use super::ballot::Slot;
use super::config::Config;
use super::durable::{AcceptorState, Record};
use super::message::Envelope;

/// Something that happened at a node.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// It starts: with what it found on its disk, and with every slot below applied.
    Started(&'a Config, &'a AcceptorState, Slot),
    /// A record goes to the log.
    Recorded(&'a Record),
    /// The log says that it holds all records so far.
    Synced,
    /// A message leaves, perhaps to the node itself.
    Sent(&'a Envelope),
    /// A slot is decided.
    Decided(Slot),
    /// A slot is applied.
    Applied(Slot),
    /// A snapshot of others takes the place of everything below a slot.
    Installed(Slot),
}

/// Who hears it.
pub trait Tap {
    /// Called right before it happens, or where it tells of something done, right after.
    fn hear(&mut self, heard: Heard<'_>);
}

/// Nobody.
impl Tap for () {
    fn hear(&mut self, _heard: Heard<'_>) {}
}

/// The tap of a node: it has a listener, or none.
#[derive(Default)]
pub struct Listener(Option<Box<dyn Tap + Send>>);

impl Listener {
    /// One who listens.
    #[must_use]
    pub fn new(tap: Box<dyn Tap + Send>) -> Listener {
        Listener(Some(tap))
    }

    /// Messages leave.
    pub fn sent(&mut self, messages: &[Envelope]) {
        if let Some(tap) = &mut self.0 {
            messages.iter().for_each(|envelope| tap.hear(Heard::Sent(envelope)));
        }
    }
}

impl Tap for Listener {
    fn hear(&mut self, heard: Heard<'_>) {
        if let Some(tap) = &mut self.0 {
            tap.hear(heard);
        }
    }
}

/// A clone is another node: nobody listens to it.
impl Clone for Listener {
    fn clone(&self) -> Listener {
        Listener::default()
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "somebody" } else { "nobody" })
    }
}
