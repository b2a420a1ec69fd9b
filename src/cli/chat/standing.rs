//! What a person is told about the cluster, in which words, and when. No socket, no clock.
//!
//! A status line is said when what it says has changed and settled: an election goes through states
//! that nobody can read as fast as they pass. "No quorum" is what can be known from here: a request
//! has no answer, or nobody is said to lead, and that for a while; it is told from when it began.
//!
//! Times are UTC, as in the nodes' logs.

use std::time::{Duration, Instant, SystemTime};

use crate::paxos::NodeId;

/// The status, as it can be seen from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whom the client asks.
    pub(super) replica: Option<NodeId>,
    /// Who leads, as that one says.
    pub(super) primary: Option<NodeId>,
    /// Under which view.
    pub(super) view: Option<u64>,
    /// Nothing is decided since.
    pub(super) no_quorum_since: Option<SystemTime>,
    /// Lines typed and not decided.
    pub(super) undecided: usize,
}

/// Decides when the status is to be told.
#[derive(Debug)]
pub(super) struct Watch {
    replica: Option<NodeId>,
    primary: Option<NodeId>,
    /// The view last told, and its primary.
    view: Option<(u64, NodeId)>,
    leaderless_since: Option<Instant>,
    unanswered_since: Option<Instant>,
    said: Option<Facts>,
    /// What is to be said once it has settled, and since when it has not changed.
    news: Option<(Facts, Instant)>,
}

/// So long without an answer or a primary is no quorum.
const GRACE: Duration = Duration::from_secs(1);

/// A status that lasts so long is worth a line.
const SETTLED: Duration = Duration::from_millis(300);

/// So long may it take to learn a new primary's view.
const VIEW_PATIENCE: Duration = Duration::from_secs(1);

impl Facts {
    /// The status in one line, without an end of line.
    pub(super) fn line(&self) -> String {
        let mut line = match self.replica {
            Some(replica) => format!("-- replica {}", replica.0),
            None => "-- no replica answers".to_owned(),
        };
        line += &match (self.primary, self.view) {
            (Some(primary), Some(view)) => format!(", primary {}, view {view}", primary.0),
            (Some(primary), None) => format!(", primary {}", primary.0),
            (None, _) if self.replica.is_some() => ", no primary".to_owned(),
            (None, _) => String::new(),
        };
        if let Some(since) = self.no_quorum_since {
            line += &format!("; no quorum since {}", clock(since));
        }
        if self.undecided > 0 {
            line += &format!("; {} not yet decided", count(self.undecided));
        }
        line
    }

    /// The same, but for what changes with each line typed.
    fn gist(&self) -> Facts {
        Facts { undecided: 0, ..self.clone() }
    }
}

impl Watch {
    pub(super) fn new(now: Instant) -> Watch {
        Watch {
            replica: None,
            primary: None,
            view: None,
            leaderless_since: Some(now),
            unanswered_since: None,
            said: None,
            news: None,
        }
    }

    /// Whom the client asks, and who leads.
    pub(super) fn on_standing(
        &mut self,
        replica: Option<NodeId>,
        primary: Option<NodeId>,
        now: Instant,
    ) {
        self.replica = replica;
        self.primary = primary;
        let since = self.leaderless_since.unwrap_or(now);
        self.leaderless_since = primary.is_none().then_some(since);
    }

    /// The view, and its primary.
    pub(super) fn on_view(&mut self, view: Option<(u64, NodeId)>) {
        self.view = view;
    }

    /// A request went out at this time and is unanswered; or none is.
    pub(super) fn on_unanswered(&mut self, since: Option<Instant>) {
        self.unanswered_since = since;
    }

    /// The line to say now, if there is one.
    pub(super) fn news(
        &mut self,
        undecided: usize,
        now: Instant,
        wall: SystemTime,
    ) -> Option<String> {
        let facts = self.facts(undecided, now, wall);
        if self.said.as_ref().is_some_and(|said| is_same(said, &facts)) {
            self.news = None;
            return None;
        }
        let known = self.news.take().filter(|(news, _)| is_same(news, &facts));
        let since = known.map_or(now, |(_, since)| since);
        if now.duration_since(since) < patience(&facts) {
            self.news = Some((facts.gist(), since));
            return None;
        }
        self.said = Some(facts.gist());
        Some(facts.line())
    }

    /// The status as it is.
    pub(super) fn facts(&self, undecided: usize, now: Instant, wall: SystemTime) -> Facts {
        let since = [self.leaderless_since, self.unanswered_since].into_iter().flatten().min();
        let silent = since.map(|since| now.duration_since(since)).filter(|it| *it >= GRACE);
        let of_primary = |(_, primary): &(u64, NodeId)| Some(*primary) == self.primary;
        Facts {
            replica: self.replica,
            primary: self.primary,
            view: self.view.filter(of_primary).map(|(view, _)| view),
            no_quorum_since: silent.and_then(|silent| wall.checked_sub(silent)),
            undecided,
        }
    }
}

/// How long a status must last before it is said.
fn patience(facts: &Facts) -> Duration {
    match (facts.no_quorum_since, facts.primary, facts.view) {
        (Some(_), _, _) => Duration::ZERO,
        // It finds a primary soon, or this becomes a lack of quorum.
        (None, None, _) => Duration::MAX,
        (None, Some(_), None) => VIEW_PATIENCE,
        (None, Some(_), Some(_)) => SETTLED,
    }
}

/// Whether they say the same; the moment when quorum was lost is computed, and may waver.
fn is_same(one: &Facts, other: &Facts) -> bool {
    let key = |it: &Facts| (it.replica, it.primary, it.view, it.no_quorum_since.is_some());
    key(one) == key(other)
}

