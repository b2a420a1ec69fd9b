//! What happens, in fixed columns: node, lane, receivers, message.

use std::fmt::Write as _;

use indelible::paxos::{
    AcceptorState, Ballot, Chain, ClientId, Command, Difference, Digest, Envelope, Input, Message,
    NodeId, Notice, PValue, Record, Rejection, Replica, Request, RequestNumber, Run, Slot,
};

/// A request by the name it has in scripts: the client's letter, and the number.
pub(super) fn request(name: &str) -> Option<Request> {
    let mut chars = name.chars();
    let letter = chars.next().filter(char::is_ascii_lowercase)?;
    Some(Request {
        client: ClientId(u128::from(u32::from(letter))),
        number: RequestNumber(chars.as_str().parse().ok()?),
        low_water: RequestNumber(1),
        ttl_ms: 0,
        time_ms: 0,
        body: bytes::Bytes::new(),
    })
}

fn letter(client: ClientId) -> char {
    char::from(client.0 as u8)
}

fn command(command: &Command) -> String {
    match command {
        Command::Noop => "noop".to_owned(),
        Command::End(client) => format!("end of {client}"),
        Command::Wake(time_ms) => format!("wake at {time_ms}"),
        Command::Request(request) => format!("{}{}", letter(request.client), request.number),
    }
}

fn commands(all: &[Command]) -> String {
    all.iter().map(command).collect::<Vec<_>>().join(" ")
}

fn ballot(ballot: Option<Ballot>) -> String {
    ballot.map_or("-".to_owned(), |ballot| ballot.to_string())
}

/// `0..2 a1 a2 after 0`.
fn run(run: &Run) -> String {
    let all = commands(&run.commands);
    format!("{} {}..{} [{all}] after {}", run.ballot, run.first, run.end(), run.after)
}

