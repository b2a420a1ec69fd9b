//! The table of cuts of the poll service: each link and each member of primary, backup and witness
//! cut off while polls are opened, and healed again.
//!
//! Each member runs on a host, and each of three clients on one of its own. The first member is the
//! primary, the second its backup, the third the witness:
//!
//! | cut off | polls | announced |
//! | --- | --- | --- |
//! | primary and backup from each other | go on | no backup; joined after the heal |
//! | the primary from all | go on | a new view; the old primary is its backup after the heal |
//! | the witness from all | go on | nothing |
//! | the backup from all | go on | no backup; joined after the heal |
//! | the same, and the way back heals late | go on | the same |
//! | backup and witness from all | stop | nothing, as nobody can decide it |
//! | the primary stopped for less than an election | go on | whatever is true |
//!
//! One-line bugs that turn them red: a witness that follows a backup while it hears the primary;
//! a primary that stays without a quorum's echoes; a backup that is never dismissed, or attends
//! while the primary does not hear it; an announcement that is printed again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use indelible::local::{Place, Rig};
use indelible::paxos::NodeId;
use libtest_mimic::Failed;
use serde_json::Value;
use tokio::time::sleep;

use super::Play;
use super::network::Hosts;
use crate::history::PATIENCE;
use crate::locks::audit;
use crate::scale;
use crate::voters::{self, Desk, Office, Stream, Voter, both_in_office, expect, one_story, poller};

/// Members, on the first hosts.
const MEMBERS: u16 = 3;
const PRIMARY: u16 = 0;
const BACKUP: u16 = 1;
const WITNESS: u16 = 2;

/// Clients, on the others.
const NAMES: [&str; 3] = ["ann", "bob", "cyd"];

/// Long, so that a busy machine is no silence: five heartbeats are two seconds.
const ELECTION: Duration = Duration::from_millis(3200);

/// The primary is stopped for so many heartbeats, of which an election timeout has eight.
const STOPPED: u32 = 7;

/// `EX_UNAVAILABLE`.
const UNAVAILABLE: i32 = 69;

