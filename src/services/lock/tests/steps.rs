//! Short stories, a step a line: who asks what, what it is told, and what others are told then.
//!
//! Sessions are capitals, locks small letters; `a@3` is lock a with the token of slot 3, and the
//! first step of a story is in slot 0.

use bytes::Bytes;

use super::super::{Ask, By, Mode, Said, Told};
use super::{Came, Room, lock, session};
use crate::paxos::{ClientId, Slot};

/// Plays a story. Each line is `STEP = WHAT CAME`.
fn play(story: &str) {
    let mut room = Room::default();
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (step, expected) = line.split_once('=').expect("STEP = WHAT CAME");
        assert_eq!(came(&mut room, step.trim()), expected.trim(), "{step} in {story}");
    }
}

fn came(room: &mut Room, step: &str) -> String {
    let words: Vec<&str> = step.split_whitespace().collect();
    let who = session(words[0].chars().next().expect("a session"));
    let rest = &words[2..];
    let asked = match words[1] {
        "now" => lock(rest, Mode::Now),
        "retry" => lock(rest, Mode::Retry),
        "queue" => lock(rest, Mode::Queue),
        "cancel" => Ask::Cancel,
        "unlock" => {
            let (name, token) = held(rest[0]);
            let of = rest.get(1).and_then(|of| of.chars().next()).map(session);
            Ask::Unlock { name, token: Some(token), session: of }
        }
        "break" => {
            let (name, token) = held(rest[0]);
            let (reason, label) = (Bytes::from_static(b"why"), Bytes::from_static(b"who"));
            Ask::Break { name, token, reason, label }
        }
        "end" => return told_line(String::from("over"), room.end(who)),
        other => panic!("no step: {other}"),
    };
    let (said, told): Came = room.ask(who, &asked);
    told_line(said_line(&said), told)
}

/// `a@3`
fn held(text: &str) -> (Bytes, Slot) {
    let (name, token) = text.split_once('@').expect("NAME@TOKEN");
    (Bytes::copy_from_slice(name.as_bytes()), Slot(token.parse().expect("a slot")))
}

fn told_line(mut line: String, told: Vec<(ClientId, Told)>) -> String {
    for (whom, told) in told {
        line += &match told {
            Told::Granted { tokens } => format!("; {} has {}", letter(whom), all(&tokens)),
            Told::Free { names } => format!("; {} may {}", letter(whom), names.len()),
            Told::Broken { name, token, by, reason } => {
                assert_eq!((&by[..], &reason[..]), (&b"who"[..], &b"why"[..]));
                format!("; {} lost {}", letter(whom), all(&[(name, token)]))
            }
        };
    }
    line
}

fn said_line(said: &Said) -> String {
    match said {
        Said::Granted { tokens } => format!("has {}", all(tokens)),
        Said::Busy { name, by: By::Held(hold) } => {
            format!("busy {} of {}", all(&[(name.clone(), hold.token)]), letter(hold.session))
        }
        Said::Busy { name, by: By::Reserved(waiter) } => {
            format!("busy {} for {}", text(name), letter(waiter.session))
        }
        Said::Queued { ahead } => format!("queued behind {ahead}"),
        Said::Deadlock { cycle, left_out } => {
            let edges = cycle.iter().map(|edge| {
                format!(" {}-{}-{}", letter(edge.session), text(&edge.name), letter(edge.holder))
            });
            format!("deadlock{}{}", edges.collect::<String>(), "+".repeat(*left_out as usize))
        }
        Said::NotOwner { holder } => {
            let holder = holder.as_ref();
            let of = holder.map(|hold| format!("{} since {}", letter(hold.session), hold.token));
            format!("not, but {}", of.unwrap_or_else(|| String::from("nobody")))
        }
        Said::Pending => String::from("pending"),
        Said::Unlocked => String::from("unlocked"),
        Said::Cancelled => String::from("cancelled"),
        Said::Idle => String::from("idle"),
        Said::Broken => String::from("broken"),
        Said::Refused(refusal) => format!("refused {refusal:?}"),
        Said::Unreadable => String::from("unreadable"),
    }
}

fn all(tokens: &[(Bytes, Slot)]) -> String {
    let each = tokens.iter().map(|(name, token)| format!("{}@{}", text(name), token.0));
    each.collect::<Vec<_>>().join(" ")
}

