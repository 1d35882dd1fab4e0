//! Publishers that wait when they are pushed back, and clients whose links are slow.

use std::collections::{BTreeMap, BTreeSet};

use switchboard::outbox::{Class, Label, Outbox};

use super::*;

/// What the world knows of floods.
#[derive(Default)]
pub(crate) struct Flow {
    /// Messages per tick that the link to a client takes; without one, all at once.
    rates: BTreeMap<ClientId, usize>,
    /// What waits for slow clients.
    outboxes: BTreeMap<ConnectionId, Outbox>,
    /// Readers that are told to pause.
    pub(super) held: BTreeSet<ReaderId>,
    /// Numbers that arrived, by client and topic.
    arrived: BTreeMap<(String, String), Vec<u64>>,
}

/// One publisher of numbered messages.
#[derive(Clone)]
pub(super) struct Source {
    client: usize,
    topic: String,
    type_name: String,
    next: u64,
    end: u64,
}

/// How often a source publishes, and a slow link takes something.
const TICK: Duration = Duration::from_millis(10);
/// Messages that a source publishes in a tick unless it is pushed back.
const BURST: u64 = 100;

impl World {
    /// From now on the link to `id` takes so many messages every 10 ms.
    pub(crate) fn set_rate(&mut self, id: &str, messages: usize) {
        let id = ClientId::new(id).unwrap();
        if self.flow.rates.insert(id, messages).is_none() {
            self.plan(TICK, Happening::Drain);
        }
    }

    /// A node of `id` publishes `count` messages, as fast as it may once somebody reads.
    pub(crate) fn flood(&mut self, id: &str, topic: &str, type_name: &str, count: u64) {
        let client = self.index(id);
        let source = Source { client, topic: topic.to_owned(), type_name: type_name.to_owned(), next: 0, end: count };
        self.plan(TICK, Happening::Source(source));
    }

    /// The numbers that arrived at `id` on `topic`.
    pub(crate) fn arrived(&self, id: &str, topic: &str) -> &[u64] {
        self.flow.arrived.get(&(id.to_owned(), topic.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Messages that the link to `id` gave up.
    pub(crate) fn dropped(&self, id: &str) -> u64 {
        let (connection, _) = self.clients[self.index(id)].end.as_ref().unwrap();
        self.flow.outboxes.get(connection).map_or(0, Outbox::dropped)
    }

    pub(super) fn note_arrival(&mut self, client: usize, topic: &str, payload: &Bytes) {
        if let Ok(number) = payload.as_ref().try_into().map(u64::from_be_bytes) {
            let key = (self.clients[client].id.to_string(), topic.to_owned());
            self.flow.arrived.entry(key).or_default().push(number);
        }
    }

    /// Publishes the next messages of a source whose readers do not hold it back.
    pub(super) fn publish_from(&mut self, mut source: Source) {
        for _ in 0..BURST {
            let client = &self.clients[source.client];
            let mut readers = client.graph.readers.iter();
            let reads = |topic: &TopicInfo| topic.name == source.topic && topic.type_name == source.type_name;
            let Some((&reader, _)) = readers.find(|(_, topic)| reads(topic)) else { break };
            if source.next == source.end || self.flow.held.contains(&reader) {
                break;
            }
            let payload = Bytes::copy_from_slice(&source.next.to_be_bytes());
            self.send_sample(source.client, reader, payload);
            source.next += 1;
        }
        if source.next < source.end {
            self.plan(TICK, Happening::Source(source));
        }
    }

    /// Slow links take what they take.
    pub(super) fn drain_slow_links(&mut self) {
        self.plan(TICK, Happening::Drain);
        let connections: Vec<ConnectionId> = self.flow.outboxes.keys().copied().collect();
        for connection in connections {
            let rate = self.rate_to(connection).unwrap_or(0);
            for _ in 0..rate {
                let Some(packet) = self.flow.outboxes.get_mut(&connection).and_then(Outbox::pop) else { break };
                self.transmit_packet(connection, Side::Client, &packet);
            }
            while let Some(class) = self.flow.outboxes.get_mut(&connection).and_then(Outbox::take_relieved) {
                self.hub.handle_relieved(connection, class, self.now);
                self.carry_out_hub();
            }
        }
    }

    /// Hands a packet of the hub to the link, or to what waits for it.
    pub(super) fn send_to_client(&mut self, to: ConnectionId, packet: Packet, how: How) {
        if self.rate_to(to).is_none() {
            return self.transmit_packet(to, Side::Client, &packet);
        }
        let outbox = self.flow.outboxes.entry(to).or_default();
        match how {
            How::Message(label) => {
                if outbox.push_message(label, packet) {
                    self.hub.handle_congested(to, FeedId(label.tag), self.now);
                }
            }
            How::Behind(class) => outbox.push_behind(class, packet).unwrap(),
            How::Control(class) => outbox.push(class, packet).unwrap(),
        }
    }

    fn rate_to(&self, connection: ConnectionId) -> Option<usize> {
        let client = self.client_of(connection)?;
        self.flow.rates.get(&self.clients[client].id).copied()
    }
}

/// How a packet is put into an outbox.
pub(super) enum How {
    Message(Label),
    Behind(Class),
    Control(Class),
}
