//! Holds the master's output to what the script allows.
//!
//! The checker is itself tested: the answer of a flawless master passes, and each flaw planted in
//! it (a duplicate, a swapped pair, a gap, a lost message, a stranger, two logs that differ) turns
//! it red.

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};

use super::generate::{Print, Script, Sent};

/// One printed log: its entries' senders and texts, in the order of their slots.
type Log = Vec<Sent>;

/// Checks all of the output.
///
/// # Errors
/// What does not hold, in words.
pub(crate) fn check(script: &Script, output: &[u8]) -> Result<(), String> {
    let logs = parse(output)?;
    if logs.len() != script.prints.len() {
        return Err(format!("{} logs printed, wanted {}", logs.len(), script.prints.len()));
    }
    for (log, print) in logs.iter().zip(&script.prints) {
        contents(script, print, log).map_err(|why| format!("client {}: {why}", print.client))?;
        senders_order(script, log)?;
        calm_order(script, log)?;
    }
    one_history(&script.prints, &logs)
}

/// Cuts the output into logs: each begins with slot 0 and is dense.
fn parse(output: &[u8]) -> Result<Vec<Log>, String> {
    let text = std::str::from_utf8(output).map_err(|e| format!("not what was sent: {e}"))?;
    let mut logs: Vec<Log> = Vec::new();
    for line in text.split_terminator('\n') {
        let (slot, sent) = entry(line).ok_or_else(|| format!("no entry: {line:?}"))?;
        if slot == 0 {
            logs.push(Log::new());
        }
        let log = logs.last_mut().ok_or_else(|| format!("does not begin with slot 0: {line}"))?;
        if slot != log.len() {
            return Err(format!("slot {} is missing before: {line}", log.len()));
        }
        log.push(sent);
    }
    Ok(logs)
}

/// `SLOT SENDER: text`.
fn entry(line: &str) -> Option<(usize, Sent)> {
    let (head, text) = line.split_once(": ")?;
    let (slot, client) = head.split_once(' ')?;
    Some((slot.parse().ok()?, Sent { client: client.parse().ok()?, text: text.to_owned() }))
}

/// Nothing that was not sent, nothing twice, and all that was settled before the print.
fn contents(script: &Script, print: &Print, log: &Log) -> Result<(), String> {
    let mut times: BTreeMap<&Sent, usize> =
        script.sent[..print.sent].iter().map(|sent| (sent, 0)).collect();
    for sent in log {
        let seen = times.get_mut(sent).ok_or_else(|| format!("never sent so far: {sent:?}"))?;
        *seen += 1;
        if *seen > 1 {
            return Err(format!("twice in the log: {sent:?}"));
        }
    }
    match script.sent[..print.settled].iter().find(|sent| times[sent] == 0) {
        None => Ok(()),
        Some(lost) => Err(format!("not in the log: {lost:?}")),
    }
}

/// Each client's messages stand in the order in which it got them.
fn senders_order(script: &Script, log: &Log) -> Result<(), String> {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for sent in log {
        let at = script.sent.iter().position(|known| known == sent).ok_or("never sent")?;
        if last.insert(sent.client, at).is_some_and(|before| before > at) {
            return Err(format!("out of its client's order: {sent:?}"));
        }
    }
    Ok(())
}

/// Where no server failed, all messages stand in the master's order.
fn calm_order(script: &Script, log: &Log) -> Result<(), String> {
    for stretch in &script.calm {
        let calm = &script.sent[stretch.clone()];
        let places = log.iter().filter_map(|sent| calm.iter().position(|known| known == sent));
        let places: Vec<usize> = places.collect();
        if !places.is_sorted() {
            return Err(format!("handed over in order, decided in another: {calm:?}"));
        }
    }
    Ok(())
}

