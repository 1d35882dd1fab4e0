//! Ages, figures, and who commands what.

use super::*;
use crate::{
    session::ClockReading,
    traffic::{self, Direction, TopicTraffic},
    wire::Version,
};

impl Exchange {
    fn contested(&self, id: &str) -> Vec<String> {
        let status = self.hub.status(self.now, |_| LineFigures::default());
        status.clients.into_iter().find(|client| client.id.as_str() == id).unwrap().contested
    }

    fn clock(&mut self, of: ConnectionId, offset: i64) {
        let reading = ClockReading { round_trip: Duration::from_millis(1), offset };
        self.hub.handle_clock(of, reading, self.now);
    }

    /// Sends a message that was published at `source_time`, and says when the receiver is told that it was.
    fn source_time_of(&mut self, from: ConnectionId, channel: u32, source_time: Wall) -> Wall {
        let data = Data {
            id: channel,
            publisher: PublisherId(0),
            keep: 0,
            sequence: 0,
            source_time,
            payload: Bytes::from_static(b"cdr"),
        };
        let mut told = None;
        self.hub.route(from, data, self.now, |_, _, packet| {
            let bytes = [packet.head.as_ref(), packet.body.as_ref()].concat();
            let mut decoder = Decoder::new();
            let mut buffer = BytesMut::from(&Version::CURRENT.preamble()[..]);
            buffer.extend_from_slice(&bytes);
            decoder.login_done();
            while let Some(item) = decoder.next(&mut buffer).unwrap() {
                if let Item::Frame(Frame::Data(data)) = item {
                    told = Some(data.source_time);
                }
            }
            false
        });
        told.unwrap()
    }

    fn figures(&self, id: &str, direction: Direction) -> TopicTraffic {
        let topics = self.hub.traffic(self.now).topics;
        let is_meant = |topic: &&TopicTraffic| topic.name.client.as_str() == id && topic.name.direction == direction;
        topics.iter().find(is_meant).unwrap_or_else(|| panic!("nothing of {id} in {topics:?}")).clone()
    }
}

fn command_to(id: &str) -> Flow {
    Flow::Command { to: ClientId::new(id).unwrap() }
}

/// A offers /odom, B takes it.
fn a_pair() -> (Exchange, FeedId) {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    exchange.join(B, "r2");
    exchange.interests(B, &["/*/odom"], &[]);
    exchange.offer(A, 1, Flow::State, "/odom");
    let feed = FeedId(0);
    let subscription = Subscription { feed, max_rate_millihertz: 2_000, latest_only: false };
    exchange.frame(B, Frame::Subscribe(vec![subscription]));
    (exchange, feed)
}

#[test]
fn the_source_time_is_put_onto_the_exchanges_clock() {
    let (mut exchange, _) = a_pair();
    exchange.later(Duration::from_secs(100));
    // Nothing is known of the other clock: it counts from its arrival.
    assert_eq!(exchange.source_time_of(A, 1, Wall(7)), exchange.now.wall);
    assert_eq!(exchange.figures("r1", Direction::In).latency_p50, None);
    exchange.later(Duration::from_secs(1));
    exchange.clock(A, 5_000_000_000);
    let published = Wall(exchange.now.wall.0 - 20_000_000);
    let on_its_clock = Wall(published.0 + 5_000_000_000);
    assert_eq!(exchange.source_time_of(A, 1, on_its_clock), published);
    assert_eq!(exchange.figures("r1", Direction::In).latency_p50, Some(Duration::from_millis(20)));
    assert_eq!(exchange.figures("r2", Direction::Out).latency_p99, Some(Duration::from_millis(20)));
}

#[test]
fn what_goes_in_and_out_is_counted_for_each_line() {
    let (mut exchange, feed) = a_pair();
    let mut passed = 0;
    for _ in 0..10 {
        passed += exchange.send(A, 1).len() as u64;
        exchange.later(Duration::from_millis(100));
    }
    let came = exchange.figures("r1", Direction::In);
    assert_eq!((came.name.topic.as_str(), came.received, came.sent, came.bytes), ("/r1/odom", 10, 10, 30));
    assert_eq!(came.rate, 10.0);
    // r2 wants 2 Hz.
    let went = exchange.figures("r2", Direction::Out);
    assert!((2..=3).contains(&passed));
    assert_eq!((went.received, went.sent, went.thinned), (10, passed, 10 - passed));
    exchange.hub.handle_given_up(B, feed, traffic::Cause::Late, 1);
    exchange.hub.handle_thinned(B, feed, 1);
    let went = exchange.figures("r2", Direction::Out);
    assert_eq!((went.sent, went.thinned, went.dropped.of(traffic::Cause::Late)), (passed - 2, 11 - passed, 1));
    let status = exchange.hub.status(exchange.now, |_| LineFigures::default());
    assert_eq!(status.clients.iter().map(|client| client.traffic.messages_late).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_topic_of_two_commanders_is_contested_until_one_goes() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    exchange.join(B, "bob");
    exchange.join(C, "alice");
    exchange.interests(A, &[], &["/cmd_vel"]);
    exchange.offer(B, 1, command_to("r1"), "/cmd_vel");
    exchange.offer(B, 2, command_to("r1"), "/arm");
    assert_eq!(exchange.contested("r1"), [""; 0]);
    exchange.offer(C, 1, command_to("r1"), "/cmd_vel");
    exchange.offer(C, 2, command_to("r1"), "/arm");
    exchange.offer(C, 3, command_to("bob"), "/cmd_vel");
    assert_eq!(exchange.contested("r1"), ["/cmd_vel: alice, bob"], "nobody may command the arm");
    assert_eq!(exchange.contested("bob"), [""; 0]);
    exchange.leave(B, true);
    assert_eq!(exchange.contested("r1"), [""; 0]);
}
