//! The protocol as a book of transcripts: each file of `scripts` is a scenario that runs here.
//!
//! Read in their order, they tell a newcomer what the protocol does and why. `rig` is a cluster in
//! memory, driven by hand through the public face of the core, message by message; `show` says in
//! fixed columns what happens. After every command the invariants are checked over all nodes, so a
//! transcript that was renewed without care still cannot show two truths.
//!
//! `UPDATE_GOLDENFILES=1 cargo test --test golden` renews the transcripts; the difference is to be
//! read against the protocol's rules, line by line.

mod rig;
mod show;

use std::error::Error;

use goldenscript::{Command, Context, Runner};

use indelible::paxos::{Digest, Input, Message, NodeId, ReadId, Slot, invariants};
use rig::{Cut, Rig};

type Outcome = Result<String, Box<dyn Error>>;

#[test]
fn the_scripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/scripts");
    let files = std::fs::read_dir(folder).expect("the folder of scripts");
    let mut paths: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
    paths.sort();
    assert!(paths.len() >= 38, "the book is whole: {} scripts", paths.len());
    for path in paths {
        println!("{}", path.display());
        goldenscript::run(&mut Script::default(), &path).expect("a script that can be read");
    }
}

/// A script under way.
#[derive(Default)]
struct Script {
    rig: Rig,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Outcome {
        let mut args = command.consume_args();
        let mut words: Vec<&str> = Vec::new();
        let mut keys: Vec<(&str, &str)> = Vec::new();
        while let Some(word) = args.next_pos() {
            words.push(word);
        }
        while let Some(pair) = args.next_key() {
            keys.push(pair);
        }
        let out = self.dispatch(&command.name, &words, &keys)?;
        self.rig.check()?;
        Ok(out)
    }
}

impl Script {
    fn dispatch(&mut self, name: &str, words: &[&str], keys: &[(&str, &str)]) -> Outcome {
        match name {
            "cluster" => self.cluster(words, keys),
            "tick" => self.tick(words),
            "propose" => self.propose(words),
            "read" => self.turn(words, |word| Ok(Input::Read(ReadId(word.parse()?)))),
            "reset" => self.turn(words, |word| Ok(Input::Reset(node(word)?))),
            "skip" => self.turn(words, |word| Ok(Input::Skip(word.parse()?))),
            "trim" => self.turn(words, |word| Ok(Input::Trim(Slot(word.parse()?)))),
            "install" => self.turn(words, |word| Ok(Input::Install(Slot(word.parse()?)))),
            "heal" => {
                let node = node(first(words)?)?;
                Ok(self.rig.turn(node, vec![Input::Heal]))
            }
            "deliver" => Ok(self.rig.deliver(&Filter::new(words, keys)?)),
            "settle" => Ok(self.rig.settle()),
            "drop" => Ok(self.rig.lose(&Filter::new(words, keys)?)),
            "hold" => Ok(self.rig.hold(&Filter::new(words, keys)?)),
            "replay" => Ok(self.rig.replay()),
            "flying" => Ok(self.rig.flying()),
            "partition" => self.partition(words),
            "crash" => self.crash(words, keys),
            "restart" => self.rig.restart(node(first(words)?)?),
            "checkpoint" => self.checkpoint(words),
            "status" => Ok(self.rig.status()),
            "disk" => Ok(self.rig.disk(node(first(words)?)?)),
            unknown => Err(format!("no such command: {unknown}").into()),
        }
    }

    /// `cluster MEMBERS [window=RUNS] [slots=WINDOW] [chunk=BYTES] [skip=SLOT,..]`: a new one, all
    /// nodes with empty disks.
    fn cluster(&mut self, words: &[&str], keys: &[(&str, &str)]) -> Outcome {
        self.rig = Rig::new(first(words)?.parse()?);
        for (key, value) in keys {
            match *key {
                "window" => self.rig.limits.window_runs = value.parse()?,
                "slots" => self.rig.limits.window_slots = value.parse()?,
                "skip" => {
                    let slots = value.split(',').map(|slot| Ok(Slot(slot.parse()?)));
                    self.rig.skip_slots = slots.collect::<Result<_, Box<dyn Error>>>()?;
                }
                "chunk" => self.rig.limits.chunk_bytes = value.parse()?,
                unknown => return Err(format!("no such setting: {unknown}").into()),
            }
        }
        self.rig.start()
    }

    /// `tick NODE... TICKS` or `tick all TICKS`.
    fn tick(&mut self, words: &[&str]) -> Outcome {
        let (ticks, nodes) = words.split_last().ok_or("how many ticks?")?;
        let elapsed = ticks.parse()?;
        let nodes = match nodes {
            ["all"] => self.rig.living(),
            some => some.iter().map(|word| node(word)).collect::<Result<Vec<_>, _>>()?,
        };
        let turns =
            nodes.into_iter().map(|node| self.rig.turn(node, vec![Input::Tick { elapsed }]));
        Ok(turns.collect())
    }