/// All prints show one history: each is a beginning of the longest, a client's own never shrinks,
/// and those after one `allClear` are equal.
fn one_history(prints: &[Print], logs: &[Log]) -> Result<(), String> {
    let longest = logs.iter().max_by_key(|log| log.len()).map_or(&[][..], |log| log);
    let mut known: BTreeMap<usize, usize> = BTreeMap::new();
    let mut agreed: BTreeMap<usize, usize> = BTreeMap::new();
    for (print, log) in prints.iter().zip(logs) {
        if !longest.starts_with(log) {
            return Err(format!("client {} has another log than the others", print.client));
        }
        if known.insert(print.client, log.len()).is_some_and(|before| before > log.len()) {
            return Err(format!("client {} knows less than before", print.client));
        }
        let Some(clear) = print.agreed else { continue };
        if *agreed.entry(clear).or_insert(log.len()) != log.len() {
            return Err(format!("client {} does not know what others do", print.client));
        }
    }
    Ok(())
}

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("scripts::a_flawless_answer_passes", || {
            for seed in 0..200 {
                let script = Script::draw(seed);
                check(&script, &print(&flawless(&script)))?;
            }
            Ok(())
        }),
        Trial::test("scripts::a_planted_duplicate_is_seen", || {
            planted("twice in the log", |log| log.push(log[0].clone()))
        }),
        Trial::test("scripts::a_planted_swap_is_seen", || planted("order", |log| log.swap(0, 1))),
        Trial::test("scripts::a_planted_loss_is_seen", || {
            planted("not in the log", |log| drop(log.pop()))
        }),
        Trial::test("scripts::a_planted_stranger_is_seen", || {
            planted("never sent", |log| log[1].text.push('x'))
        }),
        Trial::test("scripts::a_planted_sender_is_seen", || {
            planted("never sent", |log| log[1].client += 1)
        }),
        Trial::test("scripts::a_planted_gap_is_seen", planted_gap),
        Trial::test("scripts::logs_that_differ_are_seen", logs_that_differ),
        Trial::test("scripts::a_missing_print_is_seen", missing_print),
        Trial::test("scripts::a_swap_between_clients_is_seen", swap_between_clients),
    ]
}

/// What a master prints that decides everything at once, as far as the script promises.
fn flawless(script: &Script) -> Vec<Log> {
    let log = |print: &Print| script.sent[..print.settled].to_vec();
    script.prints.iter().map(log).collect()
}

fn print(logs: &[Log]) -> Vec<u8> {
    let line = |(slot, sent): (usize, &Sent)| format!("{slot} {}: {}\n", sent.client, sent.text);
    logs.iter().flat_map(|log| log.iter().enumerate().map(line)).collect::<String>().into_bytes()
}

/// Plants one flaw in the last log of flawless answers; it must be called by its name.
fn planted(name: &str, flaw: impl Fn(&mut Log)) -> Result<(), Failed> {
    let mut tried = 0;
    for script in (0..50).map(Script::draw) {
        let mut logs = flawless(&script);
        let last = logs.last_mut().ok_or("each script prints")?;
        if last.len() < 3 || last[0].client != last[1].client {
            continue;
        }
        flaw(last);
        let why = check(&script, &print(&logs)).err().ok_or("the flaw was not seen")?;
        assert!(why.contains(name), "seen as: {why}");
        tried += 1;
    }
    assert!(tried >= 10, "few scripts were fit for it");
    Ok(())
}

fn planted_gap() -> Result<(), Failed> {
    let script = Script::draw(1);
    let whole = String::from_utf8(print(&flawless(&script)))?;
    let second = whole.lines().nth(1).ok_or("a longer log")?;
    let answer = whole.replace(&format!("{second}\n"), "");
    let why = check(&script, answer.as_bytes()).err().ok_or("the gap was not seen")?;
    assert!(why.contains("slot 1 is missing"), "seen as: {why}");
    Ok(())
}

fn logs_that_differ() -> Result<(), Failed> {
    let print = |client, agreed| Print { client, settled: 0, sent: 2, agreed };
    let sent = |text: &str| Sent { client: 0, text: text.to_owned() };
    let (a, b) = (vec![sent("a"), sent("b")], vec![sent("b"), sent("a")]);
    let both = [print(0, None), print(1, None)];
    assert!(one_history(&both, &[a.clone(), b]).is_err(), "another order");
    assert!(one_history(&both, &[a.clone(), a[..1].to_vec()]).is_ok(), "one may know less");
    let cleared = [print(0, Some(1)), print(1, Some(1))];
    assert!(one_history(&cleared, &[a.clone(), a[..1].to_vec()]).is_err(), "after allClear");
    let again = [print(0, None), print(0, None)];
    assert!(one_history(&again, &[a.clone(), a[..1].to_vec()]).is_err(), "less than before");
    Ok(())
}

fn missing_print() -> Result<(), Failed> {
    let script = Script::draw(1);
    let mut logs = flawless(&script);
    logs.pop();
    assert!(check(&script, &print(&logs)).is_err());
    Ok(())
}

fn swap_between_clients() -> Result<(), Failed> {
    let sent = |client| Sent { client, text: format!("from {client}") };
    let mut script = Script { sent: vec![sent(0), sent(1)], ..Script::default() };
    let swapped = vec![sent(1), sent(0)];
    assert!(calm_order(&script, &swapped).is_ok(), "a server may have failed");
    script.calm = std::iter::once(0..2).collect();
    assert!(calm_order(&script, &swapped).is_err(), "no server failed");
    Ok(())
}