/// The time of day.
pub(super) fn clock(at: SystemTime) -> String {
    let stamp = humantime::format_rfc3339_seconds(at).to_string();
    stamp.split_once('T').map_or_else(|| stamp.clone(), |(_, time)| time.to_owned())
}

/// So many lines.
pub(super) fn count(lines: usize) -> String {
    if lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [Option<NodeId>; 3] = [Some(NodeId(0)), Some(NodeId(1)), Some(NodeId(2))];

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Bugs that turn it red: any part left out, said without need, or in another's place.
    #[test]
    fn a_status_reads_like_this() {
        let noon = Some(at(1_763_726_635));
        let facts = |replica, primary, view, no_quorum_since, undecided| Facts {
            replica,
            primary,
            view,
            no_quorum_since,
            undecided,
        };
        let [zero, one, two] = NODES;
        let cases = [
            (facts(zero, zero, Some(0), None, 0), "-- replica 0, primary 0, view 0"),
            (facts(two, one, None, None, 0), "-- replica 2, primary 1"),
            (
                facts(one, one, Some(4), None, 1),
                "-- replica 1, primary 1, view 4; 1 line not yet decided",
            ),
            (
                facts(one, None, None, noon, 2),
                "-- replica 1, no primary; no quorum since 12:03:55Z; 2 lines not yet decided",
            ),
            (
                facts(one, zero, Some(3), noon, 1),
                "-- replica 1, primary 0, view 3; no quorum since 12:03:55Z; 1 line not yet \
                 decided",
            ),
            (facts(None, None, None, noon, 0), "-- no replica answers; no quorum since 12:03:55Z"),
            (facts(None, None, None, None, 0), "-- no replica answers"),
        ];
        for (facts, line) in cases {
            assert_eq!(facts.line(), line);
        }
    }

    /// A watch, and a clock in milliseconds.
    struct Rig {
        watch: Watch,
        begun: Instant,
    }

    impl Rig {
        fn new() -> Rig {
            let begun = Instant::now();
            Rig { watch: Watch::new(begun), begun }
        }

        fn now(&self, ms: u64) -> Instant {
            self.begun + Duration::from_millis(ms)
        }

        fn said(&mut self, ms: u64, undecided: usize) -> Option<String> {
            let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
            self.watch.news(undecided, self.now(ms), wall)
        }

        fn standing(&mut self, ms: u64, replica: Option<NodeId>, primary: Option<NodeId>) {
            let now = self.now(ms);
            self.watch.on_standing(replica, primary, now);
        }
    }

    /// Bugs that turn it red: a status said twice, before it has settled, or without its view; the
    /// view of another primary.
    #[test]
    fn a_failover_is_two_lines() {
        let mut rig = Rig::new();
        let [zero, one, _] = NODES;
        assert_eq!(rig.said(0, 0), None);
        rig.standing(10, one, zero);
        rig.watch.on_view(Some((0, NodeId(0))));
        assert_eq!(rig.said(10, 0), None);
        assert_eq!(rig.said(310, 0), Some("-- replica 1, primary 0, view 0".to_owned()));
        assert_eq!(rig.said(400, 3), None, "a line typed is no news");
        rig.standing(1000, one, None);
        assert_eq!(rig.said(1000, 0), None);
        assert_eq!(rig.said(1900, 0), None, "still within the grace");
        rig.standing(1950, one, one);
        assert_eq!(rig.said(1950, 0), None);
        assert_eq!(rig.said(2300, 0), None, "the view is of another primary");
        rig.watch.on_view(Some((1, NodeId(1))));
        assert_eq!(rig.said(2400, 0), None);
        assert_eq!(rig.said(2700, 0), Some("-- replica 1, primary 1, view 1".to_owned()));
        assert_eq!(rig.said(9000, 0), None);
    }

    #[test]
    fn a_view_that_is_never_told_holds_nothing_up() {
        let mut rig = Rig::new();
        rig.standing(0, NODES[1], NODES[0]);
        assert_eq!(rig.said(0, 0), None);
        assert_eq!(rig.said(1000, 0), Some("-- replica 1, primary 0".to_owned()));
    }

    /// Bugs that turn it red: the later of the two silences; the time of the line instead of the
    /// time when it began; never taken back.
    #[test]
    fn no_quorum_is_told_from_when_it_began() {
        let mut rig = Rig::new();
        let [zero, one, _] = NODES;
        rig.standing(0, one, zero);
        rig.watch.on_view(Some((0, NodeId(0))));
        assert_eq!(rig.said(0, 0), None);
        assert!(rig.said(300, 0).is_some());
        let asked = rig.now(2000);
        rig.watch.on_unanswered(Some(asked));
        assert_eq!(rig.said(2999, 1), None);
        let told = "-- replica 1, primary 0, view 0; no quorum since 00:00:02Z; 1 line not yet \
                    decided";
        assert_eq!(rig.said(3000, 1), Some(told.to_owned()));
        rig.standing(4000, one, None);
        let told = "-- replica 1, no primary; no quorum since 00:00:02Z; 2 lines not yet decided";
        assert_eq!(rig.said(4000, 2), Some(told.to_owned()));
        assert_eq!(rig.said(9000, 2), None);
        rig.standing(9100, one, one);
        rig.watch.on_view(Some((1, NodeId(1))));
        rig.watch.on_unanswered(None);
        assert_eq!(rig.said(9100, 0), None);
        assert_eq!(rig.said(9400, 0), Some("-- replica 1, primary 1, view 1".to_owned()));
    }

    #[test]
    fn nobody_at_all_is_no_quorum_from_the_start() {
        let mut rig = Rig::new();
        assert_eq!(rig.said(999, 0), None);
        let told = "-- no replica answers; no quorum since 00:00:00Z";
        assert_eq!(rig.said(1000, 0), Some(told.to_owned()));
    }
}
