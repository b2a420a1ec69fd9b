//! `open`, `close`, `show` and `ls`: what one does about polls beside answering them.

use bytes::Bytes;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::super::exit::{Failure, Status};
use super::super::harmless::harmless;
use super::super::write_line;
use super::TalkArgs;
use super::tell::{
    add_tally, poll_object, refusal_line, result, row_line, row_object, standing, why,
};
use crate::poller::{Error, Poller};
use crate::services::poll::words::FOR_MS_MAX;
use crate::services::poll::{Ask, PollId, Said, Tally};

/// Begin a poll: all clients that are joined now are asked.
///
/// Prints its id and how many are asked; with --wait also how it came out. If no quorum answers in
/// time (exit status 69), it may have begun all the same: see `poll ls`.
///
///   indelible poll open "Adopt the budget?" --for 30s --wait
///   indelible poll open "Still there?" --for 5s --every 10s --count 6
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct OpenArgs {
    #[command(flatten)]
    talk: TalkArgs,
    /// What is asked
    question: String,
    /// How long to wait for those who do not answer: they abstain then; for ever if not given
    #[arg(long = "for", env = "INDELIBLE_FOR", value_name = "DUR")]
    lasts: Option<humantime::Duration>,
    /// Wait until it is closed, and print how it came out
    #[arg(long, env = "INDELIBLE_POLL_WAIT")]
    wait: bool,
    /// Ask the same again, each time after so long
    #[arg(long, env = "INDELIBLE_EVERY", value_name = "DUR", requires = "count")]
    every: Option<humantime::Duration>,
    /// How often in all
    #[arg(long, env = "INDELIBLE_COUNT", value_name = "N", requires = "every")]
    count: Option<u64>,
    /// Print JSON, an object a line
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
}

/// Close a poll now: who has not answered abstains.
///
/// Prints how it came out. Of one that is closed already nothing changes.
#[derive(clap::Args)]
pub(super) struct CloseArgs {
    #[command(flatten)]
    talk: TalkArgs,
    /// Which poll
    id: u64,
    /// Print JSON
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
}

/// How a poll stands, or came out, and whom it asks.
///
/// Answered from all that was decided before the question. Exit status 1 if there is no such poll.
#[derive(clap::Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    talk: TalkArgs,
    /// Which poll
    id: u64,
    /// Print JSON
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
}

/// Which polls there are: a line each, with how it stands or came out.
///
/// With --names: who is joined, and up to which poll each has the results on its disk.
#[derive(clap::Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    talk: TalkArgs,
    /// Who is joined
    #[arg(long, env = "INDELIBLE_NAMES")]
    names: bool,
    /// Print JSON, an object a line
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
}

pub(super) fn open(args: &OpenArgs) -> Result<(), Failure> {
    let for_ms = args.lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(FOR_MS_MAX + 1));
    let question = Bytes::from(args.question.clone());
    let every = args.every.map_or(std::time::Duration::from_secs(1), Into::into);
    if every.is_zero() {
        return Err(Failure::new(Status::Usage, "--every: longer than nothing"));
    }
    args.talk.talk(async |poller| {
        let mut every = interval(every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..args.count.unwrap_or(1) {
            every.tick().await;
            let id = begin(poller, question.clone(), for_ms, args.json).await?;
            if args.wait {
                let tally = poller.closed(id).await?;
                came_out(&tally.ok_or(Error::Foreign)?, args.json)?;
            }
        }
        // If that is not answered, it ends by itself.
        let _ = poller.end().await;
        Ok(())
    })
}

async fn begin(
    poller: &Poller,
    question: Bytes,
    for_ms: Option<u64>,
    json: bool,
) -> Result<PollId, Failure> {
    match poller.ask(&Ask::Open { question, for_ms }).await? {
        Said::Opened { poll, asked, .. } => {
            let object = json!({ "poll": poll.0, "asked": asked, "state": "open" });
            let line = format!("poll {poll}: {asked} are asked");
            write_line(&if json { object.to_string() } else { line })?;
            Ok(poll)
        }
        Said::Refused(refusal) => Err(Failure::new(Status::Usage, refusal_line(refusal))),
        Said::Joined
        | Said::Left
        | Said::Recorded { .. }
        | Said::Closed { .. }
        | Said::NotAsked
        | Said::NoSuchPoll
        | Said::NotJoined
        | Said::Confirmed
        | Said::Unreadable
        | Said::Office(_) => Err(Error::Foreign.into()),
    }
}

fn came_out(tally: &Tally, json: bool) -> Result<(), Failure> {
    if json {
        let mut object = json!({ "poll": tally.poll.0, "asked": tally.asked() });
        add_tally(&mut object, Some(tally));
        return write_line(&object.to_string());
    }
    write_line(&format!("poll {}: {}", tally.poll, result(tally)))
}

pub(super) fn close(args: &CloseArgs) -> Result<(), Failure> {
    args.talk.talk(async |poller| {
        let tally = poller.close(PollId(args.id)).await?;
        let _ = poller.end().await;
        came_out(&tally.ok_or_else(|| none(args.id))?, args.json)
    })
}

pub(super) fn show(args: &ShowArgs) -> Result<(), Failure> {
    args.talk.talk(async |poller| {
        let poll = poller.show(PollId(args.id)).await?.ok_or_else(|| none(args.id))?;
        if args.json {
            return write_line(&poll_object(&poll).to_string());
        }
        let mut line = format!(
            "poll {}: {}\n  {}",
            poll.id,
            harmless(&poll.question),
            standing(&poll.row(None))
        );
        if let Some(closed) = poll.closed {
            line.push_str(&format!("\n  closed: {}", why(closed.why)));
        }
        write_line(&line)
    })
}

pub(super) fn list(args: &LsArgs) -> Result<(), Failure> {
    args.talk.talk(async |poller| {
        if args.names {
            return names(poller, args.json).await;
        }
        let mut after = Some(PollId(0));
        while let Some(from) = after {
            let (rows, next) = poller.list(from).await?;
            for row in &rows {
                write_line(&if args.json { row_object(row).to_string() } else { row_line(row) })?;
            }
            after = next;
        }
        Ok(())
    })
}

async fn names(poller: &Poller, json: bool) -> Result<(), Failure> {
    for (name, member) in poller.joined().await? {
        let (session, confirmed) = (member.session.to_string(), member.confirmed.0);
        let name_text = super::super::lock::text(&name);
        let object = json!({ "name": name_text, "session": session, "confirmed": confirmed });
        let line = format!("{}  has the results up to poll {confirmed}", harmless(&name));
        write_line(&if json { object.to_string() } else { line })?;
    }
    Ok(())
}

fn none(id: u64) -> Failure {
    Failure::new(Status::Failed, format!("there is no poll {id}"))
}
