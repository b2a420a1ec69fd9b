//! Draws a script for the master from a seed, and keeps book of what its answer may be.
//!
//! The model knows which servers are certainly alive. A bomb kills a server, but nobody knows
//! which or when, so it only lowers the number of those that certainly live; until every server
//! has been restarted (for a bomb of 0), or crashed by command (for an armed one, which dies with
//! its process). All that is claimed is claimed for the worst case.
//!
//! Each script begins with a message that everyone has read, so that no print is ever empty: the
//! prints can then be told apart in the output by their slot 0.

use std::collections::BTreeSet;

use fastrand::Rng;
use libtest_mimic::{Failed, Trial};

/// Who sent a message, and its text: the texts of a script all differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sent {
    /// The client.
    pub(crate) client: usize,
    /// The text as it must be printed.
    pub(crate) text: String,
}

/// A print that the script asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    /// Whose log.
    pub(crate) client: usize,
    /// So many of the messages sent so far must be in it, counted from the first.
    pub(crate) settled: usize,
    /// No message after this one can be in it.
    pub(crate) sent: usize,
    /// The number of the `allClear` with a living server just before it: prints of the same
    /// number must be equal.
    pub(crate) agreed: Option<usize>,
}

/// A script, and what it allows.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// The commands, a line each.
    pub(crate) lines: Vec<String>,
    /// All messages, in the order in which the master hands them over.
    pub(crate) sent: Vec<Sent>,
    /// All prints, in order.
    pub(crate) prints: Vec<Print>,
    /// Stretches of `sent` that were decided before a server failed: they keep the master's order.
    pub(crate) calm: Vec<std::ops::Range<usize>>,
    /// How many servers.
    pub(crate) servers: usize,
    /// Whether the majority was certainly lost for a while.
    pub(crate) lost_majority: bool,
    /// Whether all servers were certainly dead at some time.
    pub(crate) lost_all: bool,
}

/// What one part of a script does.
#[derive(Clone, Copy, Debug)]
enum Episode {
    Talk,
    Minority,
    Majority,
    Everyone,
    Bombs,
    Flapping,
}

/// Draws while it keeps book.
struct Author {
    rng: Rng,
    script: Script,
    clients: usize,
    dead: BTreeSet<usize>,
    /// Bombs that may have gone off, and those that may still be armed.
    blown: usize,
    armed: usize,
    /// Servers crashed by command since the last bomb was armed.
    disarmed: BTreeSet<usize>,
    settled: usize,
    clears: usize,
    agreed: Option<usize>,
    calm_since: Option<usize>,
}

impl Script {
    /// The script of this seed: the same for ever.
    pub(crate) fn draw(seed: u64) -> Script {
        let mut rng = Rng::with_seed(seed);
        let (servers, clients) = (rng.usize(1..=7), rng.usize(1..=4));
        let mut author = Author::new(rng, servers, clients);
        author.opening();
        for episode in author.plot() {
            author.play(episode);
        }
        author.ending();
        author.script
    }

    /// What the master reads.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = self.lines.join("\n").into_bytes();
        text.push(b'\n');
        text
    }
}

impl Author {
    fn new(rng: Rng, servers: usize, clients: usize) -> Author {
        let mut script = Script { servers, ..Script::default() };
        script.lines.push(format!("start {servers} {clients}"));
        Author {
            rng,
            script,
            clients,
            dead: BTreeSet::new(),
            blown: 0,
            armed: 0,
            disarmed: BTreeSet::new(),
            settled: 0,
            clears: 0,
            agreed: None,
            calm_since: Some(0),
        }
    }

    fn opening(&mut self) {
        self.send();
        self.clear();
    }

    /// Three to six episodes; in two of three scripts the majority is lost at least once.
    fn plot(&mut self) -> Vec<Episode> {
        use Episode::{Bombs, Everyone, Flapping, Majority, Minority, Talk};
        let mut plot: Vec<Episode> = match self.rng.u8(0..6) {
            0..=2 => vec![Majority],
            3 => vec![Everyone],
            _ => vec![Talk],
        };
        for _ in 0..self.rng.usize(2..=5) {
            let all = [Talk, Talk, Minority, Minority, Majority, Everyone, Bombs, Bombs, Flapping];
            plot.push(all[self.rng.usize(..all.len())]);
        }
        self.rng.shuffle(&mut plot);
        plot
    }

    fn play(&mut self, episode: Episode) {
        match episode {
            Episode::Talk => self.talk(6),
            Episode::Minority => self.crash_some((self.script.servers - 1) / 2),
            Episode::Majority => self.outage(self.script.servers.div_ceil(2)),
            Episode::Everyone => self.outage(self.script.servers),
            Episode::Bombs => self.bombs(),
            Episode::Flapping => self.flapping(),
        }
        if self.rng.bool() {
            self.clear();
            self.print_someone();
        }
    }

    fn talk(&mut self, most: usize) {
        for _ in 0..self.rng.usize(1..=most) {
            self.send();
        }
    }

    fn crash_some(&mut self, count: usize) {
        let mut servers: Vec<usize> = (0..self.script.servers).collect();
        self.rng.shuffle(&mut servers);
        for server in servers.into_iter().take(count) {
            self.crash(server);
            if self.rng.u8(0..3) == 0 {
                self.send();
            }
        }
    }

    /// At least `count` servers die, something is said, and they return.
    fn outage(&mut self, count: usize) {
        self.crash_some(count);
        self.talk(3);
        if self.rng.bool() {
            self.clear();
            self.print_someone();
            self.talk(2);
        }
        self.restart_all();
        if self.rng.bool() {
            self.clear();
        }
    }