fn text(name: &Bytes) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn letter(session: ClientId) -> char {
    char::from(session.0 as u8)
}

/// Bugs that turn it red: a token that is not the slot of the grant; a lock of one's own that gets
/// a new one; half of a request that is granted; a name that counts twice.
#[test]
fn all_or_nothing_and_what_is_held_keeps_its_token() {
    play(
        "A now b a b = has b@0 a@0
         A now a c = has a@0 c@1
         B now d a = busy a@0 of A
         C now d = has d@3
         A now d e = busy d@3 of C
         B now e = has e@5",
    );
}

/// Bugs that turn it red: an old token that frees a lock; a stranger who does; a session that is
/// named and not taken for the asker; a lock that stays when its session is over.
#[test]
fn only_its_holder_frees_a_lock_or_the_holders_end() {
    play(
        "A now a = has a@0
         B unlock a@0 = not, but A since 0
         A unlock a@1 = not, but A since 0
         A unlock a@0 = unlocked
         A unlock a@0 = not, but nobody
         A now a = has a@5
         A unlock a@0 = not, but A since 5
         B unlock a@5 B = not, but A since 5
         B unlock a@5 A = unlocked
         A now a b = has a@9 b@9
         A end = over
         B now a b = has a@11 b@11",
    );
}

/// Bugs that turn it red: a queue in another order; a wide request that is starved by narrow ones;
/// a second request of a session that waits; a cancelled one that is granted, or stays in the way;
/// a new request that takes what is reserved; an end that does not let the queue go on, or leaves
/// the session in it.
#[test]
fn the_queue_goes_on_in_its_order() {
    play(
        "A now a b = has a@0 b@0
         B queue a = queued behind 0
         C queue a b = queued behind 1
         D queue b = queued behind 1
         E queue b a = queued behind 3
         B queue c = pending
         B retry c = pending
         A unlock b@0 = unlocked
         F now b = busy b for C
         F retry c b = busy b for C
         A unlock a@0 = unlocked; B has a@10
         D cancel = cancelled
         D cancel = idle
         B end = over; C has a@13 b@13
         E end = over
         C end = over; F may 2
         F retry b c = has b@16 c@16
         F cancel = idle",
    );
}

/// Bugs that turn it red: an entry of one who gave up that lets nobody pass; one who stands behind
/// and wants something else, and is held up.
#[test]
fn one_who_leaves_the_queue_lets_the_next_pass() {
    play(
        "A now a = has a@0
         B queue a b = queued behind 0
         C queue b = queued behind 1
         D retry b = busy b for B
         E queue d = has d@4
         B cancel = cancelled; C has b@5
         B queue b = queued behind 0
         B end = over
         C end = over; D may 1",
    );
}

/// Bugs that turn it red: a cycle of two or three that is not noticed, or one that has a soft edge
/// and is taken for a deadlock; edges that are not true or in another order; a refused request that
/// stays.
#[test]
fn a_cycle_of_holders_is_refused_and_shown() {
    play(
        "A now a = has a@0
         B now b = has b@1
         C now c = has c@2
         A queue b = queued behind 0
         B retry x c = busy c@2 of C
         C queue y a = deadlock C-a-A A-b-B B-c-C
         C retry y a = deadlock C-a-A A-b-B B-c-C
         C cancel = idle
         C now a = busy a@0 of A
         B queue a c = deadlock B-a-A A-b-B
         C queue a = queued behind 0
         B unlock b@1 = unlocked; A has b@11
         A end = over; C has a@12",
    );
}

/// Bugs that turn it red: a cycle that is not the shortest.
#[test]
fn of_two_cycles_the_shorter_is_shown() {
    play(
        "A now a = has a@0
         B now b = has b@1
         C now c = has c@2
         D now d = has d@3
         B queue d = queued behind 0
         D queue a = queued behind 0
         C queue a = queued behind 1
         A queue c b = deadlock A-c-C C-a-A",
    );
}

