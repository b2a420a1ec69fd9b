//! Links that are cut under load, one by one, in one direction, and in the three patterns of
//! partial connectivity of Ng et al. (*Omni-Paxos*), each healed again.
//!
//! Who can reach a quorum goes on, who cannot decides nothing, nobody disturbs a leader that can,
//! and after the heal all logs are one. Node 0 leads at first. A cut counts as one if packets were
//! dropped by it.
//!
//! One-line bugs that turn them red: a leader that stays without a quorum's echoes; a node that
//! decides by its own vote; a canvass that is answered yes where a leader is heard; a client that
//! stays with a node which knows no leader.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indelible::client::{Client, Ticket};
use indelible::cluster::Cluster;
use indelible::demo::storm::Storm;
use indelible::local::Rig;
use indelible::paxos::{ClientId, NodeId, Slot};
use indelible::services::chat::Message;
use libtest_mimic::Failed;

use super::network::Hosts;
use super::{Play, rig};
use crate::ending;

/// A cut, and what is to come of it.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Whether nothing arrives that goes from one host to another.
    is_cut: fn(u16, u16) -> bool,
    /// A node that nothing reaches for a while before, so that it lags.
    lags: Option<u16>,
    /// Whether the clients cannot reach the primary either.
    also_clients: bool,
    /// Whether another must lead, or none may.
    is_replaced: bool,
    /// Within how many election timeouts messages are to be answered again.
    within: u32,
}

/// The primary.
const FIRST: u16 = 0;

/// Who reaches everybody where nobody else does, and who loses its link to the primary.
const HUB: u16 = 3;

const CASES: &[Case] = &[
    Case {
        name: "the_primary_is_cut_off",
        is_cut: |from, to| from == FIRST || to == FIRST,
        ..PLAIN
    },
    Case {
        name: "the_primary_is_cut_off_from_clients_too",
        is_cut: |from, to| from == FIRST || to == FIRST,
        also_clients: true,
        ..PLAIN
    },
    Case { name: "the_primary_is_not_heard", is_cut: |from, _| from == FIRST, ..PLAIN },
    Case { name: "the_primary_hears_nobody", is_cut: |_, to| to == FIRST, ..PLAIN },
    Case {
        name: "one_follower_does_not_hear_the_primary",
        is_cut: |from, to| (from, to) == (FIRST, HUB),
        is_replaced: false,
        ..PLAIN
    },
    Case {
        name: "the_primary_does_not_hear_one_follower",
        is_cut: |from, to| (from, to) == (HUB, FIRST),
        is_replaced: false,
        ..PLAIN
    },
    Case {
        name: "the_link_of_the_primary_to_one_follower",
        is_cut: |from, to| [(FIRST, HUB), (HUB, FIRST)].contains(&(from, to)),
        is_replaced: false,
        ..PLAIN
    },
    Case { name: "quorum_loss", is_cut: |from, to| from != HUB && to != HUB, ..PARTIAL },
    Case {
        name: "constrained_election",
        is_cut: |from, to| (from != HUB && to != HUB) || from == FIRST || to == FIRST,
        lags: Some(HUB),
        ..PARTIAL
    },
    Case { name: "a_chain", is_cut: |from, to| from.abs_diff(to) > 1, ..PARTIAL },
];

const PLAIN: Case = Case {
    name: "",
    is_cut: |_, _| false,
    lags: None,
    also_clients: false,
    is_replaced: true,
    within: 3,
};

const PARTIAL: Case = Case { within: 10, ..PLAIN };

/// The trials, one for each cut.
pub(super) fn names() -> impl Iterator<Item = String> {
    CASES.iter().map(|case| case.name.to_owned())
}

/// The play of this name.
pub(super) fn play(name: &str, data: &Path) -> Option<Play> {
    let case = *CASES.iter().find(|case| case.name == name)?;
    Some(Box::pin(case.play(data.to_owned())))
}

/// Long, so that a busy machine is no silence.
const ELECTION: Duration = Duration::from_secs(2);

/// For how many election timeouts a cut stays, at least: all whom a silence makes candidates were.
const STAYS: u32 = 3;

/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clients in the storm.
const CLIENTS: usize = 4;

/// The most elections that may follow a heal, or the first one after a cut.
const CHANGES_MAX: usize = 2;

/// What came of a cut: when another took office, when messages were answered again, and how many
/// elections there were.
struct Course {
    elected: Option<Duration>,
    answered: Duration,
    elections: usize,
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(elected) = self.elected {
            write!(f, "another primary {elected:.1?} after the cut, ")?;
        }
        write!(f, "answered after {:.1?}, {} elections", self.answered, self.elections)
    }
}