    fn bombs(&mut self) {
        for _ in 0..self.rng.usize(1..=2) {
            let fuse = if self.rng.bool() { 0 } else { self.rng.u64(1..=9) };
            self.bomb(fuse);
            self.talk(4);
            if self.rng.bool() {
                self.clear();
            }
        }
        if self.rng.u8(0..3) > 0 {
            self.restart_all();
        }
    }

    /// Servers go and come without a rest.
    fn flapping(&mut self) {
        for _ in 0..self.rng.usize(2..=4) {
            let server = self.rng.usize(..self.script.servers);
            self.crash(server);
            self.talk(2);
            self.restart(server);
        }
    }

    /// Mostly everyone returns and all that was sent must be there; sometimes it stays dark.
    fn ending(&mut self) {
        if self.rng.u8(0..6) > 0 {
            if self.armed > 0 {
                (0..self.script.servers).for_each(|server| self.crash(server));
            }
            self.restart_all();
        }
        self.clear();
        if self.rng.bool() {
            self.talk(3);
            self.clear();
        }
        (0..self.clients).for_each(|client| self.print(client));
        self.end_calm();
    }

    fn send(&mut self) {
        const FLOURISHES: [&str; 5] = ["", " and more", " 0 0: hello", "  two  blanks", " grüße ✓"];
        let client = self.rng.usize(..self.clients);
        let flourish = FLOURISHES[self.rng.usize(..FLOURISHES.len())];
        let text = format!("m{}{flourish}", self.script.sent.len());
        let cut = if self.rng.u8(0..8) == 0 { "  " } else { "" };
        self.script.lines.push(format!("sendMessage {client} {text}{cut}"));
        self.script.sent.push(Sent { client, text });
        self.agreed = None;
    }

    fn clear(&mut self) {
        self.script.lines.push("allClear".to_owned());
        self.clears += 1;
        if self.surely_alive() > 0 {
            self.agreed = Some(self.clears);
        }
        if self.has_majority() {
            self.settled = self.script.sent.len();
            let calm = self.armed == 0;
            self.calm_since = self.calm_since.or(calm.then_some(self.settled));
        }
    }

    fn print(&mut self, client: usize) {
        self.script.lines.push(format!("printChatLog {client}"));
        let (settled, sent) = (self.settled, self.script.sent.len());
        self.script.prints.push(Print { client, settled, sent, agreed: self.agreed });
    }

    fn print_someone(&mut self) {
        let client = self.rng.usize(..self.clients);
        self.print(client);
    }

    fn crash(&mut self, server: usize) {
        self.script.lines.push(format!("crashServer {server}"));
        self.dead.insert(server);
        self.disarmed.insert(server);
        if self.disarmed.len() == self.script.servers {
            self.armed = 0;
        }
        let alive_at_most = self.script.servers - self.dead.len();
        self.script.lost_majority |= alive_at_most < self.quorum();
        self.script.lost_all |= alive_at_most == 0;
        self.end_calm();
    }

    fn restart(&mut self, server: usize) {
        self.script.lines.push(format!("restartServer {server}"));
        self.dead.remove(&server);
        self.agreed = None;
    }

    /// Whoever is alive ignores it: afterwards no earlier explosion counts.
    fn restart_all(&mut self) {
        (0..self.script.servers).for_each(|server| self.restart(server));
        self.blown = 0;
    }

    fn bomb(&mut self, fuse: u64) {
        self.script.lines.push(format!("timeBombLeader {fuse}"));
        if fuse == 0 {
            self.blown += 1;
        } else {
            self.armed += 1;
            self.disarmed.clear();
        }
        self.end_calm();
    }

    fn end_calm(&mut self) {
        // What was not decided when a server failed is handed over again, in any order.
        if let Some(first) = self.calm_since.take().filter(|first| *first < self.settled) {
            self.script.calm.push(first..self.settled);
        }
        self.agreed = None;
    }

    fn quorum(&self) -> usize {
        self.script.servers / 2 + 1
    }

    fn surely_alive(&self) -> usize {
        (self.script.servers - self.dead.len()).saturating_sub(self.blown + self.armed)
    }

    fn has_majority(&self) -> bool {
        self.surely_alive() >= self.quorum()
    }
}

/// The trials of this module: what it draws is worth running.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("scripts::a_seed_is_a_script", || {
            assert_eq!(Script::draw(7).lines, Script::draw(7).lines);
            assert_ne!(Script::draw(7).lines, Script::draw(8).lines);
            Ok(())
        }),
        Trial::test("scripts::cover_what_they_should", coverage),
    ]
}

fn coverage() -> Result<(), Failed> {
    let scripts: Vec<Script> = (0..200).map(Script::draw).collect();
    let count = |what: fn(&Script) -> bool| scripts.iter().filter(|s| what(s)).count();
    let has = |word: &str| {
        let with = |s: &&Script| s.lines.iter().any(|line| line.starts_with(word));
        scripts.iter().filter(with).count()
    };
    assert!(count(|s| s.lost_majority) * 3 >= scripts.len(), "too few lose the majority");
    assert!(count(|s| s.lost_all) >= 20, "too few lose all servers");
    assert!(has("timeBombLeader") >= 40, "too few have bombs");
    assert!(count(|s| !s.calm.is_empty()) >= 40, "too few have a calm stretch");
    let complete = count(|s| s.prints.last().is_some_and(|p| p.settled == s.sent.len()));
    assert!(complete >= 120, "only {complete} must have all messages in the end");
    for servers in 1..=7 {
        assert!(scripts.iter().any(|s| s.servers == servers), "none has {servers} servers");
    }
    Ok(())
}
