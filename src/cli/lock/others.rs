//! `unlock`, `show`, `ls`, `check` and `break`: what one does about locks beside holding them.

use std::ffi::OsString;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::exit::{Failure, Status};
use super::super::harmless::harmless;
use super::tell::{
    Tell, by_object, hold_line, hold_object, refusal_line, text, waiter_line, waiter_object,
};
use super::{SessionArgs, name};
use crate::locker::{Error, Locker};
use crate::paxos::{ClientId, Slot};
use crate::services::lock::{Answer, Ask, By, Hold, Question, Said};

/// Give a lock back that `lock` without a command got: with the token and the session that it
/// printed.
///
/// A copy of this command that comes late frees nothing that was granted since: the token of that
/// grant is another. Exit status 77 if that session does not hold the lock with that token.
///
///   indelible unlock backup 4711 --session 0f3a..
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct UnlockArgs {
    #[command(flatten)]
    talk: SessionArgs,
    /// Which lock
    name: OsString,
    /// The token of the grant
    token: u64,
    /// The session that holds it, 32 hexadecimal digits
    #[arg(long, env = "INDELIBLE_SESSION", value_name = "ID", value_parser = session)]
    session: ClientId,
}

/// Who holds a lock, since when, with which token, how long its session has left, and who waits.
///
/// Answered from all that was decided before the question. Exit status 1 if nobody holds it.
#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    talk: SessionArgs,
    /// Which lock
    name: OsString,
}

/// Which locks are held: a line each, name, token, holder, since when, and how many wait.
///
/// With --breaks: which were broken, when, by whom and why.
#[derive(clap::Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    talk: SessionArgs,
    /// Only those whose names begin so
    #[arg(default_value = "")]
    prefix: OsString,
    /// The locks that were broken, from the first to the last
    #[arg(long, env = "INDELIBLE_BREAKS")]
    breaks: bool,
}

/// Whether a token is the current one of a lock: exit status 0 if it is, 77 if not.
///
/// For whoever guards something and can keep no number. Who can keeps the highest token seen, and
/// refuses lower ones: that is safe also while the lock moves on.
#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    talk: SessionArgs,
    /// Which lock
    name: OsString,
    /// The token that was shown
    token: u64,
}

/// Take a lock away from its holder, with a reason: both stay on the record (`ls --breaks`).
///
/// Only if its token is still the one that was seen with `show`. The holder is told, and its
/// command ends; but it may still be at work for a moment: what the lock guards has to refuse its
/// token.
///
///   indelible break backup --token 4711 --reason "host burned down"
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct BreakArgs {
    #[command(flatten)]
    talk: SessionArgs,
    /// Which lock
    name: OsString,
    /// The token of the grant
    #[arg(long, env = "INDELIBLE_TOKEN")]
    token: u64,
    /// Why
    #[arg(long, env = "INDELIBLE_REASON")]
    reason: String,
}

pub(crate) fn run_unlock(args: &UnlockArgs) -> Result<(), Failure> {
    let (name, token) = (name(&args.name), Slot(args.token));
    talk(&args.talk, async |locker, tell| {
        let session = Some(args.session);
        let unlock = Ask::Unlock { name: name.clone(), token: Some(token), session };
        let said = change(&locker, &unlock).await;
        let said = said.map_err(|error| tell.failed(&error, false))?;
        if said != Said::Unlocked {
            return Err(not_done(tell, &name, token, said));
        }
        tell.line("unlocked", &json!({ "result": "unlocked" }))
    })
}

pub(crate) fn run_break(args: &BreakArgs) -> Result<(), Failure> {
    let (name, token) = (name(&args.name), Slot(args.token));
    talk(&args.talk, async |locker, tell| {
        let (reason, label) = (Bytes::from(args.reason.clone()), locker.terms().label.clone());
        let said = change(&locker, &Ask::Break { name: name.clone(), token, reason, label }).await;
        let said = said.map_err(|error| tell.failed(&error, false))?;
        if said != Said::Broken {
            return Err(not_done(tell, &name, token, said));
        }
        tell.line("broken", &json!({ "result": "broken" }))
    })
}

pub(crate) fn run_check(args: &CheckArgs) -> Result<(), Failure> {
    let (name, token) = (name(&args.name), Slot(args.token));
    talk(&args.talk, async |locker, tell| {
        let answer = locker.question(&Question::Check { name: name.clone(), token }).await;
        match answer.map_err(|error| tell.failed(&error, false))? {
            Answer::Check { current: true, .. } => {
                tell.line("current", &json!({ "result": "current" }))
            }
            Answer::Check { current: false, holder } => {
                Err(not_owner(tell, &name, token, holder.as_ref()))
            }
            Answer::Show { .. }
            | Answer::List { .. }
            | Answer::Mine { .. }
            | Answer::Breaks { .. }
            | Answer::Unreadable => Err(tell.failed(&Error::Foreign, false)),
        }
    })
}

