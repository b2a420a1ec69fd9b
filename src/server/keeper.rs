//! The keeper: a thread that makes snapshots durable, so that the node's thread waits for none.
//!
//! It has a handle of its own on the shelf. Each draft is synced, archive first, and then told to
//! the node's thread, which lets go of what the log need not hold any more. An error is final: the
//! node stops, as for any error of a write or a sync.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::jobs::{Job, Lane};
use crate::node::{Draft, Event};
use crate::rsm::Keep;

/// Where drafts go.
#[derive(Clone, Debug)]
pub(super) struct Desk(Sender<Draft>);

impl Desk {
    /// Hands in a draft. If the keeper has failed, the node's thread hears of that by itself.
    pub(super) fn hand_in(&self, draft: Draft) {
        let _ = self.0.send(draft);
    }
}

/// Starts a keeper of this shelf; it ends when the desk is gone.
pub(super) fn start<K: Keep + Send + 'static>(shelf: K, jobs: Lane) -> std::io::Result<Desk> {
    let (desk, drafts) = channel();
    std::thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(move || keep_all(shelf, &drafts, &jobs))?;
    Ok(Desk(desk))
}

fn keep_all(mut shelf: impl Keep, drafts: &Receiver<Draft>, jobs: &Lane) {
    for Draft { slot, archive, bytes } in drafts {
        let job = match shelf.keep(slot, archive, &bytes) {
            Ok(older) => {
                tracing::debug!(%slot, %archive, "snapshot");
                Job::Event(Event::Kept(slot, older))
            }
            Err(error) => Job::Fail(Arc::new(error)),
        };
        // If the node's thread is gone, the process is ending anyway.
        if jobs.push_now(job).is_none() {
            return;
        }
    }
}