/// The plays by name.
type Case = (&'static str, fn(PathBuf) -> Play);

const CASES: [Case; 7] = [
    ("polls::the_link_of_primary_and_backup", |data| Box::pin(link(data))),
    ("polls::the_primary_is_cut_off_and_comes_back_as_backup", |data| Box::pin(primary(data))),
    ("polls::the_witness_is_cut_off", |data| Box::pin(witness(data))),
    ("polls::the_backup_is_cut_off", |data| Box::pin(backup(data))),
    ("polls::the_way_back_heals_late", |data| Box::pin(way_back(data))),
    ("polls::backup_and_witness_are_cut_off", |data| Box::pin(both(data))),
    ("polls::the_primary_is_stopped_for_less_than_an_election", |data| Box::pin(stopped(data))),
];

/// The trials, one for each line of the table.
pub(super) fn names() -> impl Iterator<Item = String> {
    CASES.iter().map(|(name, _)| (*name).to_owned())
}

/// The play of this name.
pub(super) fn play(name: &str, data: &Path) -> Option<Play> {
    let (_, play) = CASES.iter().find(|(known, _)| *known == name)?;
    Some(play(data.to_owned()))
}

/// Members and clients at work.
struct Scene {
    voters: Vec<Voter>,
    rig: Rig,
    places: Vec<Place>,
    hosts: Hosts,
    /// Polls that were opened by hand.
    opened: u64,
    is_over: bool,
}

impl Scene {
    /// The first member presides, the second has joined it, the clients have heard of that. The
    /// third client answers so.
    async fn set(data: &Path, answer: &str) -> Result<Scene, Failed> {
        let hosts = Hosts::make(MEMBERS + NAMES.len() as u16)?;
        let places = hosts.places();
        let members = places[..usize::from(MEMBERS)].to_vec();
        let mut rig = Rig::format_at(voters::options(data), members, voters::shape)?;
        rig.set_election(ELECTION)?;
        rig.start_all()?;
        rig.ready(PATIENCE).await?;
        let office = both_in_office(&poller(&rig)).await?;
        assert_eq!(office, Office::new(1, PRIMARY, &[BACKUP]));
        let mut scene = Scene { voters: Vec::new(), rig, places, hosts, opened: 0, is_over: false };
        for (at, answer) in ["yes", "no", answer].into_iter().enumerate() {
            let voter = scene.voter(at, answer)?;
            scene.voters.push(voter);
        }
        voters::joined(&poller(&scene.rig), &NAMES).await?;
        scene.announced(&office).await?;
        Ok(scene)
    }

    /// Starts a client on its host. It dies with us, as the nodes do.
    fn voter(&self, at: usize, answer: &str) -> Result<Voter, Failed> {
        let tied = ["setpriv", "--pdeathsig=KILL", "--"].map(str::to_owned);
        let place = &self.places[usize::from(MEMBERS) + at];
        let enter = [&tied[..], &place.enter].concat();
        let results = self.rig.folder().join(format!("{}.results", NAMES[at]));
        let desk = Desk::at(&self.rig, &enter, "3s");
        Voter::spawn(&desk, &["--name", NAMES[at], "--answer", answer], results)
    }

    fn stream(&self) -> Stream {
        Stream::start(&self.rig, Rng::with_seed(scale::seed()), Duration::from_secs(1))
    }

    /// Nothing that one of these sends arrives at anybody, nor the other way.
    fn cut_off(&self, members: &[u16]) -> Result<(), Failed> {
        self.hosts.cut(|from, to| members.contains(&from) || members.contains(&to))?;
        members.iter().try_for_each(|member| self.hosts.cut_tester_off(*member))
    }

    /// Opens a poll that stays open until it is closed, or all have answered.
    async fn open(&mut self, question: &str) -> Result<(), Failed> {
        self.opened += 1;
        expect(&self.rig, &["open", question], 0, ": 3 are asked").await.map(drop)
    }

    /// Polls open and close: several more of the stream, and one by hand.
    async fn goes_on(&mut self, stream: &Stream) -> Result<(), Failed> {
        stream.more(3).await?;
        self.opened += 1;
        let said = expect(&self.rig, &["open", "still?", "--for=2s", "--wait"], 0, "3 are").await?;
        assert!(said.contains("% voted yes"), "{said}");
        Ok(())
    }

    /// Waits until all clients have heard of this office last.
    async fn announced(&self, office: &Office) -> Result<(), Failed> {
        for voter in &self.voters {
            voter.announces(&self.rig, office).await?;
        }
        Ok(())
    }

    /// All clients have heard of these offices, and no others.
    fn heard(&self, course: &[Office]) -> Result<(), Failed> {
        for voter in &self.voters {
            assert_eq!(voter.course(&self.rig)?, course, "{}", voter.name);
        }
        Ok(())
    }

    /// Waits until a member has logged this.
    async fn logged(&self, node: u16, text: &str) -> Result<(), Failed> {
        let log = || self.rig.log(NodeId(node));
        let why = || format!("node {node} has not logged \"{text}\":\n{}", log());
        voters::until(|| if log().contains(text) { Ok(()) } else { Err(why()) }).await
    }

    /// What `poll status` says of the members, asked from here: `-` is no answer.
    async fn roles(&self) -> Result<Vec<String>, Failed> {
        let (_, told, why) = Desk::here(&self.rig).said(&["status", "--json"]).await?;
        let told: Value = serde_json::from_str(&told).map_err(|_| format!("{told}\n{why}"))?;
        let nodes = told["nodes"].as_array().ok_or("no nodes")?;
        Ok(nodes.iter().map(|node| node["role"].as_str().unwrap_or("-").to_owned()).collect())
    }

    /// Waits until `poll status` says so.
    async fn shows(&self, roles: [&str; 3]) -> Result<(), Failed> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.roles().await?;
            if found == roles {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("{found:?}, not {roles:?}").into());
            }
        }
    }

    /// Waits until one is primary and the other has joined it.
    async fn settled(&self) -> Result<Office, Failed> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut roles = self.roles().await?;
            roles.sort();
            if roles == ["backup", "primary", "witness"] {
                return both_in_office(&poller(&self.rig)).await;
            }
            if Instant::now() > until {
                return Err(format!("{roles:?}").into());
            }
        }
    }

    /// Who asks there is told that there is no quorum, and since when.
    async fn is_refused(&self, enter: &[String], words: &[&str]) -> Result<String, Failed> {
        let said = Desk::at(&self.rig, enter, "2s").said(words).await?;
        assert_eq!(said.0, UNAVAILABLE, "{said:?}");
        assert!(said.2.contains("no quorum since ") && said.2.contains(" UTC"), "{said:?}");
        Ok(said.1)
    }

    fn heal(&self) -> Result<(), Failed> {
        assert!(self.hosts.heal()? > 0, "nothing was cut");
        Ok(())
    }

    /// The end: all have heard of this office last, the ids are dense, the files right, and the
    /// disks pass.
    async fn finish(mut self, stream: Stream, office: &Office, name: &str) -> Result<(), Failed> {
        self.goes_on(&stream).await?;
        self.announced(office).await?;
        let (streamed, _) = stream.end().await?;
        let opened = self.opened + streamed;
        let asked = voters::files_are_right(&self.rig, &self.voters, opened).await?;
        let heard = one_story(&self.rig)?;
        eprintln!("hosts: polls: {name}: {opened} polls, {asked} asked, {heard} announcements");
        self.voters.clear();
        self.rig.ready(PATIENCE).await?;
        audit(&mut self.rig)?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // It has failed: what the members logged tells why.
        for node in (0..MEMBERS).filter(|_| !self.is_over) {
            eprintln!("node {node}:\n{}", self.rig.log(NodeId(node)));
        }
    }
}

