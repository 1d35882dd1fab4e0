//! What goes next on a link, and what is dropped when it is too slow.
//!
//! An [`Outbox`] holds the packets that wait for one connection. [`Outbox::push`] takes one, [`Outbox::pop`] hands out
//! the next: strictly the highest class first, and in order within a class. Every class is bounded; what happens at the
//! bound is said at [`Class`]. Nothing is dropped without being counted.

use std::collections::VecDeque;

use crate::{defaults, wire::Packet};

/// Kinds of traffic, highest priority first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The link itself: login, pings, the client table, routes. Overflow ends the connection: a peer that does not read
    /// these reads nothing.
    Control,
    /// Messages that make a robot do something. Overflow drops the oldest.
    Command,
    /// Ordinary topics. Overflow drops the oldest.
    State,
    /// Camera pictures. Overflow drops the oldest.
    Picture,
}

impl Class {
    const DATA: [Class; 3] = [Class::Command, Class::State, Class::Picture];

    /// The class of an ordinary topic of that type: pictures give way to everything else.
    pub fn of_type(type_name: &str) -> Class {
        match type_name {
            "sensor_msgs/msg/Image" | "sensor_msgs/msg/CompressedImage" | "sensor_msgs/msg/PointCloud2" => {
                Class::Picture
            }
            _ => Class::State,
        }
    }
}

/// The peer does not even read control frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} control frames are waiting: the peer does not read what it is sent", defaults::CONTROL_QUEUE_MAX)]
pub struct ControlOverflow;

/// The packets that wait for one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    control: VecDeque<Packet>,
    data: [Queue; Class::DATA.len()],
    dropped: u64,
    finished: bool,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `packet` at the end of its class. After [`Outbox::finish`] it is dropped, and a topic message counted.
    ///
    /// # Errors
    /// [`ControlOverflow`] if too many control frames wait; the connection has to end.
    pub fn push(&mut self, class: Class, packet: Packet) -> Result<(), ControlOverflow> {
        if self.finished {
            self.dropped += u64::from(class != Class::Control);
            return Ok(());
        }
        match class.data_index() {
            None if self.control.len() >= defaults::CONTROL_QUEUE_MAX => Err(ControlOverflow),
            None => {
                self.control.push_back(packet);
                Ok(())
            }
            Some(index) => {
                self.dropped += self.data[index].push(packet);
                Ok(())
            }
        }
    }

    /// The packet that goes next.
    pub fn pop(&mut self) -> Option<Packet> {
        self.control.pop_front().or_else(|| self.data.iter_mut().find_map(Queue::pop))
    }

    /// Puts `last` behind the control frames that wait, forgets all topic messages, and takes no more.
    pub fn finish(&mut self, last: Option<Packet>) {
        if self.finished {
            return;
        }
        self.control.extend(last);
        self.dropped += self.data.iter().map(|queue| queue.packets.len() as u64).sum::<u64>();
        self.data = Default::default();
        self.finished = true;
    }

    /// Whether [`Outbox::finish`] was called: once [`Outbox::pop`] says `None`, nothing will come any more.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Topic messages that were given up.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Class {
    fn data_index(self) -> Option<usize> {
        Class::DATA.iter().position(|&class| class == self)
    }
}

/// One class of topic messages.
#[derive(Debug, Default)]
struct Queue {
    packets: VecDeque<Packet>,
    bytes: usize,
}

impl Queue {
    /// Takes `packet`, and says how many older ones had to go for it. A packet larger than the whole queue may wait
    /// alone: otherwise it could never be sent.
    fn push(&mut self, packet: Packet) -> u64 {
        let mut dropped = 0;
        while !self.packets.is_empty()
            && (self.packets.len() >= defaults::DATA_QUEUE_MESSAGES
                || self.bytes + packet.len() > defaults::DATA_QUEUE_BYTES)
        {
            self.pop();
            dropped += 1;
        }
        self.bytes += packet.len();
        self.packets.push_back(packet);
        dropped
    }

    fn pop(&mut self) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.len();
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn packet(tag: &str) -> Packet {
        Packet { head: Bytes::copy_from_slice(tag.as_bytes()), body: Bytes::new() }
    }

    fn large(bytes: usize) -> Packet {
        Packet { head: Bytes::new(), body: Bytes::from(vec![0; bytes]) }
    }

    fn tags(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.pop()).map(|p| String::from_utf8_lossy(&p.head).into_owned()).collect()
    }

    #[test]
    fn the_highest_class_goes_first_and_each_class_in_order() {
        let mut outbox = Outbox::new();
        for (class, tag) in [
            (Class::Picture, "p1"),
            (Class::State, "s1"),
            (Class::Command, "c1"),
            (Class::State, "s2"),
            (Class::Control, "k1"),
            (Class::Command, "c2"),
        ] {
            outbox.push(class, packet(tag)).unwrap();
        }
        assert_eq!(tags(&mut outbox), ["k1", "c1", "c2", "s1", "s2", "p1"]);
    }

    #[test]
    fn a_full_class_drops_its_own_oldest_and_counts_it() {
        let mut outbox = Outbox::new();
        outbox.push(Class::Command, packet("command")).unwrap();
        for i in 0..=defaults::DATA_QUEUE_MESSAGES {
            outbox.push(Class::State, packet(&i.to_string())).unwrap();
        }
        assert_eq!(outbox.dropped(), 1);
        assert_eq!(tags(&mut outbox)[..2], ["command", "1"]);
    }

    #[test]
    fn a_message_larger_than_the_queue_waits_alone() {
        let mut outbox = Outbox::new();
        outbox.push(Class::Picture, packet("small")).unwrap();
        outbox.push(Class::Picture, large(defaults::DATA_QUEUE_BYTES + 1)).unwrap();
        assert_eq!(outbox.dropped(), 1);
        assert_eq!(outbox.pop().map(|p| p.len()), Some(defaults::DATA_QUEUE_BYTES + 1));
    }

    #[test]
    fn a_peer_that_reads_nothing_is_found_out() {
        let mut outbox = Outbox::new();
        for _ in 0..defaults::CONTROL_QUEUE_MAX {
            outbox.push(Class::Control, packet("k")).unwrap();
        }
        assert_eq!(outbox.push(Class::Control, packet("k")), Err(ControlOverflow));
    }

    #[test]
    fn the_last_word_comes_after_the_control_frames_and_nothing_after_it() {
        let mut outbox = Outbox::new();
        outbox.push(Class::Control, packet("k")).unwrap();
        outbox.push(Class::State, packet("s")).unwrap();
        outbox.finish(Some(packet("goodbye")));
        outbox.push(Class::Control, packet("late")).unwrap();
        outbox.push(Class::Command, packet("a command for a line that is gone")).unwrap();
        assert_eq!(tags(&mut outbox), ["k", "goodbye"]);
        assert_eq!(outbox.dropped(), 2);
        assert!(outbox.is_finished());
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out_or_is_counted(sizes in proptest::collection::vec((0..3_usize, 0..6_000_000_usize), 0..60)) {
            let mut outbox = Outbox::new();
            for &(class, size) in &sizes {
                outbox.push(Class::DATA[class], large(size)).unwrap();
                for queue in &outbox.data {
                    prop_assert!(queue.bytes <= defaults::DATA_QUEUE_BYTES || queue.packets.len() == 1);
                }
            }
            let out = std::iter::from_fn(|| outbox.pop()).count() as u64;
            prop_assert_eq!(out + outbox.dropped(), sizes.len() as u64);
        }
    }
}
