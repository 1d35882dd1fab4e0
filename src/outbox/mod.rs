//! What goes next on a link, what is dropped when it is too slow, and when those who send should pause.
//!
//! An [`Outbox`] holds the packets that wait for one connection. [`Outbox::push`] and [`Outbox::push_message`] take one,
//! [`Outbox::pop`] hands out the next: strictly the highest class first, and in order within a class. Every class is
//! bounded ([`defaults::DATA_QUEUE_BYTES`]); at the bound the oldest best-effort message goes first, then the oldest
//! reliable one. Long before that the class is *congested* ([`defaults::CONGESTED_BYTES`]): whoever sends something
//! reliable is told, and [`Outbox::take_relieved`] says when it may go on. Nothing is dropped without being counted
//! ([`Outbox::dropped`], and by topic [`Outbox::take_drops`]).

mod queue;

use std::collections::{BTreeMap, VecDeque};

use queue::{Queue, Waiting};

use crate::{defaults, wire::Packet};

/// Kinds of traffic, highest priority first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The link itself: login, pings, the client table, routes. Overflow ends the connection: a peer that does not read
    /// these reads nothing.
    Control,
    /// Messages that make a robot do something. Overflow drops as said above.
    Command,
    /// Ordinary topics. Overflow drops as said above.
    State,
    /// Camera pictures. Overflow drops as said above.
    Picture,
}

impl Class {
    /// The classes of topic messages, highest priority first.
    pub const DATA: [Class; 3] = [Class::Command, Class::State, Class::Picture];

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

/// What an outbox has to know of a topic message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// How urgent it is. Never [`Class::Control`].
    pub class: Class,
    /// Which topic it is of: the channel on the way to the server, the feed on the way from it.
    pub tag: u32,
    /// Whether nothing of the topic may be lost.
    pub reliable: bool,
    /// Whether only the newest message of the topic may wait: it takes the place of the one that does.
    pub latest_only: bool,
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
    drops: Drops,
    finished: bool,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `packet`, which is of no topic, at the end of its class. After [`Outbox::finish`] it is dropped, and counted
    /// unless it is a control frame.
    ///
    /// # Errors
    /// [`ControlOverflow`] if too many control frames wait; the connection has to end.
    pub fn push(&mut self, class: Class, packet: Packet) -> Result<(), ControlOverflow> {
        match class.data_index() {
            None if self.finished => {}
            Some(_) if self.finished => self.drops.count(None),
            None if self.control.len() >= defaults::CONTROL_QUEUE_MAX => return Err(ControlOverflow),
            None => self.control.push_back(packet),
            Some(index) => {
                let waiting = Waiting { tag: None, reliable: true, latest_only: false, pinned: false, packet };
                self.data[index].push(waiting, &mut self.drops, &mut self.control);
            }
        }
        Ok(())
    }

    /// Puts a control frame behind the topic messages of `class` that wait, for it says that no more of some topic will come.
    /// It is never dropped: should the messages before it be, it goes with the other control frames.
    pub fn push_behind(&mut self, class: Class, packet: Packet) -> Result<(), ControlOverflow> {
        let Some(index) = class.data_index().filter(|_| !self.finished) else { return self.push(class, packet) };
        let waiting = Waiting { tag: None, reliable: true, latest_only: false, pinned: true, packet };
        self.data[index].push(waiting, &mut self.drops, &mut self.control);
        Ok(())
    }

    /// Puts a topic message at the end of its class, or in the place of the one of its topic that waits. Returns whether
    /// whoever sent it should pause the topic until [`Outbox::take_relieved`] names the class: never for topics that may
    /// lose messages.
    pub fn push_message(&mut self, label: Label, packet: Packet) -> bool {
        let Some(queue) = label.class.data_index().map(|index| &mut self.data[index]) else { return false };
        if self.finished {
            self.drops.count(Some(label.tag));
            return false;
        }
        let Label { tag, reliable, latest_only, .. } = label;
        // Of what may be replaced by something newer, anything may be lost.
        let reliable = reliable && !latest_only;
        let waiting = Waiting { tag: Some(tag), reliable, latest_only, pinned: false, packet };
        queue.push(waiting, &mut self.drops, &mut self.control);
        reliable && queue.is_congested()
    }

