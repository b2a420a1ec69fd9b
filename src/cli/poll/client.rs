//! `indelible poll client`: joins under a name, answers, and keeps the results in a file.
//!
//! The file is its only memory, so it may be killed at any moment: the next one on the same file
//! fetches the results after the last line. What the cluster tells unasked only says when to look;
//! what is shown, answered and written down comes from questions, which are also asked each second.
//!
//! It outlives all outages: while no quorum answers it goes on asking, and when its session has
//! ended meanwhile it joins again in another. It ends when it is told to, when the disk fails, or
//! when another client has joined under its name.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};

use super::super::exit::{Failure, Status};
use super::super::harmless::harmless;
use super::super::lock::interrupted;
use super::TalkArgs;
use super::keys::Keys;
use super::screen::Screen;
use super::status::no_quorum;
use super::tell::{own, refusal_line, result};
use crate::cluster::Cluster;
use crate::poller::{Error, Poller, ResultError, Results, Terms, Vote};
use crate::services::poll::{Office, PollId, Row, Told};

/// Join under a name, answer, and keep the results of all polls that asked that name in a file.
///
/// The file has a line `ID YES NO` for each of them, in order, none twice and none missing,
/// whatever crashes: each is on the disk before the next is written, and a torn last line is cut at
/// the start. One client keeps one file (exit status 75 for a second), and one client has one name:
/// who joins under it later takes it over, and the first ends, with 75 as well.
///
/// With --answer ask it reads `y` or `n` from stdin, a line for each poll that waits for an answer;
/// on a terminal a key is enough.
#[derive(clap::Args)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    talk: TalkArgs,
    /// Its name for itself
    #[arg(long, env = "INDELIBLE_NAME")]
    name: String,
    /// Where the results are kept
    #[arg(long, env = "INDELIBLE_RESULTS", value_name = "FILE")]
    results: PathBuf,
    /// What it answers
    #[arg(long, env = "INDELIBLE_ANSWER", value_enum, default_value_t = Answering::Ask)]
    answer: Answering,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Answering {
    /// What stdin says
    Ask,
    Yes,
    No,
    /// Either, by chance
    Random,
}

/// How often it looks, if nothing is told.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn run(args: &ClientArgs) -> Result<(), Failure> {
    let (cluster, terms) = (args.talk.cluster()?, args.talk.terms()?);
    let results = Results::open(&args.results)?;
    let runtime = super::super::runtime()?;
    let done = runtime.block_on(async {
        let mut voter = Voter::new(args, cluster, terms, results);
        tokio::select! {
            done = voter.run() => done,
            _ = interrupted()? => {
                // If that is not answered, the session ends by itself.
                let _ = voter.poller.end().await;
                Ok(())
            }
        }
    });
    runtime.shutdown_background();
    done
}

/// A client at work.
struct Voter {
    cluster: Cluster,
    terms: Terms,
    name: Bytes,
    answering: Answering,
    results: Results,
    poller: Poller,
    is_joined: bool,
    /// Polls up to this one need not be asked for again.
    seen: PollId,
    /// The cluster has heard that the results up to this one are on the disk.
    confirmed: PollId,
    /// Polls that are open and ask this name.
    open: BTreeMap<PollId, Asked>,
    /// Who is in office, as was announced last.
    office: Office,
    /// Answers go to all of them.
    is_routed: bool,
    /// Something may have happened: it is to look.
    is_stale: bool,
    /// It was said that no quorum answers.
    is_silent: bool,
    screen: Screen,
}

/// A poll that is open, and what this client has answered.
struct Asked {
    row: Row,
    /// An answer that is not recorded yet.
    given: Option<bool>,
}

impl Asked {
    fn waits(&self) -> bool {
        self.row.own.is_none() && self.given.is_none()
    }
}