    /// `propose NODE REQUEST...`: requests that arrive together, such as `a1 a2 b1`.
    fn propose(&mut self, words: &[&str]) -> Outcome {
        let (at, requests) = words.split_first().ok_or("at which node?")?;
        let at = node(at)?;
        let requests = requests.iter().map(|word| show::request(word));
        let requests = requests.collect::<Option<Vec<_>>>().ok_or("a letter and a number")?;
        let inputs = requests.into_iter().map(|request| self.rig.proposal(at, request)).collect();
        Ok(self.rig.turn(at, inputs))
    }

    /// `checkpoint NODE SLOT HASH`: the state of that node, or of `all`, at that slot.
    fn checkpoint(&mut self, words: &[&str]) -> Outcome {
        let [at, slot, hash] = words else { return Err("a node, a slot and a hash".into()) };
        let nodes = if *at == "all" { self.rig.living() } else { vec![node(at)?] };
        let slot = Slot(slot.parse()?);
        let digest = Digest { slot, hash: u64::from_str_radix(hash, 16)? };
        nodes.into_iter().for_each(|node| self.rig.checkpoint(node, digest));
        Ok(String::new())
    }

    /// A command of a node, or of `all`, and one word.
    fn turn(
        &mut self,
        words: &[&str],
        input: impl Fn(&str) -> Result<Input, Box<dyn Error>>,
    ) -> Outcome {
        let [at, word] = words else { return Err("a node and one word more".into()) };
        let nodes = if *at == "all" { self.rig.living() } else { vec![node(at)?] };
        let input = input(word)?;
        Ok(nodes.into_iter().map(|node| self.rig.turn(node, vec![input.clone()])).collect())
    }

    /// `partition n0-n1 n2`: what crosses between groups is lost; without groups all is well again.
    fn partition(&mut self, groups: &[&str]) -> Outcome {
        let group = |word: &&str| word.split('-').map(node).collect::<Result<Vec<_>, _>>();
        self.rig.groups = groups.iter().map(group).collect::<Result<_, _>>()?;
        Ok(String::new())
    }

    /// `crash NODE`: now. `crash NODE commit=K`: in its next commit, K records being written.
    fn crash(&mut self, words: &[&str], keys: &[(&str, &str)]) -> Outcome {
        let node = node(first(words)?)?;
        match keys {
            [] => Ok(self.rig.crash(node)),
            [("commit", written)] => {
                self.rig.doom(node, Cut { written: written.parse()? });
                Ok(String::new())
            }
            other => Err(format!("how can it crash so: {other:?}").into()),
        }
    }
}

/// Which of the messages under way are meant: by kind, `from` and `to`; all, if nothing is said.
struct Filter {
    kinds: Vec<String>,
    from: Option<NodeId>,
    to: Option<NodeId>,
}

impl Filter {
    fn new(words: &[&str], keys: &[(&str, &str)]) -> Result<Filter, Box<dyn Error>> {
        let kinds = words.iter().map(|word| (*word).to_owned()).collect();
        let mut filter = Filter { kinds, from: None, to: None };
        for (key, value) in keys {
            match *key {
                "from" => filter.from = Some(node(value)?),
                "to" => filter.to = Some(node(value)?),
                unknown => return Err(format!("no such filter: {unknown}").into()),
            }
        }
        Ok(filter)
    }

    fn takes(&self, from: NodeId, to: NodeId, message: &Message) -> bool {
        let kind = self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == message.kind());
        kind && self.from.is_none_or(|node| node == from) && self.to.is_none_or(|node| node == to)
    }
}

fn node(word: &str) -> Result<NodeId, Box<dyn Error>> {
    let number = word.strip_prefix('n').ok_or_else(|| format!("not a node: {word}"))?;
    Ok(NodeId(number.parse()?))
}

fn first<'a>(words: &[&'a str]) -> Result<&'a str, Box<dyn Error>> {
    words.first().copied().ok_or_else(|| "a word is missing".into())
}

/// R5 can fail: a leader whose disk holds more undecided slots than its window.
#[test]
fn a_leader_beyond_its_window() {
    let mut rig = Rig::new(1);
    rig.start().expect("starts");
    rig.turn(NodeId(0), vec![Input::Tick { elapsed: 20 }]);
    rig.turn(NodeId(0), vec![Input::Skip(5000), Input::Flush]);
    let propose = rig.proposal(NodeId(0), show::request("a1").expect("a request"));
    rig.turn(NodeId(0), vec![propose]);
    let replica = rig.replica(NodeId(0)).expect("alive");
    assert!(replica.is_leading() && replica.decided() == Slot(0));
    assert_eq!(invariants::r5(replica, 5000), Ok(()));
    let broken = invariants::r5(replica, 0).expect_err("beyond the window");
    assert_eq!(broken.invariant, "R5");
}