    /// The packet that goes next.
    pub fn pop(&mut self) -> Option<Packet> {
        self.control.pop_front().or_else(|| self.data.iter_mut().find_map(Queue::pop))
    }

    /// A class that was congested and is so no more; each is named once.
    pub fn take_relieved(&mut self) -> Option<Class> {
        let index = self.data.iter_mut().position(Queue::take_relieved)?;
        Some(Class::DATA[index])
    }

    /// Whether [`Outbox::take_relieved`] has something to say.
    pub fn has_relieved(&self) -> bool {
        self.data.iter().any(Queue::is_relieved)
    }

    /// Puts `last` behind the control frames that wait, forgets all topic messages, and takes no more.
    pub fn finish(&mut self, last: Option<Packet>) {
        if self.finished {
            return;
        }
        self.control.extend(last);
        for queue in &mut self.data {
            queue.clear(&mut self.drops);
        }
        self.finished = true;
    }

    /// Whether [`Outbox::finish`] was called: once [`Outbox::pop`] says `None`, nothing will come any more.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Topic messages that were given up, those of [`Outbox::take_drops`] included.
    pub fn dropped(&self) -> u64 {
        self.drops.total
    }

    /// How many messages of which topics ([`Label::tag`]) were given up since this was asked last, for at most
    /// [`defaults::DROP_TAGS_MAX`] topics.
    pub fn take_drops(&mut self) -> Vec<(u32, u64)> {
        std::mem::take(&mut self.drops.by_tag).into_iter().collect()
    }
}

impl Class {
    fn data_index(self) -> Option<usize> {
        Class::DATA.iter().position(|&class| class == self)
    }
}

/// Counts what is given up.
#[derive(Debug, Default)]
struct Drops {
    total: u64,
    by_tag: BTreeMap<u32, u64>,
}

impl Drops {
    fn count(&mut self, tag: Option<u32>) {
        self.total += 1;
        if let Some(tag) = tag
            && (self.by_tag.len() < defaults::DROP_TAGS_MAX || self.by_tag.contains_key(&tag))
        {
            *self.by_tag.entry(tag).or_default() += 1;
        }
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

    fn reliable(tag: u32) -> Label {
        Label { class: Class::State, tag, reliable: true, latest_only: false }
    }

    fn best_effort(tag: u32) -> Label {
        Label { reliable: false, ..reliable(tag) }
    }

    fn tags(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.pop()).map(|p| String::from_utf8_lossy(&p.head).into_owned()).collect()
    }

    /// Pops until the class of `label` is relieved, and says how many packets that took.
    fn pops_until_relieved(outbox: &mut Outbox, class: Class) -> Option<usize> {
        let mut pops = 0;
        while outbox.pop().is_some() {
            pops += 1;
            if let Some(relieved) = outbox.take_relieved() {
                assert_eq!(relieved, class);
                return Some(pops);
            }
        }
        None
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
        outbox.push_message(best_effort(1), packet("s3"));
        outbox.push_message(reliable(2), packet("s4"));
        outbox.push_message(best_effort(1), packet("s5"));
        assert_eq!(tags(&mut outbox), ["k1", "c1", "c2", "s1", "s2", "s3", "s4", "s5", "p1"]);
    }