fn pvalues(all: &[PValue]) -> String {
    let one = |p: &PValue| format!("{}:{}@{}", p.slot, command(&p.command), p.ballot);
    all.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn chain(chain: Option<Chain>) -> String {
    chain.map_or("-".to_owned(), |chain| format!("{} {}..{}", chain.ballot, chain.from, chain.end))
}

fn message(message: &Message) -> String {
    let kind = message.kind();
    let rest = match message {
        Message::Prepare(m) => m.ballot.to_string(),
        Message::Promise(m) => {
            let shown = pvalues(&m.accepted);
            let highest = ballot(m.accepted_in);
            format!("{} mark {} in {highest} [{shown}]", m.ballot, m.mark)
        }
        Message::Preempted(m) => format!("{} by {}", m.refused, m.promised),
        Message::Accept(m) => format!("{} watermark {}", run(&m.run), m.watermark),
        Message::Accepted(m) => format!("{} {}..{}", m.ballot, m.from, m.up_to),
        Message::Resend(m) => m.ballot.to_string(),
        Message::Decide(m) => format!("{} watermark {}", m.ballot, m.watermark),
        Message::Heartbeat(m) => {
            let (watermark, decided) = (m.watermark, m.decided);
            let known: String = m.digests.iter().map(|(node, it)| state(Some(*node), it)).collect();
            format!("{} round {} watermark {watermark} decided {decided}{known}", m.ballot, m.round)
        }
        Message::Echo(m) => {
            let own: String = m.digest.iter().map(|it| state(None, it)).collect();
            format!("{} round {} decided {}{own}", m.ballot, m.round, m.decided)
        }
        Message::Canvass(m) => format!("{} decided {}", m.round, m.decided),
        Message::CanvassAnswer(m) => {
            let answer = if m.yes { "yes" } else { "no" };
            let promised = ballot(m.promised);
            format!("{} {answer} promised {promised} decided {}", m.round, m.decided)
        }
        Message::CatchUpAsk(m) => format!("from {}", m.from),
        Message::CatchUp(m) => {
            let trimmed = if m.trimmed == Slot(0) {
                String::new()
            } else {
                format!(" trimmed below {}", m.trimmed)
            };
            let (first, decided) = (m.first, m.decided);
            format!("from {first} [{}] decided {decided}{trimmed}", commands(&m.commands))
        }
        Message::Transfer(m) => format!("{} bytes", m.body.len()),
        Message::Pledged(m) => {
            let one = |(node, _, pledges): &(NodeId, _, u64)| format!(" {node} {pledges}");
            let others: String = m.others.iter().map(one).collect();
            format!("{}{others}", m.pledges)
        }
        Message::Recall(m) => format!("store {}", m.incarnation.0),
        Message::Recollection(m) => format!("store {} pledges {}", m.of.0, m.pledges),
        Message::Rejoin(m) => format!("store {}", m.incarnation.0),
        Message::Holds(m) => format!("below {}", m.below),
        Message::Testimony(m) => {
            let (promised, chain) = (ballot(m.promised), chain(m.chain));
            let (mark, shown) = (m.mark, pvalues(&m.accepted));
            format!("for {} promised {promised} mark {mark} chain {chain} [{shown}]", m.to.0)
        }
    };
    format!("{kind} {rest}")
}

fn record(record: &Record) -> String {
    match record {
        Record::Promised(ballot) => format!("Promised {ballot}"),
        Record::Accepted(accepted) => format!("Accepted {}", run(accepted)),
        Record::Learned { first, commands: all } => {
            format!("Learned from {first} [{}]", commands(all))
        }
        Record::Decided(mark) => format!("Decided {mark}"),
        Record::Incarnation { node, incarnation } => {
            format!("Incarnation {node} {}", incarnation.0)
        }
        Record::Trimmed { below, .. } => format!("Trimmed {below}"),
        Record::Standing { pledges, votes } => format!("Standing {pledges} votes {votes}"),
        Record::Heard { node, pledges, .. } => format!("Heard {node} {pledges}"),
        Record::Moved { node, incarnation, .. } => format!("Moved {node} {}", incarnation.0),
        Record::Testified { node, incarnation } => format!("Testified {node} {}", incarnation.0),
        Record::Lost { below, .. } => format!("Lost below {below}"),
        Record::Imported { promised, chain: runs, accepted } => {
            let (promised, chain, shown) = (ballot(*promised), chain(*runs), pvalues(accepted));
            format!("Imported promised {promised} chain {chain} [{shown}]")
        }
    }
}

/// ` n1 20:beef`: the hash of that node's state at slot 20.
fn state(node: Option<NodeId>, digest: &Digest) -> String {
    let who = node.map_or_else(String::new, |node| format!("{node} "));
    format!(" {who}{}:{:x}", digest.slot, digest.hash)
}

fn difference(it: &Difference) -> String {
    let alike: String = it.alike.iter().map(|node| format!(" {node}")).collect();
    let others: String = it.others.iter().map(|(node, told)| state(Some(*node), told)).collect();
    format!("{}..{} own {:x} alike [{alike} ] others [{others} ]", it.from, it.to, it.own)
}

fn notice(notice: &Notice) -> String {
    match notice {
        Notice::Differs(it) => format!("differs: {}", difference(it)),
        Notice::Stop(it) => format!("must stop: {}", difference(it)),
        Notice::Decided(slot, decided) => format!("decided {slot}:{}", command(decided)),
        Notice::Queued(client, number) => format!("queued {}{number}", letter(*client)),
        Notice::Rejected(client, number, why) => {
            format!("rejected {}{number}: {}", letter(*client), rejection(why))
        }
        Notice::ReadReady(read, index) => format!("read {} may see all below {index}", read.0),
        Notice::Stranded(peer) => format!("stranded: {peer} has trimmed what is missing"),
        Notice::Transfer(peer, body) => format!("{peer} says {} bytes", body.len()),
        Notice::Moved(peer, _) => format!("{peer} has moved"),
        Notice::Rejoined => "votes from now on".to_owned(),
        Notice::Replaced(by) => format!("replaced by store {}", by.0),
        Notice::Forgot { by, told, held } => format!("{by} was told of {told} pledges, not {held}"),
        Notice::ReadRejected(read, why) => format!("read {} rejected: {}", read.0, rejection(why)),
    }
}

fn rejection(why: &Rejection) -> String {
    match why {
        Rejection::NotLeader(Some(leader)) => format!("{leader} leads"),
        Rejection::NotLeader(None) => "not the leader".to_owned(),
        Rejection::Busy => "busy".to_owned(),
        Rejection::Gap(number) => format!("{number} has not come yet"),
    }
}

/// What a node gets in one turn.
pub(super) fn inputs(node: NodeId, inputs: &[Input]) -> String {
    let mut out = String::new();
    for (index, input) in inputs.iter().enumerate() {
        let who = if index == 0 { node.to_string() } else { "  ".to_owned() };
        let what = match input {
            Input::Message(envelope) => {
                format!("from  {:<9} {}", envelope.from.to_string(), message(&envelope.message))
            }
            Input::Own(command) => format!("own   {}", self::command(command)),
            Input::Propose { request, .. } => {
                format!("asked           {}{}", letter(request.client), request.number)
            }
            Input::Read(read) => format!("asked           read {}", read.0),
            Input::Reset(peer) => format!("lost  {peer}"),
            Input::Tick { elapsed } => format!("tick            {elapsed}"),
            Input::Flush => "flush".to_owned(),
            Input::Skip(count) => format!("skip            {count}"),
            Input::Heal => "heal".to_owned(),
            Input::Trim(below) => format!("trim            below {below}"),
            Input::Install(below) => format!("install         below {below}"),
            Input::Hold(below) => format!("hold            below {below}"),
            Input::Transfer(to, body) => format!("transfer        {} bytes to {to}", body.len()),
        };
        writeln!(out, "{who}  {what}").expect("a string takes all");
    }
    out
}

/// Messages that leave, one line for all receivers of the same.
pub(super) fn sent(lane: &str, messages: &[Envelope]) -> String {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for envelope in messages {
        let (what, to) = (message(&envelope.message), envelope.to.to_string());
        match lines.iter_mut().find(|(line, _)| *line == what) {
            Some((_, receivers)) => receivers.push(to),
            None => lines.push((what, vec![to])),
        }
    }
    let line =
        |(what, to): (String, Vec<String>)| format!("    {lane:<5} {:<9} {what}\n", to.join(" "));
    lines.into_iter().map(line).collect()
}

/// The records of one commit: the lane is named once, for they share one wait for the disk.
pub(super) fn records(records: &[Record]) -> String {
    let mut out = String::new();
    for (index, one) in records.iter().enumerate() {
        let lane = if index == 0 { "disk" } else { "" };
        writeln!(out, "    {lane:<5}           {}", record(one)).expect("a string takes all");
    }
    out
}

/// What a node says to itself, after its commit.
pub(super) fn own(messages: &[Envelope]) -> String {
    let line =
        |envelope: &Envelope| format!("    own             {}\n", message(&envelope.message));
    messages.iter().map(line).collect()
}

pub(super) fn notices(notices: &[Notice]) -> String {
    notices.iter().map(|news| format!("    told            {}\n", notice(news))).collect()
}

/// Messages and what becomes of them.
pub(super) fn listed(what: &str, messages: &[Envelope]) -> String {
    let line = |envelope: &Envelope| {
        let (from, to) = (envelope.from, envelope.to);
        format!("    {what:<5} {from} > {to}   {}\n", message(&envelope.message))
    };
    messages.iter().map(line).collect()
}

/// How a node is: role, promise, what is decided and where its log ends.
pub(super) fn status(replica: &Replica) -> String {
    let role = if replica.is_leading() {
        "leads"
    } else if replica.is_campaigning() {
        "campaigns"
    } else if replica.is_canvassing() {
        "canvasses"
    } else {
        "follows"
    };
    let node = replica.config().node;
    let promised = ballot(replica.state().promised());
    let holes = replica.holes();
    let holes: Vec<String> = holes.iter().map(|(from, to)| format!("{from}..{to}")).collect();
    format!(
        "{node}  {role:<9} promised {promised} decided {} end {} holes [{}] outstanding {}\n",
        replica.decided(),
        replica.end(),
        holes.join(" "),
        replica.outstanding(),
    )
}

/// What a node would find on its disk after a crash now.
pub(super) fn disk(node: NodeId, state: &AcceptorState) -> String {
    let runs = chain(state.chain());
    let mut votes = Vec::new();
    for (slot, vote) in state.votes(Slot(0)) {
        let origin = vote.ballot.map_or("learned".to_owned(), |ballot| ballot.to_string());
        votes.push(format!("{slot}:{}@{origin}", command(&vote.command)));
    }
    let promised = ballot(state.promised());
    let (mark, votes) = (state.mark(), votes.join(" "));
    format!("{node}  holds           promised {promised} mark {mark} chain {runs} [{votes}]\n")
}
