//! Indelible: persistent, recoverable Multi-Paxos nodes on a write-ahead log.
//!
//! In Lamport's "The Part-Time Parliament" each legislator keeps a ledger written in indelible ink.
//! This crate is that ledger: acceptors that have their promises and acceptances on disk *before*
//! they tell anybody, and services on the log that they agree on.
//!
//! A service is a [`StateMachine`](rsm::StateMachine). Here is a counter on three nodes, each with
//! a store and a socket of its own:
//!
//! ```
//! use indelible::{client::Client, cluster::Cluster, local::ports::Ports, paxos::*, rsm::*};
//! use indelible::{node::Storage, server, wal};
//!
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     fn apply(&mut self, _turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
//!         self.0 += command.len() as u64;
//!         self.0.to_string().into()
//!     }
//!     fn query(&self, _query: &[u8], _archive: &Archive) -> Vec<u8> {
//!         self.0.to_string().into()
//!     }
//!     fn snapshot(&self) -> Vec<u8> {
//!         self.0.to_le_bytes().into()
//!     }
//!     fn restore(&mut self, snapshot: &[u8]) {
//!         self.0 = snapshot.try_into().map_or(0, u64::from_le_bytes);
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (folder, ports) = (tempfile::tempdir()?, Ports::reserve(3)?);
//! let peers: Vec<_> = (0..3).map(|id| format!("{id}=127.0.0.1:{}", ports.port(id))).collect();
//! let cluster = Cluster::from_flags("counter", &peers)?;
//! for node in (0..3).map(NodeId) {
//!     let (path, incarnation) = (folder.path().join(node.to_string()), Incarnation(1));
//!     let identity = wal::Identity::new("counter", node, incarnation);
//!     wal::Store::format(&path, &identity, wal::Options { ballast_bytes: 0 })?;
//!     let (cluster, store) = (cluster.clone(), Storage::open(&path)?);
//!     let options = server::Options::new(node, incarnation);
//!     tokio::spawn(async move {
//!         server::run(&cluster, options, store, Counter(0), std::future::pending()).await
//!     });
//! }
//! let client = Client::open(&cluster, ClientId(7));
//! for _ in 0..3 {
//!     client.submit("++".into()).await?.reply().await?;
//! }
//! assert_eq!(client.query("".into()).await?, "6");
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! A module imports only from the layers below its own; modules of one layer do not import each
//! other (`tests/tidy` holds the sources to that).
//!
//! | layer | module | what it is |
//! |---:|---|---|
//! | 0 | [`paxos`] | the protocol, as a value with one method; pure |
//! | 1 | [`rsm`] | state machines, client sessions, the executor, archive and snapshots |
//! | 1 | [`wire`] | the codec, frames, what clients and nodes say |
//! | 1 | [`disk`] | syncs, locks, small files; the only `unsafe` |
//! | 1 | [`cluster`] | the cluster file |
//! | 2 | [`services`] | chat room, locks, polls; know nothing of Paxos |
//! | 2 | [`wal`] | stable storage: sled, held so that it keeps what it says |
//! | 2 | [`shelf`] | what the log need not hold: the archive, and snapshots |
//! | 3 | [`node`] | a whole node without a socket |
//! | 3 | [`audit`] | what stores say together, proved or refuted offline |
//! | 4 | [`transport`] | TCP between processes |
//! | 4 | [`client`] | a session that outlives connections and leaders |
//! | 4 | [`sim`] | a cluster in one thread, from one seed |
//! | 5 | [`server`] | threads, sockets and the real clock around a node |
//! | 5 | [`local`] | a cluster of child processes on this machine |
//! | 5 | [`locker`] | a session with the lock service: ask, wait, hold, give back |
//! | 5 | [`poller`] | a session with the poll service, and the file that keeps results |
//! | 6 | [`steward`] | beside a replica of the poll service: who is in office, and who comes back |
//! | 7 | [`master`] | the harness that reads commands from standard input |
//! | 7 | [`demo`] | what a person would do to convince themselves, played and checked |
//! | 7 | [`cli`] | what people see |
//!
//! Where to begin: [`paxos::durable`] is the rule that all the rest serves; [`node`] is the loop;
//! [`paxos::replica`] dispatches; [`wal::store`] is what is on the disk.

pub mod audit;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod demo;
pub mod disk;
pub mod local;
pub mod locker;
pub mod master;
pub mod node;
pub mod paxos;
pub mod poller;
pub mod rsm;
pub mod server;
pub mod services;
pub mod shelf;
pub mod sim;
pub mod steward;
pub mod transport;
pub mod wal;
pub mod wire;
