//! What the core costs: a cluster of three in memory, without disk, socket or clock.
//!
//! Each measured turn proposes a batch at the leader and lets every message arrive until the batch
//! is decided everywhere; so it counts all that a command costs on three nodes, encoding excepted.
//! `cargo bench --bench core`

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use indelible::paxos::{
    AcceptorState, ClientId, Config, Envelope, Incarnation, Input, NodeId, Persister, Record,
    Replica, Request, RequestNumber, Slot, Timing, Wal,
};

const MEMBERS: u16 = 3;
const LEADER: NodeId = NodeId(0);
const BATCHES: [u64; 3] = [1, 16, 256];
const BODY_BYTES: usize = 256;
/// Batches before a cluster is replaced: what it holds grows, for nothing is trimmed here.
const BATCHES_PER_CLUSTER: u64 = 64;

/// A log that takes everything and keeps nothing: the disk is measured elsewhere.
#[derive(Debug)]
struct Nowhere;

impl Wal for Nowhere {
    type Error = Infallible;

    fn commit(&mut self, records: &[Record]) -> Result<(), Infallible> {
        black_box(records);
        Ok(())
    }

    fn load(&mut self) -> Result<AcceptorState, Infallible> {
        Ok(AcceptorState::default())
    }
}

/// Three replicas and the messages between them.
struct Cluster {
    nodes: Vec<(Replica, Persister<Nowhere>)>,
    flying: VecDeque<Envelope>,
    steps: u64,
    next: u64,
}

impl Cluster {
    /// A cluster that node 0 leads.
    fn elected() -> Cluster {
        let node = |id| {
            let timing = Timing::from_election(1000);
            let config = Config::new(NodeId(id), Incarnation(1), MEMBERS, timing);
            let replica = Replica::recover(config, AcceptorState::default());
            (replica, Persister::new(Nowhere))
        };
        let nodes = (0..MEMBERS).map(node).collect();
        let mut cluster = Cluster { nodes, flying: VecDeque::new(), steps: 0, next: 0 };
        cluster.turn(LEADER, vec![Input::Tick { elapsed: 100 }]);
        cluster.settle();
        assert!(cluster.nodes[0].0.is_leading(), "node 0 is first in the ring");
        cluster
    }

    /// Decides this many commands, as one batch.
    fn decide(&mut self, count: u64) {
        let first = self.next;
        self.next += count;
        let inputs = (first..self.next).map(proposal).collect();
        self.turn(LEADER, inputs);
        self.settle();
        let decided = self.nodes.iter().all(|(replica, _)| replica.decided() == Slot(self.next));
        assert!(decided, "every node knows {} slots decided", self.next);
    }

    fn settle(&mut self) {
        while let Some(envelope) = self.flying.pop_front() {
            self.turn(envelope.to, vec![Input::Message(envelope)]);
        }
    }

    /// One turn of a node's loop, as `Node::handle` does it.
    fn turn(&mut self, at: NodeId, mut inputs: Vec<Input>) {
        let (replica, persister) = &mut self.nodes[usize::from(at.0)];
        loop {
            self.steps += inputs.len() as u64 + 1;
            let mut steps = inputs.into_iter().chain([Input::Flush]);
            let first = replica.step(steps.next().expect("a flush at least"));
            let mut effects = steps.fold(first, |fx, input| fx.then(replica.step(input)));
            self.flying.extend(persister.release_early(&mut effects).into_messages());
            let mut released = persister.persist(effects).expect("cannot fail");
            let own = released.take_loopback(at);
            black_box(released.take_notices());
            self.flying.extend(released.into_messages());
            replica.note_applied(replica.decided(), None);
            if own.is_empty() {
                return;
            }
            inputs = own.into_iter().map(Input::Message).collect();
        }
    }
}

/// The only request of a client of its own: sessions are not what is measured.
fn proposal(index: u64) -> Input {
    static BODY: [u8; BODY_BYTES] = [7; BODY_BYTES];
    let one = RequestNumber(1);
    let request = Request {
        client: ClientId(u128::from(index)),
        number: one,
        low_water: one,
        ttl_ms: 0,
        time_ms: 0,
        body: Bytes::from_static(&BODY),
    };
    Input::Propose { request, applied: RequestNumber(0) }
}

fn batches(criterion: &mut Criterion) {
    for (what, per_step) in [("commands", false), ("steps", true)] {
        let mut group = criterion.benchmark_group(format!("core/{what}"));
        for size in BATCHES {
            let mut trial = Cluster::elected();
            let before = trial.steps;
            (0..BATCHES_PER_CLUSTER).for_each(|_| trial.decide(size));
            let work = if per_step { trial.steps - before } else { size * BATCHES_PER_CLUSTER };
            group.throughput(Throughput::Elements(work));
            group.bench_function(format!("batch of {size}"), |bencher| {
                let run = |mut cluster: Cluster| {
                    (0..BATCHES_PER_CLUSTER).for_each(|_| cluster.decide(size));
                    cluster
                };
                bencher.iter_batched(Cluster::elected, run, BatchSize::LargeInput);
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = core;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10);
    targets = batches
}
criterion_main!(core);