    #[test]
    fn a_full_class_gives_up_best_effort_messages_first_and_then_its_oldest_and_counts_them_by_topic() {
        let quarter = defaults::DATA_QUEUE_BYTES / 4;
        let mut outbox = Outbox::new();
        outbox.push(Class::Command, packet("command")).unwrap();
        outbox.push_message(reliable(1), packet("oldest"));
        outbox.push_message(best_effort(2), large(quarter));
        for _ in 0..3 {
            outbox.push_message(reliable(3), large(quarter - defaults::PACKET_OVERHEAD));
        }
        assert_eq!(outbox.take_drops(), [(2, 1)], "the best-effort one, though there is an older one");
        outbox.push_message(reliable(3), large(quarter));
        assert_eq!(outbox.take_drops(), [(1, 1), (3, 1)], "the oldest reliable ones, as many as need to go");
        outbox.push_message(best_effort(2), large(quarter));
        assert_eq!(outbox.take_drops(), [(2, 1)], "a best-effort message never costs a reliable one");
        assert_eq!((outbox.dropped(), outbox.take_drops()), (4, vec![]));
        assert_eq!(outbox.pop(), Some(packet("command")), "other classes are not touched");
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
    fn the_newest_takes_the_place_of_the_one_that_waits() {
        let latest = |tag| Label { latest_only: true, ..reliable(tag) };
        let mut outbox = Outbox::new();
        outbox.push_message(latest(1), packet("old"));
        outbox.push_message(latest(2), packet("other"));
        outbox.push_message(reliable(3), packet("each"));
        outbox.push_message(latest(1), packet("new"));
        assert_eq!(outbox.take_drops(), [(1, 1)]);
        assert_eq!(tags(&mut outbox), ["new", "other", "each"]);
        outbox.push_message(latest(1), packet("next"));
        assert_eq!(
            (tags(&mut outbox), outbox.dropped()),
            (vec!["next".to_owned()], 1),
            "what was sent is not replaced"
        );
        for _ in 0..2 * defaults::CONGESTED_PACKETS {
            assert!(!outbox.push_message(latest(1), packet("x")), "one waiting message is no congestion");
        }
    }

    #[test]
    fn whoever_sends_too_much_is_told_to_pause_by_number_and_by_bytes_and_told_when_to_go_on() {
        for (size, congested_at) in [(1, defaults::CONGESTED_PACKETS), (100_000, 11)] {
            let mut outbox = Outbox::new();
            let told = (1..).find(|_| outbox.push_message(reliable(1), large(size)));
            assert_eq!(told, Some(congested_at), "{size} bytes each");
            assert!(!outbox.push_message(best_effort(2), large(size)), "who may lose messages need not pause");
            assert_eq!(outbox.take_relieved(), None);
            let pops = pops_until_relieved(&mut outbox, Class::State).unwrap();
            assert!(pops > congested_at / 2 && pops < congested_at, "{pops}");
            assert_eq!(outbox.take_relieved(), None, "once");
            assert!(!outbox.push_message(reliable(1), packet("again")));
        }
    }

    #[test]
    fn the_end_of_a_topic_comes_behind_its_messages_and_survives_them() {
        let mut outbox = Outbox::new();
        outbox.push_message(reliable(1), packet("message"));
        outbox.push_behind(Class::State, packet("end")).unwrap();
        outbox.push(Class::Control, packet("control")).unwrap();
        outbox.push_message(reliable(2), packet("other"));
        assert_eq!(tags(&mut outbox), ["control", "message", "end", "other"]);
        outbox.push_message(reliable(1), packet("message"));
        outbox.push_behind(Class::State, packet("end")).unwrap();
        outbox.push_message(reliable(2), large(defaults::DATA_QUEUE_BYTES));
        assert_eq!((outbox.pop(), outbox.dropped()), (Some(packet("end")), 1));
    }

    #[test]
    fn a_command_is_not_held_up_by_a_congested_state() {
        let mut outbox = Outbox::new();
        while !outbox.push_message(reliable(1), large(10_000)) {}
        assert!(!outbox.push_message(Label { class: Class::Command, ..reliable(2) }, packet("drive")));
    }

    #[test]
    fn one_large_message_alone_is_no_congestion() {
        let mut outbox = Outbox::new();
        assert!(!outbox.push_message(reliable(1), large(5_000_000)));
        assert!(outbox.push_message(reliable(1), large(5_000_000)));
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
        outbox.push_message(reliable(1), packet("s"));
        outbox.finish(Some(packet("goodbye")));
        outbox.push(Class::Control, packet("late")).unwrap();
        outbox.push(Class::Command, packet("a call for a line that is gone")).unwrap();
        outbox.push_message(reliable(1), packet("late"));
        assert_eq!(tags(&mut outbox), ["k", "goodbye"]);
        assert_eq!((outbox.dropped(), outbox.take_drops()), (3, vec![(1, 2)]));
        assert!(outbox.is_finished());
    }

    #[test]
    fn the_table_of_drops_is_bounded_and_the_total_is_not() {
        let mut outbox = Outbox::new();
        outbox.finish(None);
        for tag in 0..2 * defaults::DROP_TAGS_MAX as u32 {
            outbox.push_message(reliable(tag), packet("x"));
        }
        assert_eq!(outbox.take_drops().len(), defaults::DROP_TAGS_MAX);
        assert_eq!(outbox.dropped(), 2 * defaults::DROP_TAGS_MAX as u64);
    }

    /// A message of class `class` and topic `tag`, or a pop.
    fn step() -> impl Strategy<Value = Option<(Label, usize)>> {
        let label = (0..3_usize, 0..5_u32, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
            |(class, tag, reliable, latest_only)| Label { class: Class::DATA[class], tag, reliable, latest_only },
        );
        prop_oneof![4 => (label, 0..9_000_000_usize).prop_map(Some), 1 => Just(None)]
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out_in_order_or_is_counted(steps in proptest::collection::vec(step(), 0..80)) {
            let mut outbox = Outbox::new();
            let mut pushed = 0_u64;
            let mut popped: Vec<Packet> = vec![];
            let mut congested = [false; 3];
            for step in &steps {
                match step {
                    Some((label, size)) => {
                        pushed += 1;
                        let told = outbox.push_message(*label, Packet {
                            head: Bytes::copy_from_slice(&[label.class as u8, label.tag as u8, label.latest_only.into()]),
                            body: Bytes::from(vec![0; *size]),
                        });
                        if told {
                            congested[label.class.data_index().unwrap()] = true;
                        }
                    }
                    None => popped.extend(outbox.pop()),
                }
                while let Some(class) = outbox.take_relieved() {
                    congested[class.data_index().unwrap()] = false;
                }
                for queue in &outbox.data {
                    queue.check();
                }
            }
            popped.extend(std::iter::from_fn(|| outbox.pop()));
            while let Some(class) = outbox.take_relieved() {
                congested[class.data_index().unwrap()] = false;
            }
            prop_assert_eq!(popped.len() as u64 + outbox.dropped(), pushed);
            prop_assert_eq!(outbox.take_drops().iter().map(|(_, count)| count).sum::<u64>(), outbox.dropped());
            prop_assert_eq!(congested, [false; 3], "whoever was told to pause is told to go on");
        }

        #[test]
        fn reliable_messages_of_those_who_pause_when_told_all_arrive_in_order(
            sizes in proptest::collection::vec(0..200_000_usize, 1..400), pops in proptest::collection::vec(0..4_usize, 1..50)
        ) {
            let mut outbox = Outbox::new();
            let (mut sent, mut paused, mut arrived, mut turn) = (0, false, vec![], 0);
            while arrived.len() < sizes.len() {
                // Others fill the outbox up all the while.
                outbox.push_message(best_effort(9), large(1_000_000));
                while !paused && sent < sizes.len() {
                    let head = Bytes::copy_from_slice(&(sent as u32).to_be_bytes());
                    paused = outbox.push_message(reliable(1), Packet { head, body: Bytes::from(vec![0; sizes[sent]]) });
                    sent += 1;
                }
                for _ in 0..=pops[turn % pops.len()] {
                    arrived.extend(outbox.pop().filter(|packet| !packet.head.is_empty()));
                }
                turn += 1;
                paused &= outbox.take_relieved().is_none();
            }
            let numbers: Vec<usize> =
                arrived.iter().map(|p| u32::from_be_bytes(p.head[..].try_into().unwrap()) as usize).collect();
            prop_assert_eq!(numbers, (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