pub(crate) fn run_show(args: &ShowArgs) -> Result<(), Failure> {
    let name = name(&args.name);
    talk(&args.talk, async |locker, tell| {
        let answer = locker.question(&Question::Show { name: name.clone() }).await;
        let answer = answer.map_err(|error| tell.failed(&error, false))?;
        let Answer::Show { holder, waiting, left_out } = answer else {
            return Err(tell.failed(&Error::Foreign, false));
        };
        let left = match &holder {
            Some(hold) => locker.left(hold.session).await.unwrap_or(None),
            None => None,
        };
        let lock = harmless(&name);
        let mut line = match &holder {
            Some(hold) => format!("\"{lock}\" is {}", hold_line(hold, left)),
            None => format!("\"{lock}\" is free"),
        };
        for waiter in &waiting {
            line.push_str(&format!("\n  {}", waiter_line(waiter)));
        }
        if left_out > 0 {
            line.push_str(&format!("\n  and {left_out} more"));
        }
        let object = json!({
            "lock": text(&name),
            "holder": holder.as_ref().map(|hold| hold_object(hold, left)),
            "waiting": waiting.iter().map(waiter_object).collect::<Vec<_>>(),
            "waiting_left_out": left_out,
        });
        tell.line(&line, &object)?;
        if holder.is_some() { Ok(()) } else { Err(Failure::silent(Status::Failed as u8)) }
    })
}

pub(crate) fn run_ls(args: &LsArgs) -> Result<(), Failure> {
    let prefix = name(&args.prefix);
    talk(&args.talk, async |locker, tell| {
        let listed = if args.breaks {
            list_breaks(&locker, tell).await
        } else {
            list(&locker, tell, prefix.clone()).await
        };
        listed.unwrap_or_else(|error| Err(tell.failed(&error, false)))
    })
}

async fn list(locker: &Locker, tell: Tell, prefix: Bytes) -> Result<Result<(), Failure>, Error> {
    let mut after = None;
    loop {
        let list = Question::List { after, prefix: prefix.clone() };
        let Answer::List { locks, next } = locker.question(&list).await? else {
            return Err(Error::Foreign);
        };
        for (name, hold, waiting) in &locks {
            let line = format!("{}  {}; {waiting} wait", harmless(name), hold_line(hold, None));
            let mut object = json!({ "lock": text(name), "waiting": waiting });
            object["holder"] = hold_object(hold, None);
            if let Err(failure) = tell.line(&line, &object) {
                return Ok(Err(failure));
            }
        }
        after = next;
        if after.is_none() {
            return Ok(Ok(()));
        }
    }
}

async fn list_breaks(locker: &Locker, tell: Tell) -> Result<Result<(), Failure>, Error> {
    let mut from = Slot(0);
    loop {
        let Answer::Breaks { records, next } = locker.question(&Question::Breaks { from }).await?
        else {
            return Err(Error::Foreign);
        };
        for (slot, broken) in &records {
            let line = format!(
                "{slot} {} {}; it was {}",
                super::tell::time(broken.time_ms),
                Tell::broken(&broken.name, &broken.by, &broken.reason),
                hold_line(&broken.holder, None)
            );
            let object = json!({
                "slot": slot.0, "time": super::tell::time(broken.time_ms),
                "lock": text(&broken.name), "by": text(&broken.by),
                "reason": text(&broken.reason), "holder": hold_object(&broken.holder, None),
            });
            if let Err(failure) = tell.line(&line, &object) {
                return Ok(Err(failure));
            }
        }
        match next {
            Some(next) => from = next,
            None => return Ok(Ok(())),
        }
    }
}

/// Talks to the service on a session that ends with this.
fn talk(
    args: &SessionArgs,
    talk: impl AsyncFnOnce(Locker, Tell) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let cluster = args.cluster()?;
    let runtime = super::super::runtime()?;
    let done = runtime.block_on(async { talk(args.open(&cluster)?, args.tell()).await });
    runtime.shutdown_background();
    done
}

/// Asks for a change, and ends the session, which nobody will use again.
async fn change(locker: &Locker, ask: &Ask) -> Result<Said, Error> {
    let (_, said) = locker.ask(ask).await?;
    // If that is not answered, it ends by itself; it holds nothing.
    let _ = locker.end().await;
    Ok(said)
}

fn not_done(tell: Tell, name: &[u8], token: Slot, said: Said) -> Failure {
    match said {
        Said::NotOwner { holder } => not_owner(tell, name, token, holder.as_ref()),
        Said::Refused(refusal) => {
            let line = refusal_line(refusal);
            let object = json!({ "result": "refused", "why": line });
            tell.failure(Status::Usage, line, &object, false)
        }
        Said::Granted { .. }
        | Said::Busy { .. }
        | Said::Queued { .. }
        | Said::Deadlock { .. }
        | Said::Pending
        | Said::Unlocked
        | Said::Cancelled
        | Said::Idle
        | Said::Broken
        | Said::Unreadable => tell.failed(&Error::Foreign, false),
    }
}

fn not_owner(tell: Tell, name: &[u8], token: Slot, holder: Option<&Hold>) -> Failure {
    let state = holder.map_or("free".to_owned(), |hold| hold_line(hold, None));
    let line = format!("not owner: \"{}\" is {state}, not held with token {token}", harmless(name));
    let held: Value = holder.map_or(Value::Null, |hold| by_object(&By::Held(hold.clone()), None));
    let object = json!({ "result": "not owner", "lock": text(name), "by": held });
    tell.failure(Status::NotOwner, &line, &object, false)
}

fn session(text: &str) -> Result<ClientId, String> {
    let id = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
    id.map(ClientId).ok_or_else(|| "a session has 32 hexadecimal digits".to_owned())
}
