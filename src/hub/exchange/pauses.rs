//! Who waits for whom.

use super::Hub;
use crate::{
    hub::holds,
    ids::{ConnectionId, FeedId},
    outbox::Class,
    time::{Mono, Now},
};

impl Hub {
    /// The outbox of `to` took a message of `feed`, but wants the topic to pause: its origin is told so. A slow client
    /// costs only itself: while others could go on, it holds nobody up for longer than [`defaults::HOLD_MAX`].
    pub fn handle_congested(&mut self, to: ConnectionId, feed: FeedId, now: Now) {
        let change = self.feeds.hold(to, feed, holds::Cause::Link, true, now.mono);
        self.tell_demand(change);
    }

    /// The outbox of `connection` has room for messages of `class` again.
    pub fn handle_relieved(&mut self, connection: ConnectionId, class: Class, now: Now) {
        for change in self.feeds.relieve(connection, class, now.mono) {
            self.tell_demand(Some(change));
        }
    }

    /// When [`Hub::handle_timeout`] is to be called next, if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.feeds.next_overrule().into_iter().chain(self.calls.poll_timeout()).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        for change in self.feeds.overrule(now.mono) {
            self.tell_demand(Some(change));
        }
        let words = self.calls.handle_timeout(now.mono);
        self.pass_on(words);
    }
}
