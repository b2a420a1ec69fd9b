//! What is told of an audit.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use crate::audit::{Exhibit, Invariant, Ledger, Proof, Refuted};
use crate::cli::harmless::harmless;
use crate::paxos::{Digest, Slot};
use crate::rsm::Extent;

/// A store that was read.
pub(super) struct Row {
    store: String,
    node: u16,
    incarnation: u64,
    records: u64,
    promised: Option<String>,
    decided: Slot,
    trimmed: Slot,
    beside: Option<Beside>,
}

/// What its log and what lies beside it led to.
struct Beside {
    applied: Slot,
    lines: u64,
    state: String,
}

impl Row {
    /// A store whose log was read.
    pub(super) fn of(ledger: &Ledger<'_>) -> Row {
        let state = ledger.state();
        Row {
            store: ledger.name().to_owned(),
            node: ledger.node().0,
            incarnation: ledger.incarnation().0,
            records: ledger.counts().records,
            promised: state.promised().map(|ballot| ballot.to_string()),
            decided: state.mark(),
            trimmed: state.trimmed(),
            beside: None,
        }
    }

    /// And its state rebuilt, or the copy that a witness has of one.
    pub(super) fn note(&mut self, digest: Digest, archive: Extent) {
        let state = format!("{:016x}", digest.hash);
        self.beside = Some(Beside { applied: digest.slot, lines: archive.entries, state });
    }
}

/// A row a store, a row an invariant, and the verdict.
pub(super) fn text(rows: &[Row], outcome: &Result<Proof, Refuted>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "STORE", "NODE", "RECORDS", "PROMISED", "DECIDED", "TRIMMED", "APPLIED", "LINES", "STATE",
    ]);
    for row in rows {
        table.add_row(cells(row));
    }
    let stores = table.trim_fmt();
    match outcome {
        Ok(proof) => format!("{stores}\n{}\n{}", proved(proof), verdict(proof)),
        Err(refuted) => {
            let shown: Vec<String> =
                refuted.exhibits.iter().map(|it| format!("\n  {it}")).collect();
            let sentence = refuted.invariant.sentence();
            let why = format!("refuted: {refuted}\n  law: {sentence}{}", shown.concat());
            if rows.is_empty() { why } else { format!("{stores}\n{why}") }
        }
    }
}

fn cells(row: &Row) -> [String; 9] {
    let beside = |text: fn(&Beside) -> String| row.beside.as_ref().map_or("-".to_owned(), text);
    [
        harmless(row.store.as_bytes()),
        row.node.to_string(),
        row.records.to_string(),
        row.promised.clone().unwrap_or_else(|| "-".to_owned()),
        row.decided.to_string(),
        row.trimmed.to_string(),
        beside(|it| it.applied.to_string()),
        beside(|it| it.lines.to_string()),
        beside(|it| it.state.clone()),
    ]
}

fn proved(proof: &Proof) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for invariant in Invariant::ALL {
        table.add_row([invariant.name(), invariant.sentence(), &extent(invariant, proof)]);
    }
    table.trim_fmt()
}

/// How far it was proved.
fn extent(invariant: Invariant, proof: &Proof) -> String {
    let Proof { read, slots, .. } = proof;
    match invariant {
        Invariant::A1 => {
            format!("{}, {}, {}", promises(proof), count(read.runs, "run"), trims(proof))
        }
        Invariant::A2 => count(read.runs, "run"),
        Invariant::A3 => trims(proof),
        Invariant::A4 | Invariant::A5 => count(slots.votes, "acceptance"),
        Invariant::R1 => {
            format!("{}, {}", count(slots.decided, "slot"), count(proof.entries, "archived line"))
        }
        Invariant::R2
        | Invariant::R4
        | Invariant::Incarnations
        | Invariant::Suffrage
        | Invariant::Pledges => count(proof.stores, "log"),
        Invariant::R3 => format!("{} compared with another's", proof.states),
        Invariant::Runs => match read.unfollowed {
            0 => count(read.runs, "run"),
            gone => format!("{}; what {gone} follow is trimmed", count(read.runs, "run")),
        },
        Invariant::Majority => majority(proof),
        Invariant::Once => count(slots.requests, "request"),
        Invariant::Acknowledged if proof.acknowledged == 0 => "no list is given".to_owned(),
        Invariant::Acknowledged => count(proof.acknowledged, "line"),
    }
}

fn majority(proof: &Proof) -> String {
    let slots = &proof.slots;
    let proved = format!("{} of {}", slots.proved, count(slots.decided, "slot"));
    if slots.undecided == 0 {
        return proved;
    }
    let mut why = Vec::new();
    if slots.trimmed > 0 {
        why.push(format!("{} trimmed", slots.trimmed));
    }
    if slots.lost > 0 {
        why.push(format!("{} for a vote that may be lost", slots.lost));
    }
    if slots.absent > 0 {
        why.push(format!("{} for want of a store", slots.absent));
    }
    format!("{proved}; {} cannot be told: {}", slots.undecided, why.join(", "))
}

fn promises(proof: &Proof) -> String {
    count(proof.read.promises, "promise")
}

fn trims(proof: &Proof) -> String {
    count(proof.read.trims, "trim")
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The verdict, where nothing is refuted.
fn verdict(proof: &Proof) -> String {
    let stores = format!("{} of {} members", count(proof.stores, "store"), proof.members);
    match proof.slots.undecided {
        0 => format!("proved: {stores}"),
        _ => format!("proved, as far as can be told: {stores}"),
    }
}

/// One object.
pub(super) fn json(rows: &[Row], outcome: &Result<Proof, Refuted>) -> String {
    let row = |row: &Row| -> Value {
        let beside = row.beside.as_ref();
        json!({
            "store": row.store,
            "node": row.node,
            "incarnation": row.incarnation,
            "records": row.records,
            "promised": row.promised,
            "decided": row.decided.0,
            "trimmed": row.trimmed.0,
            "applied": beside.map(|it| it.applied.0),
            "lines": beside.map(|it| it.lines),
            "state": beside.map(|it| &it.state),
        })
    };
    let proof = outcome.as_ref().ok();
    let invariant = |proof: &Proof| -> Vec<Value> {
        let one = |it: &Invariant| json!({ "name": it.name(), "proved": extent(*it, proof) });
        Invariant::ALL.iter().map(one).collect()
    };
    json!({
        "verdict": if proof.is_some() { "proved" } else { "refuted" },
        "members": proof.map(|proof| proof.members),
        "stores": rows.iter().map(row).collect::<Vec<_>>(),
        "invariants": proof.map(invariant),
        "slots": proof.map(|Proof { slots, .. }| json!({
            "decided": slots.decided,
            "proved": slots.proved,
            "undecided": slots.undecided,
            "trimmed": slots.trimmed,
            "lost": slots.lost,
            "absent": slots.absent,
        })),
        "acknowledged": proof.map(|proof| proof.acknowledged),
        "refuted": outcome.as_ref().err().map(|refuted| json!({
            "invariant": refuted.invariant.name(),
            "why": refuted.why,
            "records": refuted.exhibits.iter().map(exhibit).collect::<Vec<_>>(),
        })),
    })
    .to_string()
}

fn exhibit(exhibit: &Exhibit) -> Value {
    json!({
        "store": exhibit.store,
        "node": exhibit.node.0,
        "value": exhibit.place.map(|place| place.value),
        "record": exhibit.place.map(|place| place.record),
        "words": exhibit.words,
    })
}
