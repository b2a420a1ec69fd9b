//! The end of a run as an auditor sees it: all power is off, and there are disks, shelves, and what
//! the clients were told. Of the run itself nothing is asked.

use super::room::{Asked, Room, message};
use super::world::World;
use crate::audit::{self, Acknowledged, Book, Ledger};
use crate::node::{self, Beside, Pace};
use crate::paxos::{NodeId, Record, Slot};
use crate::rsm::{Executor, Keep, Shelf};
use crate::services::chat;
use crate::wire::client::Entry;

impl World {
    /// Every invariant of the audit holds over what the disks hold, those left out that are gone,
    /// or whose nodes have gone astray.
    ///
    /// # Panics
    ///
    /// If one does not: with the records that break it.
    pub(super) fn audit(&mut self) {
        let members = self.weather.members;
        let is_there = |node: &NodeId| {
            let is_gone = self.machines[usize::from(node.0)].gone.is_some();
            let is_astray = self.astray.is_wrong(*node);
            !is_gone && !is_astray && !self.disk(*node).is_rolled_back()
        };
        let nodes: Vec<NodeId> = self.members().filter(is_there).collect();
        let records = |node: &NodeId| (*node, self.disk(*node).records());
        let logs: Vec<(NodeId, Vec<(u64, Record)>)> = nodes.iter().map(records).collect();
        let books = logs.iter().map(|(node, records)| self.book(*node, records));
        let books = books.collect::<Result<Vec<Book<'_>>, audit::Failed>>();
        let proof = books.and_then(|it| audit::compare(members, &it, self.acknowledged()));
        if let Err(failed) = proof {
            let exhibits = match &failed {
                audit::Failed::Refuted(refuted) => refuted.exhibits.as_slice(),
                audit::Failed::Shelf(_) | audit::Failed::Replaced { .. } => &[],
            };
            let shown: Vec<String> = exhibits.iter().map(|it| format!("\n  {it}")).collect();
            panic!("the audit refutes {failed}{}", shown.concat());
        }
    }

    /// What a node would find after a start, if its log is lawful.
    fn book<'a>(
        &'a self,
        node: NodeId,
        records: &'a [(u64, Record)],
    ) -> Result<Book<'a>, audit::Failed> {
        let ledger = Ledger::read("disk", self.disk(node).store(), records)?;
        let shelf = &self.machines[usize::from(node.0)].shelf;
        let snapshots = shelf.kept()?;
        let beside =
            Beside { shelf: shelf.clone_box(), snapshots: snapshots.clone(), pace: Pace::NEVER };
        let digest = match self.weather.is_witness(node) {
            true => node::copied(ledger.state(), beside),
            false => node::replay(ledger.state(), beside, Room::default())
                .map(|executor: Executor<Room>| executor.digest()),
        };
        let digest = digest.unwrap_or_else(|error: node::Error<std::fmt::Error>| {
            panic!("{node} would not start again: {error}")
        });
        // What the polls put into the archive is no command.
        let (is_whole, applied) = (self.voters.is_empty(), digest.slot);
        Ok(Book { ledger, archive: shelf, is_whole, applied, digest, snapshots })
    }

    /// What the clients were told of their messages.
    fn acknowledged(&self) -> Vec<Acknowledged> {
        let told = self.history.operations().iter().filter_map(|operation| {
            let (Asked::Say(client, number), Some(answer)) = (operation.input, &operation.answer)
            else {
                return None;
            };
            Some((answer.at, message(client, number)))
        });
        let line = |(place, (slot, body)): (u64, (Slot, Vec<u8>))| {
            let line = chat::logged(&Entry { slot, body: body.into() });
            Acknowledged { slot, line: line.expect("a message"), place }
        };
        (1..).zip(told).map(line).collect()
    }
}
