//! The cluster file: who the members are and where they listen.
//!
//! ```toml
//! cluster = "room"            # the name is the identity: stores and peers of another are refused
//! service = "chat"            # optional: what runs on its log, "chat", "lock" or "poll"
//! election = "400ms"          # optional: the one timeout that all others follow from (polls: 8s)
//!
//! [[node]]
//! id = 0
//! address = "10.0.0.1:7000"   # any host, any port; "[::1]:7000" too
//!
//! [[node]]
//! id = 1
//! address = "host-b:7000"
//! witness = true              # optional: votes and logs, never leads, applies nothing
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::paxos::NodeId;

/// The most members a cluster can have.
pub const MEMBERS_MAX: usize = 63;

/// The election timeout where the file gives none, but for polls.
pub const ELECTION_DEFAULT: Duration = Duration::from_millis(400);

/// The same for polls: a heartbeat each second, and one who misses five has failed.
pub const ELECTION_POLLS: Duration = Duration::from_secs(8);

/// A cluster: its name, its timeout and its members, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// What runs on its log.
    pub service: Service,
    /// The election timeout.
    pub election: Duration,
    /// The members; the one at index i has id i.
    pub nodes: Vec<Member>,
}

/// What runs on a cluster's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The chat room.
    #[default]
    Chat,
    /// The lock service.
    Lock,
    /// The poll service.
    Poll,
}

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Where it listens: host and port.
    pub address: String,
    /// Whether it votes but never leads.
    pub witness: bool,
}

/// What is wrong with a cluster file, or with the flags that stand for one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written.
    #[error("cluster file {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not what it should be.
    #[error("cluster file {}: {reason}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong, in one line.
        reason: String,
    },
    /// The flags do not describe a cluster.
    #[error("{0}")]
    Flags(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cluster: String,
    #[serde(default, skip_serializing_if = "Service::is_chat")]
    service: Service,
    #[serde(skip_serializing_if = "Option::is_none")]
    election: Option<String>,
    #[serde(default)]
    node: Vec<FileNode>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileNode {
    id: u16,
    address: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    witness: bool,
}

impl Service {
    /// All there are.
    pub const ALL: [Service; 3] = [Service::Chat, Service::Lock, Service::Poll];

    /// Its name, as the cluster file has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Chat => "chat",
            Service::Lock => "lock",
            Service::Poll => "poll",
        }
    }

    /// The election timeout where the file gives none.
    #[must_use]
    pub fn election(self) -> Duration {
        match self {
            Service::Chat | Service::Lock => ELECTION_DEFAULT,
            Service::Poll => ELECTION_POLLS,
        }
    }

    /// The service of the cluster with this identity.
    #[must_use]
    pub fn of_identity(identity: &str) -> Service {
        let others = Service::ALL.into_iter().filter(|service| !service.is_chat());
        let ends = |service: &Service| identity.ends_with(&service.suffix());
        others.into_iter().find(ends).unwrap_or_default()
    }

    fn suffix(self) -> String {
        if self.is_chat() { String::new() } else { format!("/{}", self.name()) }
    }

    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_chat(&self) -> bool {
        matches!(self, Service::Chat)
    }
}

