//! What clients want, offer and take.

use std::collections::{BTreeMap, BTreeSet};

use super::{Command, Hub};
use crate::{
    defaults,
    hub::feeds::{CompiledInterests, DemandChange, Subscribed},
    ids::{ConnectionId, FeedId},
    model::ClientKind,
    outbox::Class,
    time::{Mono, Now},
    wire::{Flow, Frame, Interests, Offer},
};

impl Hub {
    pub(super) fn handle_interests(&mut self, from: ConnectionId, interests: &Interests, now: Mono) {
        let compiled = match CompiledInterests::new(interests) {
            Ok(compiled) => compiled,
            Err(error) => return self.violation(from, &error.to_string()),
        };
        if let Err(error) = self.handle_service_interests(from, &interests.services) {
            return self.violation(from, &error.to_string());
        }
        let Some(line) = self.lines.get_mut(&from) else { return };
        let matching = self.feeds.matching(&line.client, &compiled);
        let now_matching: BTreeSet<FeedId> = matching.iter().map(|feed| feed.feed).collect();
        let gone: Vec<FeedId> = line.announced.difference(&now_matching).copied().collect();
        let new: Vec<_> = matching.into_iter().filter(|feed| !line.announced.contains(&feed.feed)).collect();
        line.announced = now_matching;
        let changes = self.feeds.narrow(from, &line.client, &compiled, now);
        line.interests = compiled;
        self.send_list(from, &gone, Frame::FeedsClosed);
        self.send_list(from, &new, Frame::FeedsOpen);
        for change in changes {
            self.tell_demand(Some(change));
        }
    }

    pub(super) fn handle_offers(&mut self, from: ConnectionId, offers: Vec<Offer>) {
        let Some(line) = self.lines.get(&from) else { return };
        let client = line.client.clone();
        if line.kind == ClientKind::Observer {
            return self.violation(from, "an observer only looks: it offers and commands nothing");
        }
        let room = defaults::CHANNELS_MAX.saturating_sub(self.feeds.count_of(from));
        for (index, offer) in offers.into_iter().enumerate() {
            if index >= room {
                let max = defaults::CHANNELS_MAX;
                return self.violation(from, &format!("more than {max} topics are offered; narrow the offer rules"));
            }
            if matches!(&offer.flow, Flow::Command { to } if *to == client) {
                return self.violation(from, "a command channel to oneself");
            }
            let channel = offer.channel;
            let is_used = self.calls.has_channel(from, channel);
            let Some(feed) = Some(offer).filter(|_| !is_used).and_then(|offer| self.feeds.open(from, &client, offer))
            else {
                return self.violation(from, &format!("channel {channel} was offered twice"));
            };
            self.announce_opened(feed);
        }
    }

    pub(super) fn announce_opened(&mut self, feed: FeedId) {
        let mut sends = Vec::new();
        for (&to, line) in self.lines.iter_mut().filter(|(_, line)| line.is_ready()) {
            if let Some(announcement) = self.feeds.announcement(feed, &line.client, &line.interests) {
                line.announced.insert(feed);
                sends.push((to, announcement));
            }
        }
        for (to, announcement) in sends {
            self.send(to, &Frame::FeedsOpen(vec![announcement]));
        }
    }

    /// Tells that feeds are gone, behind what still waits of them.
    pub(super) fn announce_closed(&mut self, closed: Vec<(FeedId, Class)>) {
        let mut sends: BTreeMap<(ConnectionId, Class), Vec<FeedId>> = BTreeMap::new();
        for (&to, line) in &mut self.lines {
            for &(feed, class) in closed.iter().filter(|(feed, _)| line.announced.remove(feed)) {
                sends.entry((to, class)).or_default().push(feed);
            }
        }
        for ((to, class), told) in sends {
            for chunk in told.chunks(defaults::LIST_CHUNK) {
                // A list of that length always fits.
                if let Ok(packet) = Frame::FeedsClosed(chunk.to_vec()).encode() {
                    self.commands.push_back(Command::SendBehind { to, class, packet });
                }
            }
        }
    }

    /// Sends what a late joiner missed, before anything new comes.
    pub(super) fn handle_subscribed(
        &mut self,
        to: ConnectionId,
        feed: FeedId,
        subscribed: Option<Subscribed>,
        now: Now,
    ) {
        let Some(Subscribed { label, missed, change }) = subscribed else { return };
        for packet in &missed {
            // How old these are says nothing about the line.
            self.count_out(feed, to, packet.body.len(), None, now);
        }
        if let Some(line) = self.lines.get_mut(&to) {
            line.messages_out += missed.len() as u64;
        }
        self.commands.extend(missed.into_iter().map(|packet| Command::Deliver { to, label, packet }));
        self.tell_demand(change);
    }

    pub(super) fn tell_demand(&mut self, change: Option<DemandChange>) {
        if let Some(DemandChange { origin, demand }) = change {
            self.send(origin, &Frame::Demands(vec![demand]));
        }
    }
}