/// Both reach the witness, which stays with the primary: the backup does nothing.
async fn link(data: PathBuf) -> Result<(), Failed> {
    let mut scene = Scene::set(&data, "random").await?;
    let stream = scene.stream();
    let pair = [PRIMARY, BACKUP];
    scene.hosts.cut(|from, to| pair.contains(&from) && pair.contains(&to))?;
    let alone = Office::new(1, PRIMARY, &[]);
    scene.announced(&alone).await?;
    scene.logged(BACKUP, "suspended: no quorum since ").await?;
    scene.shows(["primary", "suspended", "witness"]).await?;
    scene.goes_on(&stream).await?;
    scene.shows(["primary", "suspended", "witness"]).await?;
    scene.heal()?;
    let office = Office::new(1, PRIMARY, &[BACKUP]);
    scene.announced(&office).await?;
    scene.logged(BACKUP, "no longer suspended").await?;
    scene.shows(["primary", "backup", "witness"]).await?;
    scene.heard(&[office.clone(), alone, office.clone()])?;
    assert!(!scene.rig.log(NodeId(PRIMARY)).contains("suspended"), "the primary has a quorum");
    scene.finish(stream, &office, "link").await
}

/// The backup takes over with all that is open; the old primary answers nobody, and comes back as
/// backup.
async fn primary(data: PathBuf) -> Result<(), Failed> {
    let mut scene = Scene::set(&data, "ask").await?;
    scene.open("until the third has answered?").await?;
    scene.open("until it is closed?").await?;
    let stream = scene.stream();
    stream.more(1).await?;
    scene.cut_off(&[PRIMARY])?;
    let alone = Office::new(2, BACKUP, &[]);
    scene.announced(&alone).await?;
    scene.logged(PRIMARY, "suspended: no quorum since ").await?;
    let there = scene.places[usize::from(PRIMARY)].enter.clone();
    scene.is_refused(&there, &["open", "anybody?"]).await?;
    let told = scene.is_refused(&there, &["status", "--json"]).await?;
    assert!(told.contains("\"role\":\"suspended\"") && !told.contains("\"primary\""), "{told}");
    scene.goes_on(&stream).await?;
    let open = expect(&scene.rig, &["show", "1"], 0, "2 of 3 voted").await?;
    assert!(!open.contains("closed"), "{open}");
    scene.voters[2].answer("y")?;
    scene.voters[2].prints("poll 1: 66 % voted yes (2 yes, 1 no, 0 abstained)").await?;
    expect(&scene.rig, &["close", "2"], 0, "poll 2: 33 % voted yes (1 yes, 1 no, 1").await?;
    scene.shows(["-", "primary", "witness"]).await?;
    scene.heal()?;
    let office = Office::new(2, BACKUP, &[PRIMARY]);
    scene.announced(&office).await?;
    scene.logged(PRIMARY, "no longer suspended").await?;
    // Long enough for whoever would take its office back.
    sleep(ELECTION * 2).await;
    scene.shows(["backup", "primary", "witness"]).await?;
    scene.heard(&[Office::new(1, PRIMARY, &[BACKUP]), alone, office.clone()])?;
    scene.finish(stream, &office, "primary").await
}

