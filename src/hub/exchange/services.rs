//! Services and the calls of them, as the exchange passes them on.

use std::collections::BTreeSet;

use super::{ClientKind, Command, Hub, Line, ServiceInterests, Word};
use crate::{
    defaults,
    ids::{ConnectionId, FeedId},
    outbox::Class,
    routes::InvalidPattern,
    time::Now,
    wire::{CallCause, Frame, Request, ServiceOffer},
};

impl Hub {
    /// Answers to calls that came when nobody waited for them any more, since the start.
    pub fn answers_dropped(&self) -> u64 {
        self.calls.late()
    }

    pub(super) fn handle_service_interests(
        &mut self,
        from: ConnectionId,
        patterns: &[String],
    ) -> Result<(), InvalidPattern> {
        let interests = ServiceInterests::new(patterns)?;
        let Some(line) = self.lines.get_mut(&from) else { return Ok(()) };
        let matching = self.calls.matching(&line.client, &interests);
        let now_matching: BTreeSet<FeedId> = matching.iter().map(|announcement| announcement.feed).collect();
        let gone: Vec<FeedId> = line.announced_services.difference(&now_matching).copied().collect();
        let new: Vec<_> =
            matching.into_iter().filter(|service| !line.announced_services.contains(&service.feed)).collect();
        line.announced_services = now_matching;
        line.service_interests = interests;
        self.send_list(from, &gone, Frame::FeedsClosed);
        self.send_list(from, &new, Frame::ServicesOpen);
        Ok(())
    }

    pub(super) fn handle_service_offers(&mut self, from: ConnectionId, offers: Vec<ServiceOffer>) {
        let Some(line) = self.lines.get(&from) else { return };
        let client = line.client.clone();
        if line.kind == ClientKind::Observer {
            return self.violation(from, "an observer only looks: it serves nothing");
        }
        let room = defaults::SERVICES_MAX.saturating_sub(self.calls.count_of(from));
        for (index, offer) in offers.into_iter().enumerate() {
            if index >= room {
                let max = defaults::SERVICES_MAX;
                return self.violation(from, &format!("more than {max} services are offered; narrow the offer rules"));
            }
            let channel = offer.channel;
            let is_used = self.feeds.has_channel(from, channel);
            match self.calls.open(from, &client, offer) {
                Ok(feed) if !is_used => self.announce_service(feed),
                _ => return self.violation(from, &format!("channel {channel} was offered twice")),
            }
        }
    }

    pub(super) fn handle_request(&mut self, from: ConnectionId, request: Request, now: Now) {
        let Some(line) = self.lines.get(&from) else { return };
        if line.kind == ClientKind::Observer {
            let reason = format!("{} is an observer, who only looks: it may not call", line.client);
            let word = self.calls.refuse(from, request.call, CallCause::Failed, reason);
            return self.pass_on([word]);
        }
        let call = request.call;
        match self.calls.request(from, request, &line.announced_services, now.mono) {
            Ok(word) => self.pass_on([word]),
            Err(_) => self.violation(from, &format!("call {call} was made twice")),
        }
    }

    pub(super) fn announce_services_closed(&mut self, closed: Vec<FeedId>) {
        let mut sends = Vec::new();
        for (&to, line) in &mut self.lines {
            let told: Vec<FeedId> =
                closed.iter().copied().filter(|feed| line.announced_services.remove(feed)).collect();
            if !told.is_empty() {
                sends.push((to, told));
            }
        }
        for (to, told) in sends {
            self.send_list(to, &told, Frame::FeedsClosed);
        }
    }

    /// Sends what is to be said about calls, in the order of the calls themselves.
    pub(super) fn pass_on(&mut self, words: impl IntoIterator<Item = Word>) {
        for (to, frame) in words {
            // Nothing gets larger than it came in.
            if let Ok(packet) = frame.encode() {
                self.commands.push_back(Command::Send { to, class: Class::Command, packet });
            }
        }
    }

    fn announce_service(&mut self, feed: FeedId) {
        let mut sends = Vec::new();
        for (&to, line) in self.lines.iter_mut().filter(|(_, line)| Line::is_ready(line)) {
            if let Some(announcement) = self.calls.announcement(feed, &line.client, &line.service_interests) {
                line.announced_services.insert(feed);
                sends.push((to, announcement));
            }
        }
        for (to, announcement) in sends {
            self.send(to, &Frame::ServicesOpen(vec![announcement]));
        }
    }
}
