//! The messages of one class that wait for a connection.

use std::collections::{HashMap, VecDeque};

use super::Drops;
use crate::{defaults, wire::Packet};

/// One packet that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its topic, if it is of one.
    pub(super) tag: Option<u32>,
    pub(super) reliable: bool,
    pub(super) latest_only: bool,
    /// Whether it must not be lost with the messages that it comes behind.
    pub(super) pinned: bool,
    pub(super) packet: Packet,
}

/// One class. What may be lost and what may not wait in two lanes, so that the next to go and the next to be given up are
/// both at a front; their numbers say in which order they came.
#[derive(Debug, Default)]
pub(super) struct Queue {
    best_effort: Lane,
    reliable: Lane,
    /// Where in the lane for best effort the message of a topic waits of which only the newest may wait.
    latest: HashMap<u32, u64>,
    next_number: u64,
    /// Since the mark was reached, until the lane is well below it again.
    congested: bool,
    relieved: bool,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<(u64, Waiting)>,
    bytes: usize,
}

impl Queue {
    /// Takes a packet, and gives up others for it, or it for others. A packet larger than the whole queue may wait alone:
    /// otherwise it could never be sent.
    /// What is pinned goes to `control` instead of being given up: all that it came behind is gone then.
    pub(super) fn push(&mut self, packet: Waiting, drops: &mut Drops, control: &mut VecDeque<Packet>) {
        if let Some(tag) = packet.tag.filter(|_| packet.latest_only)
            && let Some(number) = self.latest.get(&tag)
            && let Some(index) = self.best_effort.position(*number)
        {
            drops.count(packet.tag);
            let others = self.bytes() - self.best_effort.cost_at(index);
            if others + cost(&packet.packet) <= defaults::DATA_QUEUE_BYTES {
                return self.best_effort.replace(index, packet);
            }
            self.best_effort.remove(index);
            self.latest.remove(&tag);
        }
        while self.bytes() + cost(&packet.packet) > defaults::DATA_QUEUE_BYTES {
            if let Some(oldest) = self.pop_best_effort() {
                drops.count(oldest.tag);
            } else if self.reliable.waiting.is_empty() {
                break;
            } else if !packet.reliable {
                return drops.count(packet.tag);
            } else if let Some((_, oldest)) = self.reliable.pop() {
                match oldest.pinned {
                    true => control.push_back(oldest.packet),
                    false => drops.count(oldest.tag),
                }
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        if packet.reliable {
            self.reliable.push(number, packet);
        } else {
            if let Some(tag) = packet.tag.filter(|_| packet.latest_only) {
                self.latest.insert(tag, number);
            }
            self.best_effort.push(number, packet);
        }
        // One alone is on its way already, however large it is.
        if self.reliable.waiting.len() > 1
            && (self.reliable.bytes >= defaults::CONGESTED_BYTES
                || self.reliable.waiting.len() >= defaults::CONGESTED_PACKETS)
        {
            self.congested = true;
            self.relieved = false;
        }
    }

    /// The packet that came first.
    pub(super) fn pop(&mut self) -> Option<Packet> {
        let best_effort_first = match (self.best_effort.front(), self.reliable.front()) {
            (Some(best_effort), Some(reliable)) => best_effort < reliable,
            (best_effort, _) => best_effort.is_some(),
        };
        if best_effort_first {
            return self.pop_best_effort().map(|waiting| waiting.packet);
        }
        let (_, waiting) = self.reliable.pop()?;
        if self.congested
            && self.reliable.bytes <= defaults::RELIEVED_BYTES
            && self.reliable.waiting.len() <= defaults::RELIEVED_PACKETS
        {
            self.congested = false;
            self.relieved = true;
        }
        Some(waiting.packet)
    }

    pub(super) fn is_congested(&self) -> bool {
        self.congested
    }

    pub(super) fn is_relieved(&self) -> bool {
        self.relieved
    }

    /// Whether it was congested and is so no more; said once.
    pub(super) fn take_relieved(&mut self) -> bool {
        std::mem::take(&mut self.relieved)
    }

    /// Gives everything up.
    pub(super) fn clear(&mut self, drops: &mut Drops) {
        for lane in [&mut self.best_effort, &mut self.reliable] {
            while let Some((_, waiting)) = lane.pop() {
                drops.count(waiting.tag);
            }
        }
        *self = Queue::default();
    }

    fn bytes(&self) -> usize {
        self.best_effort.bytes + self.reliable.bytes
    }

    fn pop_best_effort(&mut self) -> Option<Waiting> {
        let (_, waiting) = self.best_effort.pop()?;
        if let Some(tag) = waiting.tag.filter(|_| waiting.latest_only) {
            self.latest.remove(&tag);
        }
        Some(waiting)
    }

    /// Holds its books against what is there.
    #[cfg(test)]
    pub(super) fn check(&self) {
        for lane in [&self.best_effort, &self.reliable] {
            assert_eq!(lane.bytes, lane.waiting.iter().map(|(_, waiting)| cost(&waiting.packet)).sum::<usize>());
        }
        let count = self.best_effort.waiting.len() + self.reliable.waiting.len();
        assert!(self.bytes() <= defaults::DATA_QUEUE_BYTES || count == 1);
        let latest = self.best_effort.waiting.iter().filter(|(_, waiting)| waiting.latest_only).count();
        assert_eq!(self.latest.len(), latest, "one message of each topic of which only the newest may wait");
    }
}

impl Lane {
    fn front(&self) -> Option<u64> {
        self.waiting.front().map(|(number, _)| *number)
    }

    fn push(&mut self, number: u64, waiting: Waiting) {
        self.bytes += cost(&waiting.packet);
        self.waiting.push_back((number, waiting));
    }

    fn pop(&mut self) -> Option<(u64, Waiting)> {
        let popped = self.waiting.pop_front()?;
        self.bytes -= cost(&popped.1.packet);
        Some(popped)
    }

    fn position(&self, number: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&number, |(number, _)| *number).ok()
    }

    fn cost_at(&self, index: usize) -> usize {
        self.waiting.get(index).map_or(0, |(_, waiting)| cost(&waiting.packet))
    }

    fn replace(&mut self, index: usize, by: Waiting) {
        self.bytes = self.bytes - self.cost_at(index) + cost(&by.packet);
        if let Some((_, waiting)) = self.waiting.get_mut(index) {
            *waiting = by;
        }
    }

    fn remove(&mut self, index: usize) {
        self.bytes -= self.cost_at(index);
        self.waiting.remove(index);
    }
}

/// The memory that a waiting packet takes [bytes].
fn cost(packet: &Packet) -> usize {
    packet.len() + defaults::PACKET_OVERHEAD
}
