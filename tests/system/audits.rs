//! The auditor over the stores of real clusters: what it proves, what it refutes, and what it
//! cannot tell.
//!
//! One record is forged at a time, written through the library so that all checksums hold: only its
//! meaning is wrong. (That the stores of each storm pass is asked at the end of every trial with
//! one: `ending`.)
//!
//! One-line bugs that turn them red: an exit status 0 whatever was found; a reader that leaves out
//! the last commit; a trimmed slot that counts as proved; acknowledgements that are not read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use indelible::demo::proof;
use indelible::demo::storm::Storm;
use indelible::local::{Options, Rig};
use indelible::paxos::{Ballot, Command as Value, Incarnation, NodeId, Record, Run, Slot, Wal};
use indelible::wal::Store;
use libtest_mimic::{Failed, Trial};
use serde_json::Value as Json;

use crate::history::{self, PATIENCE, PROGRAM, Teller};
use crate::{ending, run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("audits::a_forged_record_is_refuted", forged),
        history::trial("audits::what_is_trimmed_is_told_by_the_archives", trimmed),
    ]
}

/// What an audit did.
struct Audited {
    status: i32,
    told: Json,
    err: String,
}

fn audit(stores: &[PathBuf], flags: &[&str]) -> Result<Audited, Failed> {
    let output =
        Command::new(PROGRAM).args(["audit", "--json"]).args(flags).args(stores).output()?;
    Ok(Audited {
        status: output.status.code().unwrap_or(-1),
        told: serde_json::from_slice(&output.stdout).unwrap_or_default(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn forged() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let mut rig = Rig::format(Options {
        nodes: 3,
        data: data.path().to_owned(),
        keep: false,
        program: PROGRAM.into(),
        allow_faults: false,
        log: "info".to_owned(),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let storm = storm(&mut rig);
    runtime.block_on(tokio::task::LocalSet::new().run_until(storm))?;
    let stores: Vec<PathBuf> = (0..3).map(|node| rig.store(NodeId(node))).collect();
    let cluster = rig.cluster_file().display().to_string();
    let whole = audit(&stores, &["--cluster-file", &cluster])?;
    assert_eq!(
        (whole.status, whole.told["verdict"].as_str()),
        (0, Some("proved")),
        "{}",
        whole.err
    );
    assert_eq!(whole.told["slots"]["decided"], whole.told["slots"]["proved"]);
    refused(&stores, data.path())?;
    for (forgery, invariant) in FORGERIES {
        let copy = data.path().join(format!("forged-{invariant}"));
        copy_folder(&stores[1], &copy)?;
        let value = write(&copy, forgery)?;
        let found = audit(&[stores[0].clone(), copy.clone(), stores[2].clone()], &[])?;
        let refuted = &found.told["refuted"];
        assert_eq!(
            (found.status, refuted["invariant"].as_str()),
            (65, Some(invariant)),
            "{refuted}"
        );
        let name = copy.display().to_string();
        let is_shown = |it: &Json| it["store"] == *name && it["value"] == value;
        let shown = refuted["records"].as_array().is_some_and(|all| all.iter().any(is_shown));
        assert!(shown, "value {value} of {name} is not shown: {refuted}");
        assert!(found.err.starts_with("indelible: refuted: "), "{}", found.err);
    }
    Ok(())
}

/// Some messages, a new leader in their midst, and then nobody runs.
async fn storm(rig: &mut Rig) -> Result<(), Failed> {
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    let storm = Storm::start(rig.cluster(), 2);
    ending::more(&storm, 50, PATIENCE).await?;
    let store = rig.store(NodeId(0));
    assert_eq!(audit(&[store], &[])?.status, 75, "the store is in use");
    let leader = rig.leader().await.ok_or("nobody leads")?;
    rig.kill(leader);
    ending::more(&storm, 50, PATIENCE).await?;
    rig.start(leader)?;
    ending::prove(storm, rig, PATIENCE).await?;
    Ok(())
}

/// What a record is, in a store that found this.
type Forgery = fn(&Found) -> Record;

/// Of a store that is to be forged.
struct Found {
    promised: Ballot,
    mark: Slot,
}

/// One record each, and what it breaks.
const FORGERIES: [(Forgery, &str); 6] = [
    (|_| Record::Promised(lowest()), "A1"),
    (|found| accepted(lowest(), found.mark), "A2"),
    (|found| accepted(Ballot { round: 99, ..found.promised }, Slot(5)), "A5"),
    (|found| Record::Decided(found.mark.next()), "R2"),
    (|found| accepted(found.promised, found.mark.plus(7)), "runs"),
    (|found| Record::Learned { first: found.mark, commands: vec![Value::Noop] }, "majority"),
];

fn lowest() -> Ballot {
    Ballot { round: 0, node: NodeId(0), incarnation: Incarnation(0) }
}

fn accepted(ballot: Ballot, at: Slot) -> Record {
    Record::Accepted(Run { ballot, after: at, first: at, commands: vec![Value::Noop] })
}

/// Writes one record more into a store; the number of its value.
fn write(store: &Path, forgery: Forgery) -> Result<u64, Failed> {
    let mut store = Store::open(store)?;
    let state = store.load()?;
    let promised = state.promised().ok_or("it has promised nothing")?;
    let value = store.next_value();
    store.commit(&[forgery(&Found { promised, mark: state.mark() })])?;
    Ok(value)
}

/// Stores that cannot be audited, each with its status.
fn refused(stores: &[PathBuf], data: &Path) -> Result<(), Failed> {
    let (other, damaged) = (data.join("other"), data.join("damaged"));
    copy_folder(&stores[0], &other)?;
    copy_folder(&stores[1], &damaged)?;
    fs::remove_file(damaged.join("high-water"))?;
    let missing = data.join("missing");
    let cases = [(missing, 66, "no store"), (other, 78, "another store"), (damaged, 74, "damaged")];
    for (store, status, why) in cases {
        let found = audit(&[stores[0].clone(), store], &[])?;
        assert_eq!(found.status, status, "{}", found.err);
        assert!(found.err.contains(why), "{why}: {}", found.err);
    }
    let (listed, list) = (data.join("listed"), data.join("no-list"));
    fs::write(&listed, "hello\n")?;
    for (acks, status) in [(&listed, 64), (&list, 66)] {
        let acks = acks.display().to_string();
        assert_eq!(audit(&stores[..1], &["--acks", &acks])?.status, status);
    }
    Ok(())
}

async fn trimmed() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = history::rig(3, data.path()).await?;
    let mut teller = Teller::new(&rig);
    for _ in 0..20 {
        teller.say(25, 100).await?;
    }
    history::all_show(&mut rig, 3, |status| status.trimmed > Slot(100)).await?;
    rig.ready(PATIENCE).await?;
    let all = rig.alive();
    rig.kill_all(&all);
    proof::prove(Path::new(PROGRAM), &rig, &[])?;
    let stores: Vec<PathBuf> = all.iter().map(|node| rig.store(*node)).collect();
    let entries = Command::new(PROGRAM).arg("inspect").arg(&stores[0]).arg("--entries").output()?;
    let said = String::from_utf8(entries.stdout)?;
    let list = data.path().join("said.log");
    let acks = list.display().to_string();
    fs::write(&list, &said)?;
    let found = audit(&stores, &["--acks", &acks])?;
    let slots = &found.told["slots"];
    let number = |name: &str| slots[name].as_u64().unwrap_or_default();
    // What was decided last need not be known on this disk.
    let lines = said.lines().count() as u64;
    assert!(lines > 400, "{lines} lines");
    assert_eq!((found.status, found.told["acknowledged"].as_u64()), (0, Some(lines)), "{slots}");
    let told = (number("undecided"), number("trimmed"), number("absent"));
    assert!(told.0 > 100 && told.1 == told.0 && told.2 == 0, "{slots}");
    assert_eq!(number("proved") + number("undecided"), number("decided"));
    let moved = said.replacen("7 teller", "8 teller", 1);
    fs::write(&list, moved)?;
    let found = audit(&stores, &["--acks", &acks])?;
    let refuted = &found.told["refuted"];
    assert_eq!((found.status, refuted["invariant"].as_str()), (65, Some("acknowledged")));
    assert_eq!(refuted["records"].as_array().map(Vec::len), Some(3), "{refuted}");
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
