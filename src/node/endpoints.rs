//! What the bridge's readers and writers need beyond being made and destroyed: their losses are counted, and a writer stays
//! until its stop message has arrived.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Instant,
};

use crate::{
    defaults,
    ids::{ReaderId, WriterId},
    ros::{Bridge, ReaderCounters},
    time::{Mono, Now},
};

/// The endpoints of one client.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// What was told of each reader so far.
    readers: HashMap<ReaderId, ReaderCounters>,
    /// Writers that published a stop message and are to be destroyed next.
    stopped: BTreeSet<WriterId>,
    /// Writers that are destroyed at that time. As many as there were command feeds at the last loss.
    lingering: VecDeque<(Mono, WriterId)>,
}

impl Endpoints {
    pub(super) fn reader_created(&mut self, reader: ReaderId) {
        self.readers.insert(reader, ReaderCounters::default());
    }

    /// Samples that were lost and that failed at each reader since this was asked last.
    pub(super) fn losses(&mut self, bridge: &Bridge) -> Vec<(ReaderId, u64, u64)> {
        let losses = self.readers.iter_mut().filter_map(|(&reader, told)| losses_of(reader, told, bridge));
        losses.collect()
    }

    /// Destroys a reader. Returns the last of its losses.
    pub(super) fn destroy_reader(&mut self, reader: ReaderId, bridge: &Bridge) -> Option<(ReaderId, u64, u64)> {
        let losses = self.readers.remove(&reader).and_then(|mut told| losses_of(reader, &mut told, bridge));
        bridge.destroy_reader(reader);
        losses
    }

    /// Publishes the stop message of `writer`.
    pub(super) fn publish_stop(&mut self, writer: WriterId, bridge: &Bridge, now: Now) {
        let topic = bridge.topic_of(writer).unwrap_or_default();
        match bridge.publish_default(writer, now.wall) {
            Ok(()) => {
                self.stopped.insert(writer);
                tracing::warn!(topic, "whoever commanded it is gone: a stop message was published");
            }
            Err(error) => {
                tracing::error!(topic, "whoever commanded it is gone, and no stop message could be published: {error}");
            }
        }
    }

    /// Destroys a writer: at once, or [`defaults::STOP_LINGER`] after its stop message.
    pub(super) fn destroy_writer(&mut self, writer: WriterId, bridge: &Bridge, now: Mono) {
        if self.stopped.remove(&writer) {
            self.lingering.push_back((now + defaults::STOP_LINGER, writer));
        } else {
            bridge.destroy_writer(writer);
        }
    }

    /// Destroys the writers whose stop messages had their time.
    pub(super) fn handle_tick(&mut self, bridge: &Bridge, now: Mono) {
        while let Some(&(_, writer)) = self.lingering.front().filter(|(until, _)| *until <= now) {
            self.lingering.pop_front();
            bridge.destroy_writer(writer);
        }
    }

    /// Waits until the stop messages have arrived, at most [`defaults::STOP_PATIENCE`].
    pub(super) fn finish(&mut self, bridge: &Bridge) {
        let end = Instant::now() + defaults::STOP_PATIENCE;
        for (_, writer) in self.lingering.drain(..) {
            let rest = end.saturating_duration_since(Instant::now());
            if !bridge.wait_until_acknowledged(writer, rest) {
                tracing::debug!("a stop message was not acknowledged in time");
            }
            bridge.destroy_writer(writer);
        }
    }
}

fn losses_of(reader: ReaderId, told: &mut ReaderCounters, bridge: &Bridge) -> Option<(ReaderId, u64, u64)> {
    let counters = bridge.reader_counters(reader)?;
    let before = std::mem::replace(told, counters);
    let (lost, failed) = (counters.lost.saturating_sub(before.lost), counters.failed.saturating_sub(before.failed));
    (lost + failed > 0).then_some((reader, lost, failed))
}