impl Cluster {
    /// What its stores, nodes and clients know it by: those of another name, or of another service,
    /// are refused.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{}{}", self.name, self.service.suffix())
    }

    /// As it is, but for what runs on its log.
    #[must_use]
    pub fn with_service(self, service: Service) -> Cluster {
        Cluster { service, ..self }
    }

    /// Reads a cluster file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or does not describe a cluster: one line that says where and what.
    pub fn read(path: &Path) -> Result<Cluster, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::Io { path: path.to_owned(), error })?;
        Cluster::parse(&text).map_err(|reason| Error::Bad { path: path.to_owned(), reason })
    }

    /// The cluster that flags describe: a name, and members as `ID=HOST:PORT`.
    ///
    /// # Errors
    ///
    /// If they do not describe one.
    pub fn from_flags(name: &str, peers: &[String]) -> Result<Cluster, Error> {
        let mut nodes = Vec::new();
        for peer in peers {
            let parsed = peer.split_once('=').and_then(|(id, address)| {
                Some(FileNode { id: id.parse().ok()?, address: address.to_owned(), witness: false })
            });
            let node = parsed.ok_or_else(|| {
                Error::Flags(format!("--peer {peer}: expected ID=HOST:PORT, as in 0=10.0.0.1:7000"))
            })?;
            nodes.push(node);
        }
        let file =
            File { cluster: name.to_owned(), service: Service::Chat, election: None, node: nodes };
        Cluster::check(file).map_err(Error::Flags)
    }

    /// The cluster whose members listen at these addresses, in the order of their ids from 0.
    ///
    /// # Errors
    ///
    /// If they do not describe one.
    pub fn from_addresses(name: &str, addresses: &[String]) -> Result<Cluster, Error> {
        let node = |(id, address): (u16, &String)| FileNode {
            id,
            address: address.trim().to_owned(),
            witness: false,
        };
        let node = (0..).zip(addresses).map(node).collect();
        let file = File { cluster: name.to_owned(), service: Service::Chat, election: None, node };
        Cluster::check(file).map_err(Error::Flags)
    }

    /// Writes a cluster file.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        std::fs::write(path, self.to_toml())
            .map_err(|error| Error::Io { path: path.to_owned(), error })
    }

    /// The member with this id.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.nodes.get(usize::from(id.0))
    }

    /// How many members there are.
    #[must_use]
    pub fn members(&self) -> u16 {
        self.nodes.len() as u16
    }

    /// How many are a majority.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// The members that never lead.
    #[must_use]
    pub fn witnesses(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|node| node.witness).map(|node| node.id).collect()
    }

    fn parse(text: &str) -> Result<Cluster, String> {
        let file: File = toml::from_str(text).map_err(|error| one_line(text, &error))?;
        Cluster::check(file)
    }

    fn to_toml(&self) -> String {
        let node = |member: &Member| FileNode {
            id: member.id.0,
            address: member.address.clone(),
            witness: member.witness,
        };
        let file = File {
            cluster: self.name.clone(),
            service: self.service,
            election: Some(humantime::format_duration(self.election).to_string()),
            node: self.nodes.iter().map(node).collect(),
        };
        toml::to_string(&file).expect("a cluster has an encoding in TOML")
    }

    fn check(file: File) -> Result<Cluster, String> {
        if file.cluster.trim().is_empty() || file.cluster.len() > 255 {
            return Err("the cluster needs a name of 1 to 255 bytes".to_owned());
        }
        if !Service::of_identity(&file.cluster).is_chat() {
            let name = file.cluster;
            return Err(format!("the name \"{name}\" ends like that of a service: take another"));
        }
        let election = match file.election {
            Some(text) => humantime::parse_duration(&text)
                .map_err(|error| format!("election = \"{text}\": {error}"))?,
            None => file.service.election(),
        };
        if election < Duration::from_millis(50) || election > Duration::from_secs(600) {
            return Err("the election timeout must be between 50ms and 10m".to_owned());
        }
        let nodes = check_nodes(file.node)?;
        Ok(Cluster { name: file.cluster, service: file.service, election, nodes })
    }
}

/// Whether it reads as an address: a host, a colon and a port.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_plain = host.chars().all(|letter| letter.is_ascii_graphic());
    !host.is_empty() && is_plain && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn check_nodes(listed: Vec<FileNode>) -> Result<Vec<Member>, String> {
    if listed.is_empty() || listed.len() > MEMBERS_MAX {
        return Err(format!("a cluster has 1 to {MEMBERS_MAX} nodes, not {}", listed.len()));
    }
    let mut nodes = BTreeMap::new();
    let mut addresses = BTreeSet::new();
    for FileNode { id, address, witness } in listed {
        if !is_address(&address) {
            return Err(format!("node {id}: address \"{address}\" is not HOST:PORT"));
        }
        if !addresses.insert(address.clone()) {
            return Err(format!("node {id}: address {address} is given twice"));
        }
        if nodes.insert(id, Member { id: NodeId(id), address, witness }).is_some() {
            return Err(format!("node {id} is listed twice"));
        }
    }
    if let Some(missing) = (0..nodes.len() as u16).find(|id| !nodes.contains_key(id)) {
        return Err(format!("ids count from 0 without a gap, but node {missing} is missing"));
    }
    if nodes.values().all(|node| node.witness) {
        return Err("every node is a witness: nobody could lead".to_owned());
    }
    Ok(nodes.into_values().collect())
}

fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
    let reason = error.message().replace('\n', " ");
    line.map_or(reason.clone(), |line| format!("line {line}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(nodes: &str) -> Result<Cluster, String> {
        Cluster::parse(&format!("cluster = \"room\"\n{nodes}"))
    }

    fn node(id: u16, address: &str) -> String {
        format!("[[node]]\nid = {id}\naddress = \"{address}\"\n")
    }

    /// Bugs that turn it red: one default for all; a default that wins over the file.
    #[test]
    fn polls_have_a_heartbeat_each_second() {
        let node = "[[node]]\nid = 0\naddress = \"a:1\"\n";
        let election = |head: &str| {
            let text = format!("cluster = \"room\"\n{head}\n{node}");
            Cluster::parse(&text).expect("a cluster").election
        };
        assert_eq!(election(""), ELECTION_DEFAULT);
        assert_eq!(election("service = \"poll\""), Duration::from_secs(8));
        assert_eq!(election("service = \"poll\"\nelection = \"1s\""), Duration::from_secs(1));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = node(1, "[::1]:7001") + "witness = true\n" + &node(0, "host-a:7000");
        let cluster = parse(&text).expect("a cluster");
        assert_eq!(cluster.nodes[1].address, "[::1]:7001");
        assert_eq!(cluster.witnesses(), BTreeSet::from([NodeId(1)]));
        assert_eq!(cluster.election, ELECTION_DEFAULT);
        assert_eq!(Cluster::parse(&cluster.to_toml()).expect("again"), cluster);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let two = node(0, "a:1");
        let cases = [
            (String::new(), "1 to 63 nodes"),
            (node(1, "a:1"), "node 0 is missing"),
            (two.clone() + &node(0, "b:1"), "listed twice"),
            (two.clone() + &node(1, "a:1"), "given twice"),
            (node(0, "nowhere"), "not HOST:PORT"),
            (node(0, "host:0"), "not HOST:PORT"),
            (node(0, ":70"), "not HOST:PORT"),
            (two.clone() + "wittness = true\n", "line 5: unknown field"),
            (two.clone() + "witness = true\n", "nobody could lead"),
            ("service = \"clock\"\n".to_owned() + &two, "line 2: unknown variant `clock`"),
            ("election = \"soon\"\n".to_owned() + &two, "election = \"soon\""),
            ("election = \"1ms\"\n".to_owned() + &two, "between 50ms and 10m"),
        ];
        for (text, expected) in cases {
            let reason = parse(&text).expect_err(&text);
            assert!(reason.contains(expected) && !reason.contains('\n'), "{text}: {reason}");
        }
    }

    /// Bugs that turn it red: stores of one service that another opens; a file that does not say
    /// which.
    #[test]
    fn a_service_is_part_of_the_identity() {
        let chat = parse(&node(0, "a:1")).expect("a cluster");
        let lock = parse(&("service = \"lock\"\n".to_owned() + &node(0, "a:1"))).expect("another");
        assert_eq!((chat.service, lock.service), (Service::Chat, Service::Lock));
        assert_eq!((chat.identity(), lock.identity()), ("room".into(), "room/lock".into()));
        for cluster in [chat, lock] {
            assert_eq!(Service::of_identity(&cluster.identity()), cluster.service);
            assert_eq!(Cluster::parse(&cluster.to_toml()).expect("again"), cluster);
        }
        let reason = Cluster::parse("cluster = \"a/lock\"\n").expect_err("a name like that");
        assert!(reason.contains("take another"), "{reason}");
    }

    #[test]
    fn flags_stand_for_a_file() {
        let peers = ["1=b:2".to_owned(), "0=a:1".to_owned()];
        let cluster = Cluster::from_flags("room", &peers).expect("a cluster");
        assert_eq!(cluster.nodes[0].address, "a:1");
        let error = Cluster::from_flags("room", &["a:1".to_owned()]).expect_err("no id");
        assert!(error.to_string().contains("ID=HOST:PORT"), "{error}");
        let addresses = ["a:1".to_owned(), " b:2".to_owned()];
        assert_eq!(Cluster::from_addresses("room", &addresses).expect("a cluster"), cluster);
        let error = Cluster::from_addresses("room", &["a".to_owned()]).expect_err("no port");
        assert!(error.to_string().contains("not HOST:PORT"), "{error}");
    }
}
