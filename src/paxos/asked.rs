//! What those outside ask of a leader: to propose, and to read. Others refuse.

use super::command::{Command, Request, RequestNumber};
use super::durable::Effects;
use super::leader::Office;
use super::notice::{Notice, ReadId, Rejection};
use super::replica::Replica;

impl Replica {
    pub(super) fn on_propose(
        &mut self,
        request: Request,
        applied: RequestNumber,
        fx: &mut Effects,
    ) {
        let (client, number) = (request.client, request.number);
        let hint = self.leader();
        let limits = &self.config.limits;
        let (taken, following) = match (self.is_ready(), self.office.intake_mut()) {
            (true, Some(intake)) => {
                (intake.take(request, applied, limits), intake.follow(client, limits))
            }
            (false, _) | (true, None) => (Err(Rejection::NotLeader(hint)), Vec::new()),
        };
        fx.notify(match taken {
            Ok(()) => Notice::Queued(client, number),
            Err(why) => Notice::Rejected(client, number, why),
        });
        for number in following {
            fx.notify(Notice::Queued(client, number));
        }
    }

    pub(super) fn on_own(&mut self, command: Command) {
        if let (true, Some(intake)) = (self.is_ready(), self.office.intake_mut()) {
            intake.take_own(command);
        }
    }

    pub(super) fn on_read(&mut self, id: ReadId, fx: &mut Effects) {
        let hint = self.leader();
        match &mut self.office {
            Office::Lead(lead) => {
                let index = self.learner.decided().max(lead.adopted_end);
                lead.pulse.read(id, index);
            }
            Office::None | Office::Campaign(_) => {
                fx.notify(Notice::ReadRejected(id, Rejection::NotLeader(hint)));
            }
        }
    }
}