impl Voter {
    fn new(args: &ClientArgs, cluster: Cluster, terms: Terms, results: Results) -> Voter {
        Voter {
            poller: Poller::open(&cluster, terms),
            cluster,
            terms,
            name: Bytes::from(args.name.clone()),
            answering: args.answer,
            seen: results.last(),
            results,
            is_joined: false,
            confirmed: PollId(0),
            open: BTreeMap::new(),
            office: Office::default(),
            is_routed: false,
            is_stale: true,
            is_silent: false,
            screen: Screen::new(std::io::stdout().is_terminal()),
        }
    }

    async fn run(&mut self) -> Result<(), Failure> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_typing = self.answering == Answering::Ask;
        let is_person = self.screen.is_terminal() && std::io::stdin().is_terminal();
        let mut typed = Keys::listen(is_typing && is_person);
        loop {
            // On a pipe a line is the answer to the next poll; a person may not answer in advance.
            let reads = is_typing && (self.screen.is_terminal() || self.waiting().is_some());
            tokio::select! {
                told = self.poller.told() => self.hear(told)?,
                line = typed.next(), if reads => match line {
                    Some(line) => self.on_typed(&line)?,
                    None => is_typing = false,
                },
                _ = look.tick() => self.is_stale = true,
            }
            match self.tend().await {
                Ok(()) => self.is_silent = false,
                Err(Trouble::Call(error)) => self.bear(error).await?,
                Err(Trouble::Final(failure)) => return Err(failure),
            }
            self.draw()?;
        }
    }

    fn draw(&self) -> Result<(), Failure> {
        let first = self.open.values().next();
        self.screen.draw(first.map(|held| (&held.row, held.given)))
    }

    fn hear(&mut self, told: Told) -> Result<(), Failure> {
        match told {
            Told::Asked { .. } | Told::Result(_) => self.is_stale = true,
            Told::Voted { poll, voted, asked } => {
                if let Some(held) = self.open.get_mut(&poll)
                    && voted > held.row.voted
                {
                    held.row.voted = voted;
                    self.screen.count(&format!("poll {poll}: {voted} of {asked} voted"))?;
                }
            }
            Told::TakenOver => return Err(self.taken_over()),
            Told::Office(office) => self.on_office(office)?,
        }
        Ok(())
    }

    fn on_office(&mut self, office: Office) -> Result<(), Failure> {
        if office.announcement > self.office.announcement {
            self.screen.say(&office.to_string())?;
            (self.office, self.is_routed, self.is_stale) = (office, false, true);
        }
        Ok(())
    }

    fn on_typed(&mut self, line: &str) -> Result<(), Failure> {
        let yes = match line.trim().to_lowercase().as_str() {
            "y" | "yes" => true,
            "n" | "no" => false,
            _ => return self.screen.say("y or n?"),
        };
        match self.waiting() {
            Some(held) => held.given = Some(yes),
            None => self.screen.say("no poll waits for your answer")?,
        }
        Ok(())
    }

    /// The first poll that waits for an answer.
    fn waiting(&mut self) -> Option<&mut Asked> {
        self.open.values_mut().find(|held| held.waits())
    }

    /// Does what is to be done.
    async fn tend(&mut self) -> Result<(), Trouble> {
        if self.is_joined && self.poller.is_over() {
            return Err(Error::Over.into());
        }
        if !self.is_joined {
            self.join().await?;
        }
        if self.is_stale {
            let office = self.poller.office().await?;
            self.on_office(office)?;
            if !std::mem::replace(&mut self.is_routed, true) {
                self.poller.send_to(&self.office).await?;
            }
            self.fetch_results().await?;
            self.look_at_open().await?;
            self.is_stale = false;
        }
        self.vote().await
    }

    async fn join(&mut self) -> Result<(), Trouble> {
        if let Err(refusal) = self.poller.join(&self.name).await? {
            return Err(Failure::new(Status::Usage, refusal_line(refusal)).into());
        }
        self.is_joined = true;
        Ok(())
    }

    /// Writes down what there is, and then says so.
    async fn fetch_results(&mut self) -> Result<(), Trouble> {
        loop {
            let (rows, next) = self.poller.results(&self.name, self.seen).await?;
            for row in &rows {
                let Some(tally) = &row.tally else { break };
                self.results.append(tally).map_err(Failure::from)?;
                self.seen = row.poll;
                self.open.remove(&row.poll);
                self.screen.say(&format!("poll {}: {}", row.poll, result(tally)))?;
            }
            match next {
                Some(next) => self.seen = next,
                None => break,
            }
        }
        let up_to = self.results.last();
        if up_to <= self.confirmed {
            return Ok(());
        }
        if !self.poller.confirm(&self.name, up_to).await? {
            return Err(self.taken_over().into());
        }
        self.confirmed = up_to;
        Ok(())
    }

    async fn look_at_open(&mut self) -> Result<(), Trouble> {
        let rows = self.poller.open_for(&self.name).await?;
        self.open.retain(|poll, _| rows.iter().any(|row| row.poll == *poll));
        for row in rows {
            if let Some(held) = self.open.get_mut(&row.poll) {
                held.given = held.given.filter(|_| row.own.is_none());
                held.row = row;
                continue;
            }
            self.screen.say(&format!("poll {}: {}", row.poll, harmless(&row.question)))?;
            let given = match self.answering {
                _ if row.own.is_some() => None,
                Answering::Ask => None,
                Answering::Yes => Some(true),
                Answering::No => Some(false),
                Answering::Random => Some(fastrand::bool()),
            };
            self.open.insert(row.poll, Asked { row, given });
        }
        Ok(())
    }

    /// Sends what was answered and is not recorded.
    async fn vote(&mut self) -> Result<(), Trouble> {
        let given = self.open.iter().filter_map(|(poll, held)| Some((*poll, held.given?)));
        for (poll, yes) in given.collect::<Vec<_>>() {
            match self.poller.vote(poll, yes).await? {
                Vote::Recorded(yes) => {
                    if let Some(held) = self.open.get_mut(&poll) {
                        (held.given, held.row.own) = (None, Some(yes));
                    }
                    self.screen.say(&format!("poll {poll}: {}", own(yes)))?;
                }
                Vote::Late => {
                    self.open.remove(&poll);
                    self.is_stale = true;
                    self.screen.say(&format!("poll {poll}: closed before your vote came"))?;
                }
                Vote::NotJoined => return Err(self.taken_over().into()),
            }
        }
        Ok(())
    }

    /// A call came to nothing.
    async fn bear(&mut self, error: Error) -> Result<(), Failure> {
        self.is_stale = true;
        match error {
            Error::Silent(_) => {
                if !std::mem::replace(&mut self.is_silent, true) {
                    let since = no_quorum(&self.cluster).await;
                    let why = since.unwrap_or_else(|| error.to_string());
                    self.screen.say(&format!("{why}; still asking"))?;
                }
                Ok(())
            }
            Error::Over => {
                self.poller = Poller::open(&self.cluster, self.terms);
                (self.is_joined, self.confirmed) = (false, PollId(0));
                self.is_routed = false;
                Ok(())
            }
            Error::Foreign | Error::Client(_) => Err(error.into()),
        }
    }

    fn taken_over(&self) -> Failure {
        let line = format!("another client has joined as \"{}\"", harmless(&self.name));
        Failure::new(Status::Busy, line)
    }
}

/// What may go wrong: a call, which can be made again, or more.
enum Trouble {
    Call(Error),
    Final(Failure),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Call(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Final(failure)
    }
}

impl From<ResultError> for Failure {
    fn from(error: ResultError) -> Failure {
        let status = match &error {
            ResultError::Held { .. } => Status::Busy,
            ResultError::Foreign { .. } => Status::Config,
            ResultError::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound => {
                Status::Missing
            }
            ResultError::Io { .. } => Status::Disk,
        };
        Failure::new(status, error)
    }
}