/// Nobody but the operator is told.
async fn witness(data: PathBuf) -> Result<(), Failed> {
    let mut scene = Scene::set(&data, "random").await?;
    let stream = scene.stream();
    scene.cut_off(&[WITNESS])?;
    scene.logged(PRIMARY, "the witness, node 2, has missed 5 heartbeats").await?;
    scene.goes_on(&stream).await?;
    sleep(ELECTION * 2).await;
    scene.shows(["primary", "backup", "-"]).await?;
    scene.goes_on(&stream).await?;
    scene.heal()?;
    scene.logged(PRIMARY, "the witness, node 2, is heard again").await?;
    scene.shows(["primary", "backup", "witness"]).await?;
    let office = Office::new(1, PRIMARY, &[BACKUP]);
    scene.heard(std::slice::from_ref(&office))?;
    scene.finish(stream, &office, "witness").await
}

/// The primary goes on with the witness.
async fn backup(data: PathBuf) -> Result<(), Failed> {
    let mut scene = Scene::set(&data, "random").await?;
    let stream = scene.stream();
    scene.cut_off(&[BACKUP])?;
    let alone = Office::new(1, PRIMARY, &[]);
    scene.announced(&alone).await?;
    scene.logged(PRIMARY, "the backup, node 1, has missed 5 heartbeats").await?;
    scene.goes_on(&stream).await?;
    scene.shows(["primary", "-", "witness"]).await?;
    scene.heal()?;
    let office = Office::new(1, PRIMARY, &[BACKUP]);
    scene.announced(&office).await?;
    scene.logged(PRIMARY, "the backup, node 1, is heard again").await?;
    scene.shows(["primary", "backup", "witness"]).await?;
    scene.heard(&[office.clone(), alone, office.clone()])?;
    scene.finish(stream, &office, "backup").await
}

/// TCP tries ever more rarely: after a heal the backup may hear the primary, and be reached by all,
/// long before the primary hears it. It has not joined before that.
async fn way_back(data: PathBuf) -> Result<(), Failed> {
    let scene = Scene::set(&data, "random").await?;
    let stream = scene.stream();
    scene.cut_off(&[BACKUP])?;
    let alone = Office::new(1, PRIMARY, &[]);
    scene.announced(&alone).await?;
    scene.heal()?;
    scene.hosts.sever(BACKUP, PRIMARY)?;
    sleep(ELECTION * 2).await;
    scene.shows(["primary", "joining", "witness"]).await?;
    let office = Office::new(1, PRIMARY, &[BACKUP]);
    scene.announced(&office).await?;
    scene.heard(&[office.clone(), alone, office.clone()])?;
    scene.heal()?;
    scene.finish(stream, &office, "way back").await
}

/// The primary alone decides nothing, and says so to all who ask.
async fn both(data: PathBuf) -> Result<(), Failed> {
    let scene = Scene::set(&data, "random").await?;
    let stream = scene.stream();
    stream.more(1).await?;
    scene.cut_off(&[BACKUP, WITNESS])?;
    scene.logged(PRIMARY, "suspended: no quorum since ").await?;
    scene.is_refused(&[], &["open", "anybody?"]).await?;
    let told = scene.is_refused(&[], &["status", "--json"]).await?;
    assert!(told.contains("\"role\":\"suspended\"") && !told.contains("\"primary\""), "{told}");
    for voter in &scene.voters {
        voter.prints("no quorum since ").await?;
        voter.prints(" UTC, says node 0; still asking").await?;
    }
    scene.heal()?;
    stream.more(1).await?;
    let office = scene.settled().await?;
    scene.finish(stream, &office, "backup and witness").await
}

/// Whether it stays is a matter of milliseconds; either way there is one.
async fn stopped(data: PathBuf) -> Result<(), Failed> {
    let mut scene = Scene::set(&data, "random").await?;
    let stream = scene.stream();
    stream.more(1).await?;
    scene.rig.stop(NodeId(PRIMARY));
    sleep(ELECTION / 8 * STOPPED).await;
    scene.rig.resume(NodeId(PRIMARY));
    scene.goes_on(&stream).await?;
    sleep(ELECTION * 2).await;
    let office = scene.settled().await?;
    scene.finish(stream, &office, "stopped").await
}