/// Bugs that turn it red: requests that are tried again and not in the graph; one that stays there
/// when it was refused, cancelled, or its session is over.
#[test]
fn two_that_try_for_each_others_lock() {
    for leave in ["A cancel = cancelled", "A end = over"] {
        let story = "A now a = has a@0
             B now b = has b@1
             A retry b = busy b@1 of B
             B retry a = deadlock B-a-A A-b-B
             B retry a = deadlock B-a-A A-b-B
             ";
        let then = if leave.contains("end") { "has a@6" } else { "busy a@0 of A" };
        play(&format!("{story}{leave}\n B retry a = {then}"));
    }
}

/// Bugs that turn it red: a former request of one who tries that still ties it; a grant that leaves
/// it there; one who is not told, or is told of half of what it wants, or before the queue had its
/// turn.
#[test]
fn who_tries_is_told_when_all_is_free() {
    play(
        "A now a b = has a@0 b@0
         B retry a b = busy a@0 of A
         C retry a = busy a@0 of A
         A unlock a@0 = unlocked; C may 1
         A unlock b@0 = unlocked; B may 2
         C retry a = has a@5
         B retry b = has b@6
         D queue a = queued behind 0
         B retry a = busy a@5 of C
         C unlock a@5 = unlocked; D has a@9
         D unlock a@9 = unlocked; B may 1
         B now a = has a@11
         B cancel = idle",
    );
}

/// Bugs that turn it red: a request that waits for a session that queued earlier and itself waits
/// for the asker; one that overtakes when the other does not; those behind it that are forgotten
/// when a new edge ties the first to them.
#[test]
fn one_that_could_not_go_on_before_is_overtaken() {
    play(
        "A now a = has a@0
         B queue a b = queued behind 0
         A queue b = has b@2
         C now b = busy b@2 of A
         A end = over; B has a@4 b@4
         C now c = has c@5
         D queue c d = queued behind 0
         E now e = has e@7
         F queue d = queued behind 1
         E now d = busy d for D
         C now d = has d@10
         C unlock d@10 = unlocked",
    );
    play(
        "A now a = has a@0
         F now f = has f@1
         B queue a b = queued behind 0
         F queue b = queued behind 1
         A queue f = queued behind 0; F has b@4
         F end = over; A has f@5
         A end = over; B has a@6 b@6",
    );
    // The same with one that tries: it is told.
    play(
        "A now a = has a@0
         F now f = has f@1
         B queue a b = queued behind 0
         F retry b = busy b for B
         A queue f = queued behind 0; F may 1
         F retry b = has b@5",
    );
    // Or a session that tries becomes the holder of what another tries for: so it is waited for.
    play(
        "S now a = has a@0
         Z now b = has b@1
         S retry b = busy b@1 of Z
         R now r = has r@3
         E queue c a = queued behind 0
         R queue c = queued behind 1
         X retry r = busy r@3 of R
         Z unlock b@1 = unlocked; S may 1
         X now b = has b@8; R has c@8",
    );
    play(
        "S now a = has a@0
         Z now b = has b@1
         S retry b = busy b@1 of Z
         E queue c a = queued behind 0
         Z unlock b@1 = unlocked; S may 1
         X retry c = busy c for E
         X now b = has b@6; X may 1
         X retry c = has c@7",
    );
}

/// X waits for Y and Y, by way of E, for X. Were X to take n as well, the soft edge would be a hard
/// one, and both would wait for ever.
///
/// Bugs that turn it red: a session in the queue that overtakes with a request beside it.
#[test]
fn one_in_the_queue_overtakes_nobody_by_another_request() {
    play(
        "Z now r = has r@0
         X now q = has q@1
         Y now m = has m@2
         E queue p q = queued behind 0
         Y queue n p r = queued behind 1
         X queue m = queued behind 0
         X now n = busy n for Y
         X now k = has k@7
         Z end = over; Y has n@8 p@8 r@8
         Y end = over; X has m@9
         X end = over; E has p@10 q@10",
    );
}

/// Bugs that turn it red: a lock broken by an old token; a holder that is not told; a queue that
/// does not go on.
#[test]
fn an_operator_breaks_a_lock() {
    play(
        "A now a = has a@0
         B queue a = queued behind 0
         O break a@1 = not, but A since 0
         O break b@0 = not, but nobody
         O break a@0 = broken; A lost a@0; B has a@4
         A unlock a@0 = not, but B since 4
         O break a@0 = not, but B since 4",
    );
}
