//! What happens to the disk of a node that does not run: it is lost, set back, or one bit of it
//! turns; and how the node is brought back.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::rig::{Error, Rig};
use crate::paxos::NodeId;

/// How the store of a replaced node is made: disks of rigs have no operator who would need it.
const NO_BALLAST: &str = "--ballast=0";

impl Rig {
    /// Kills a node, and removes its store.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn wipe(&mut self, node: NodeId) -> Result<(), Error> {
        self.kill(node);
        remove(&self.store(node)).map_err(|error| Error::System("cannot wipe a store", error))
    }

    /// Starts a node that has no store by `indelible replace`. It votes once it says so in its
    /// status.
    ///
    /// To be called on the main thread: see [`Process::spawn`](super::process::Process::spawn).
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn replace(&mut self, node: NodeId) -> Result<(), Error> {
        let command = ["replace".to_owned(), node.0.to_string(), NO_BALLAST.to_owned()];
        self.spawn(node, command.to_vec())
    }

    /// From its next start on a node listens on another port, which the cluster file does not know.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn relocate(&mut self, node: NodeId) -> Result<(), Error> {
        let places = self.places.iter().map(|place| place.address.clone());
        let taken: Vec<String> = places.chain(self.listed()).collect();
        let ports = self.ports.iter().flat_map(|ports| ports.others());
        let free = ports.map(|port| format!("127.0.0.1:{port}"));
        let mut free = free.filter(|address| !taken.contains(address));
        let none = || Error::System("no port to move to", io::ErrorKind::AddrNotAvailable.into());
        let address = free.next().ok_or_else(none)?;
        drop(free);
        self.places[usize::from(node.0)].address = address;
        Ok(())
    }

    /// Kills a node and keeps a copy of its store, in the place of an earlier one: where it is.
    ///
    /// # Errors
    ///
    /// If it cannot be copied.
    pub fn keep_copy(&mut self, node: NodeId) -> Result<PathBuf, Error> {
        self.kill(node);
        let copy = self.copy_of(node);
        let copied = remove(&copy).and_then(|()| copy_folder(&self.store(node), &copy));
        copied.map_err(|error| Error::System("cannot copy a store", error))?;
        Ok(copy)
    }

    /// Kills a node, and sets its store back to the copy that was kept.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be copied.
    pub fn roll_back(&mut self, node: NodeId) -> Result<(), Error> {
        self.kill(node);
        let (store, copy) = (self.store(node), self.copy_of(node));
        let set_back = remove(&store).and_then(|()| copy_folder(&copy, &store));
        set_back.map_err(|error| Error::System("cannot set a store back", error))
    }

    /// Kills a node, and turns one bit in a file of its store: which one, `draw` says, a number
    /// below what it is given. It is one of a byte in which something is written: files have room
    /// that nobody has ever written to.
    ///
    /// # Errors
    ///
    /// If nothing is written in the file, or it cannot be written.
    pub fn flip(
        &mut self,
        node: NodeId,
        file: &str,
        mut draw: impl FnMut(u64) -> u64,
    ) -> Result<(), Error> {
        self.kill(node);
        let mut flip = || -> io::Result<()> {
            let path = self.store(node).join(file);
            let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let written = bytes.iter().filter(|byte| **byte != 0).count() as u64;
            let (nth, bit) = (draw(written.max(1)), draw(8));
            let mut written = (0..).zip(&bytes).filter(|(_, byte)| **byte != 0);
            let (at, byte) = written.nth(nth as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
            file.write_all_at(&[byte ^ 1 << bit], at)
        };
        flip().map_err(|error| Error::System("cannot damage a store", error))
    }

    fn copy_of(&self, node: NodeId) -> PathBuf {
        self.folder().join(format!("copy-{}", node.0))
    }

    fn listed(&self) -> impl Iterator<Item = String> {
        self.cluster().nodes.iter().map(|member| member.address.clone())
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
