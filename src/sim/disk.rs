//! A simulated disk: holds what was committed, and can lose power in the middle of a commit.

use std::cell::RefCell;
use std::rc::Rc;

use crate::paxos::{AcceptorState, Record, Wal};

/// The disk of one node; it outlives the node's crashes. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Rc<RefCell<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    records: Vec<Record>,
    image: AcceptorState,
    /// The next commit writes this share of its records, then the power goes.
    doomed: Option<f64>,
}

/// The power went in the middle of a commit.
#[derive(Debug, thiserror::Error)]
#[error("power cut")]
pub(super) struct PowerCut;

impl Disk {
    /// In the next commit the power goes, after this share of the records is written.
    pub(super) fn doom(&self, share: f64) {
        self.0.borrow_mut().doomed = Some(share);
    }

    /// The power goes now, between commits.
    pub(super) fn spare(&self) {
        self.0.borrow_mut().doomed = None;
    }

    /// Looks at what a node would find after a crash now.
    pub(super) fn inspect<T>(&self, look: impl FnOnce(&AcceptorState) -> T) -> T {
        look(&self.0.borrow().image)
    }

    /// Looks at what all nodes would find.
    pub(super) fn inspect_all<T>(disks: &[Disk], look: impl FnOnce(&[&AcceptorState]) -> T) -> T {
        let platters: Vec<_> = disks.iter().map(|disk| disk.0.borrow()).collect();
        let images: Vec<&AcceptorState> = platters.iter().map(|platter| &platter.image).collect();
        look(&images)
    }
}

impl Wal for Disk {
    type Error = PowerCut;

    fn commit(&mut self, records: &[Record]) -> Result<(), PowerCut> {
        let mut platter = self.0.borrow_mut();
        let doomed = platter.doomed.take();
        let written = match doomed {
            Some(share) => (records.len() as f64 * share).round() as usize,
            None => records.len(),
        };
        let image = std::mem::take(&mut platter.image);
        platter.image = image.then(records[..written].iter().cloned());
        platter.records.extend_from_slice(&records[..written]);
        if doomed.is_some() { Err(PowerCut) } else { Ok(()) }
    }

    fn load(&mut self) -> Result<AcceptorState, PowerCut> {
        Ok(AcceptorState::replay(self.0.borrow().records.iter().cloned()))
    }
}