impl Case {
    async fn play(self, data: PathBuf) -> Result<(), Failed> {
        let hosts = Hosts::make(super::NODES)?;
        let mut rig = rig(&hosts, &data)?;
        rig.set_election(ELECTION)?;
        rig.start_all()?;
        rig.ready(PATIENCE).await?;
        assert_eq!(rig.leader().await, Some(NodeId(FIRST)), "node 0 is the first primary");
        let storm = Storm::start(rig.cluster(), CLIENTS);
        ending::more(&storm, CLIENTS, PATIENCE).await?;
        if let Some(lags) = self.lags {
            hosts.cut(|from, to| from == lags || to == lags)?;
            ending::more(&storm, 20 * CLIENTS, PATIENCE).await?;
        }
        let course = self.cut(&hosts, &mut rig, &storm).await?;
        let (healed, before) = (Instant::now(), offices(&rig));
        let dropped = hosts.heal()?;
        assert!(dropped > 0, "nothing was cut");
        let acknowledged = ending::settle(storm, &mut rig, PATIENCE).await?;
        let (one, again) = (healed.elapsed(), offices(&rig) - before);
        eprintln!(
            "hosts: {}: {course}, {dropped} packets dropped; one log {one:.1?} after the heal, \
             {again} elections; {} acknowledged",
            self.name,
            acknowledged.len()
        );
        assert!(again <= CHANGES_MAX, "{again} elections after the heal");
        ending::verify(&rig.cluster_file())?;
        ending::disks(&mut rig, &acknowledged)
    }

    /// Cuts, and watches until all that can come of it has.
    async fn cut(&self, hosts: &Hosts, rig: &mut Rig, storm: &Storm) -> Result<Course, Failed> {
        let before = offices(rig);
        hosts.cut(self.is_cut)?;
        if self.also_clients {
            hosts.cut_tester_off(FIRST)?;
        }
        let cut = Instant::now();
        let captive = Client::open(&only(rig.cluster(), FIRST), ClientId(fastrand::u128(..)));
        let mut asked = captive.submit(message("is anybody there?")).await?;
        // Each client had one message under way at most: one more answer is to a later message.
        let answers = ending::more(storm, CLIENTS + 1, ELECTION * self.within);
        let (answered, seen) = tokio::join!(answers, self.watch(rig, &mut asked));
        let answered = match answered {
            Ok(answered) => answered,
            Err(why) => {
                return Err(format!("{why:?} after the cut\n{}", standing(rig).await).into());
            }
        };
        let (known, elected) = seen?;
        let stays = (ELECTION * STAYS).saturating_sub(cut.elapsed());
        tokio::time::sleep(stays.max(ELECTION)).await;
        let elections = offices(rig) - before;
        self.check(rig, elections).await;
        if let Some(known) = known {
            let answer = tokio::time::timeout(Duration::from_millis(1), asked.reply()).await;
            assert!(answer.is_err(), "alone it answers: {answer:?}");
            assert_eq!(decided(rig).await?, known, "alone it decides");
        }
        Ok(Course { elected, answered, elections })
    }

    /// What the first primary knows to be decided, if it is alone; and when another took office.
    async fn watch(
        &self,
        rig: &mut Rig,
        asked: &mut Ticket,
    ) -> Result<(Option<Slot>, Option<Duration>), Failed> {
        let (cut, before) = (Instant::now(), offices(rig));
        let mut known = None;
        if self.is_alone() {
            tokio::time::timeout(ELECTION / 2, asked.queued())
                .await
                .map_err(|_| "the primary takes no request")?;
            // What had arrived before the cut is worked off by then, and it thinks that it leads.
            tokio::time::sleep((ELECTION / 2).saturating_sub(cut.elapsed())).await;
            known = Some(decided(rig).await?);
        }
        while self.is_replaced && cut.elapsed() < ELECTION * self.within {
            if offices(rig) > before {
                return Ok((known, Some(cut.elapsed())));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok((known, None))
    }

    /// One leads, after so many elections.
    async fn check(&self, rig: &mut Rig, elections: usize) {
        let found = standing(rig).await;
        assert_eq!(found.matches("Leader").count(), 1, "one leads:\n{found}");
        if self.is_replaced {
            assert!(elections > 0, "who answers, if not another primary?\n{found}");
            assert!(elections <= 1 + CHANGES_MAX, "{elections} elections\n{found}");
        } else {
            assert_eq!(elections, 0, "the primary reaches a quorum\n{found}");
        }
    }

    /// Whether nothing at all reaches the primary, and yet it can be asked.
    fn is_alone(&self) -> bool {
        !self.also_clients
            && (0..super::NODES).all(|from| (self.is_cut)(from, FIRST) || from == FIRST)
    }
}

/// How often a node took office, by the logs of all.
fn offices(rig: &Rig) -> usize {
    let count = |node| rig.log(NodeId(node)).matches("takes office").count();
    (0..super::NODES).map(count).sum()
}

/// What the nodes say of themselves, for a failure.
async fn standing(rig: &mut Rig) -> String {
    let told = rig.statuses().await.into_iter().flatten().map(|node| {
        let view = node.ballot.map_or_else(|| "-".to_owned(), |ballot| ballot.to_string());
        let (role, leader, decided) = (node.role, node.leader, node.decided);
        format!("{}: {role:?} in {view}, hears {leader:?}, decided {decided}\n", node.node)
    });
    told.collect()
}

/// What the first primary knows to be decided.
async fn decided(rig: &mut Rig) -> Result<Slot, Failed> {
    let status = rig.status(NodeId(FIRST)).await;
    Ok(status.ok_or("the first primary does not answer")?.decided)
}

/// The cluster as those know it who have heard of this node only, wherever it says the others are.
fn only(cluster: &Cluster, node: u16) -> Cluster {
    let mut seen = cluster.clone();
    seen.nodes.retain(|member| member.id.0 == node);
    seen
}

fn message(text: &'static str) -> Bytes {
    let (sender, text) = (Bytes::from_static(b"captive"), Bytes::from_static(text.as_bytes()));
    Message { sender, text }.encode()
}
