//! Received bytes in, preamble and frames out.

use bytes::{Buf, Bytes, BytesMut};

use super::{Frame, FrameKind, HEADER_LEN, MAGIC, PREAMBLE_LEN, Version, WireError};

/// What a [`Decoder`] found.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// The peer's preamble, once, first.
    Preamble(Version),
    /// A frame.
    Frame(Frame),
}

/// Cuts a byte stream into [`Item`]s.
///
/// Contract: append what was received to one buffer and call [`Decoder::next`] until it says `Ok(None)`. After an error
/// the stream has lost its frame boundaries, so the connection has to end. A length is judged as soon as its five header
/// bytes are there, so nobody can make the caller wait for, or hold, more than the limit of that kind.
#[derive(Debug, Default)]
pub struct Decoder {
    greeted: bool,
    logged_in: bool,
}

impl Decoder {
    /// A decoder for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on every kind of frame is let in, with its full limit.
    pub fn login_done(&mut self) {
        self.logged_in = true;
    }

    /// The next item at the front of `buffer`, or `Ok(None)` if it is not complete yet.
    ///
    /// # Errors
    /// A [`WireError`] if what stands there is not the protocol.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Item>, WireError> {
        if !self.greeted {
            return self.preamble(buffer);
        }
        let Some(&[l0, l1, l2, l3, number]) = buffer.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let kind = FrameKind::from_number(number).ok_or(WireError::UnknownKind(number))?;
        if !self.logged_in && !kind.is_early() {
            return Err(WireError::TooEarly(kind));
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let limit = kind.limit();
        if length > limit {
            return Err(WireError::Oversized { kind, length, limit });
        }
        if buffer.len() < HEADER_LEN + length {
            return Ok(None);
        }
        buffer.advance(HEADER_LEN);
        // A small payload in memory of its own lets the buffer be used again, and does not hold all that was read with it
        // for as long as it waits for a slow receiver or a late joiner.
        let payload = if length < SHARED_FROM {
            let own = Bytes::copy_from_slice(&buffer[..length]);
            buffer.advance(length);
            own
        } else {
            buffer.split_to(length).freeze()
        };
        Frame::decode(kind, payload).map(|frame| Some(Item::Frame(frame)))
    }

    fn preamble(&mut self, buffer: &mut BytesMut) -> Result<Option<Item>, WireError> {
        // A stranger is told apart by its first byte already, not only when it has sent eight.
        let known = buffer.len().min(MAGIC.len());
        if buffer[..known] != MAGIC[..known] {
            let mut begin = [0; 4];
            begin[..known].copy_from_slice(&buffer[..known]);
            return Err(WireError::NotSwitchboard(begin));
        }
        let Some(&[_, _, _, _, major, minor, _, _]) = buffer.first_chunk::<PREAMBLE_LEN>() else {
            return Ok(None);
        };
        buffer.advance(PREAMBLE_LEN);
        self.greeted = true;
        Ok(Some(Item::Preamble(Version { major, minor })))
    }
}

/// Length from which a payload shares the memory that it was read into [bytes]: below it, a copy costs less than a buffer.
const SHARED_FROM: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        defaults,
        ids::{CallId, ChannelId, ClientId, FeedId, PublisherId, SessionId},
        model::{ClientKind, Durability, Qos, Reliability, ServiceInfo, TopicInfo},
        status::{ClientState, ClientStatus, Traffic},
        time::Wall,
        wire::{
            CallCause, CallFailure, Cause, ClientsUpdate, Congestion, Data, Demand, Farewell, Feed, Flow, Interests,
            Login, Offer, Ping, Pong, Problems, Request, Response, ServiceFeed, ServiceOffer, Subscription, Welcome,
        },
    };

    fn topic() -> TopicInfo {
        TopicInfo {
            name: "/odom".to_owned(),
            type_name: "nav_msgs/msg/Odometry".to_owned(),
            type_hash: "RIHS01_ab".to_owned(),
            qos: Qos {
                reliability: Reliability::BestEffort,
                durability: Durability::TransientLocal,
                depth: 5,
                ..Qos::default()
            },
        }
    }

    fn service() -> ServiceInfo {
        ServiceInfo {
            name: "/set_mode".to_owned(),
            type_name: "std_srvs/srv/SetBool".to_owned(),
            type_hash: "RIHS01_00".to_owned(),
        }
    }

    fn login() -> Login {
        Login {
            id: ClientId::new("r1").unwrap(),
            kind: ClientKind::Robot,
            name: "Robot one".to_owned(),
            host_name: "host".to_owned(),
            software_version: "0.1.0".to_owned(),
            ros_distro: "jazzy".to_owned(),
            capabilities: vec!["topics".to_owned()],
        }
    }

    /// One frame of every kind.
    fn every_frame() -> Vec<Frame> {
        let r1 = ClientId::new("r1").unwrap();
        let farewell = Farewell::new(Cause::DuplicateId, "r1 is connected already");
        let status = ClientStatus {
            id: r1.clone(),
            name: "Robot one".to_owned(),
            kind: ClientKind::Robot,
            state: ClientState::On,
            peer: None,
            address: "127.0.0.1:4000".parse().unwrap(),
            host_name: "host".to_owned(),
            software_version: "0.1.0".to_owned(),
            ros_distro: "jazzy".to_owned(),
            capabilities: vec![],
            first_seen: Wall(1),
            last_seen: Wall(2),
            connected_since: Some(Wall(3)),
            reason: String::new(),
            round_trip: Some(std::time::Duration::from_micros(300)),
            clock_offset: Some(-5),
            traffic: Traffic::default(),
            contested: Vec::new(),
            problems: Vec::new(),
        };
        let frames = vec![
            Frame::Login(login()),
            Frame::Welcome(Welcome { session: SessionId(7), software_version: "0.1.0".to_owned(), at: Wall(9) }),
            Frame::Refused(farewell.clone()),
            Frame::Goodbye(farewell),
            Frame::Ping(Ping { nonce: 1, sent: Wall(2) }),
            Frame::Pong(Pong { nonce: 1, sent: Wall(2), received: Wall(3), replied: Wall(4) }),
            Frame::Clients(ClientsUpdate { reset: true, clients: vec![status] }),
            Frame::Interests(Interests {
                wants: vec!["/*/odom".to_owned()],
                accepts: vec!["/cmd_vel".to_owned()],
                services: vec!["/*/set_mode".to_owned()],
            }),
            Frame::Offers(vec![Offer { channel: ChannelId(1), flow: Flow::State, topic: topic() }]),
            Frame::Withdraw(vec![ChannelId(1)]),
            Frame::FeedsOpen(vec![Feed {
                feed: FeedId(9),
                origin: r1.clone(),
                flow: Flow::Command { to: r1 },
                topic: topic(),
            }]),
            Frame::FeedsClosed(vec![FeedId(9)]),
            Frame::Subscribe(vec![Subscription { feed: FeedId(9), max_rate_millihertz: 10_000, latest_only: true }]),
            Frame::Unsubscribe(vec![FeedId(9)]),
            Frame::Demands(vec![Demand { channel: ChannelId(1), wanted: true, max_rate_millihertz: 0, held: true }]),
            Frame::ServiceOffers(vec![ServiceOffer { channel: ChannelId(2), service: service() }]),
            Frame::ServicesOpen(vec![ServiceFeed {
                feed: FeedId(10),
                origin: ClientId::new("r2").unwrap(),
                service: service(),
            }]),
            Frame::Congested(vec![Congestion { feed: FeedId(9), congested: true }]),
            Frame::Problems(Problems { problems: vec!["/map: the type differs".to_owned()] }),
            Frame::Data(Data {
                id: 9,
                publisher: PublisherId(7),
                keep: 10,
                sequence: 3,
                source_time: Wall(-1),
                payload: Bytes::from_static(b"\0\x01\0\0cdr"),
            }),
            Frame::Request(Request {
                id: 10,
                call: CallId(4),
                limit_millis: 30_000,
                payload: Bytes::from_static(b"\0\x01\0\0cdr"),
            }),
            Frame::Response(Response { call: CallId(4), payload: Bytes::from_static(b"\0\x01\0\0cdr") }),
            Frame::CallFailed(CallFailure::new(CallId(4), CallCause::PeerGone, "r2 is gone")),
            Frame::Abandon(vec![CallId(4)]),
        ];
        assert_eq!(frames.iter().map(Frame::kind).collect::<Vec<_>>(), FrameKind::ALL);
        frames
    }

    fn bytes_of(frame: &Frame) -> Vec<u8> {
        let packet = frame.encode().unwrap();
        [packet.head.as_ref(), packet.body.as_ref()].concat()
    }

    fn ready() -> Decoder {
        Decoder { greeted: true, logged_in: true }
    }

    #[test]
    fn golden_bytes_of_a_preamble_a_login_a_ping_and_a_message() {
        assert_eq!(&Version::CURRENT.preamble(), b"SWBD\x02\x00\x00\x00");
        assert_eq!(
            bytes_of(&Frame::Login(login())),
            b"\x00\x00\x00\x27\x01\x02r1\x00\x09Robot one\x04host\x050.1.0\x05jazzy\x01\x06topics"
        );
        // Signed numbers are zig-zag varints.
        assert_eq!(bytes_of(&Frame::Ping(Ping { nonce: 300, sent: Wall(-1) })), b"\x00\x00\x00\x03\x05\xac\x02\x01");
        assert_eq!(
            bytes_of(&Frame::Data(Data {
                id: 1,
                publisher: PublisherId(4),
                keep: 5,
                sequence: 2,
                source_time: Wall(3),
                payload: Bytes::from_static(b"cdr")
            })),
            b"\x00\x00\x00\x1b\x30\x00\x00\x00\x01\x00\x04\x00\x05\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03cdr"
        );
        assert_eq!(
            bytes_of(&Frame::Request(Request {
                id: 1,
                call: CallId(2),
                limit_millis: 3,
                payload: Bytes::from_static(b"cdr")
            })),
            b"\x00\x00\x00\x13\x31\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x03cdr"
        );
        assert_eq!(
            bytes_of(&Frame::Response(Response { call: CallId(2), payload: Bytes::from_static(b"cdr") })),
            b"\x00\x00\x00\x0b\x32\x00\x00\x00\x00\x00\x00\x00\x02cdr"
        );
    }

    #[test]
    fn every_kind_comes_back_as_it_was_also_byte_by_byte() {
        for frame in every_frame() {
            let mut decoder = ready();
            let mut buffer = BytesMut::new();
            let bytes = bytes_of(&frame);
            for (i, &byte) in bytes.iter().enumerate() {
                buffer.extend_from_slice(&[byte]);
                let item = decoder.next(&mut buffer).unwrap();
                if i + 1 < bytes.len() {
                    assert_eq!(item, None, "{frame:?}");
                } else {
                    assert_eq!(item, Some(Item::Frame(frame.clone())));
                }
            }
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_small_message_that_waits_does_not_hold_the_buffer_that_it_came_in() {
        let data = |size| {
            let payload = Bytes::from(vec![7; size]);
            Frame::Data(Data { id: 9, publisher: PublisherId(0), keep: 0, sequence: 0, source_time: Wall(0), payload })
        };
        for (size, shares) in [(100, false), (2 * SHARED_FROM, true)] {
            let mut buffer = BytesMut::from(bytes_of(&data(size)).as_slice());
            let read_into = buffer.as_ptr_range();
            let item = ready().next(&mut buffer).unwrap();
            let Some(Item::Frame(Frame::Data(Data { payload, .. }))) = item else { panic!("{item:?}") };
            assert_eq!((payload.len(), read_into.contains(&payload.as_ptr())), (size, shares));
        }
    }

    #[test]
    fn a_stranger_is_told_apart_by_its_first_byte() {
        let error = Decoder::new().next(&mut BytesMut::from("GET / HTTP/1.1")).unwrap_err();
        assert_eq!(error, WireError::NotSwitchboard(*b"GET "));
        assert!(Decoder::new().next(&mut BytesMut::from("X")).is_err());
        assert_eq!(Decoder::new().next(&mut BytesMut::from("SW")), Ok(None));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
        let mut header = BytesMut::from(&b"\xff\xff\xff\xff\x30"[..]);
        assert!(matches!(ready().next(&mut header), Err(WireError::Oversized { kind: FrameKind::Data, .. })));
        let mut early = Decoder { greeted: true, logged_in: false };
        let mut header = BytesMut::from(&b"\x00\x00\x40\x01\x01"[..]);
        assert!(matches!(early.next(&mut header), Err(WireError::Oversized { limit: 16_384, .. })));
    }

    #[test]
    fn nothing_but_a_login_is_taken_before_the_login() {
        let mut decoder = Decoder { greeted: true, logged_in: false };
        let mut header = BytesMut::from(&b"\x00\x00\x00\x00\x30"[..]);
        assert_eq!(decoder.next(&mut header), Err(WireError::TooEarly(FrameKind::Data)));
    }

    #[test]
    fn bytes_after_a_message_are_not_ignored() {
        let mut bytes = bytes_of(&Frame::Ping(Ping { nonce: 1, sent: Wall(0) }));
        bytes.push(0);
        bytes[3] += 1;
        assert_eq!(ready().next(&mut BytesMut::from(bytes.as_slice())), Err(WireError::Malformed(FrameKind::Ping)));
    }

    #[test]
    fn our_own_farewells_are_always_ones_that_a_peer_takes() {
        let farewell = Farewell::new(Cause::PortClosed, format!("two\nlines {}", "ä".repeat(defaults::REASON_MAX)));
        assert!(farewell.reason.starts_with("two lines"), "{farewell}");
        let frame = Frame::Goodbye(farewell);
        let item = ready().next(&mut BytesMut::from(bytes_of(&frame).as_slice()));
        assert_eq!(item, Ok(Some(Item::Frame(frame))));
    }

    #[test]
    fn nothing_is_encoded_that_a_receiver_would_refuse() {
        let payload = Bytes::from(vec![0; defaults::MESSAGE_MAX + 1]);
        let data =
            Frame::Data(Data { id: 0, publisher: PublisherId(0), keep: 0, sequence: 0, source_time: Wall(0), payload });
        assert!(matches!(data.encode(), Err(WireError::Oversized { .. })));
    }

    #[test]
    fn texts_and_names_over_their_limits_are_named() {
        let mut long = login();
        long.name = "x".repeat(defaults::TEXT_MAX + 1);
        let mut control = login();
        control.host_name = "a\u{1b}[2J".to_owned();
        let mut many = login();
        many.capabilities = vec![String::new(); defaults::CAPABILITIES_MAX + 1];
        for (frame, words) in [
            (Frame::Login(long), "name in the Login frame has 257 bytes"),
            (Frame::Login(control), "host name in the Login frame has control characters"),
            (
                Frame::Goodbye(Farewell { cause: Cause::Stopping, reason: "\u{1b}[2J".to_owned() }),
                "reason in the Goodbye frame has control characters",
            ),
            (
                Frame::Refused(Farewell { cause: Cause::Full, reason: "x".repeat(defaults::REASON_MAX + 1) }),
                "reason in the Refused frame has 1025 bytes",
            ),
            (Frame::Login(many), "capabilities in the Login frame number 17"),
            (
                Frame::Offers(vec![Offer {
                    channel: ChannelId(1),
                    flow: Flow::State,
                    topic: TopicInfo { name: "no slash".to_owned(), ..topic() },
                }]),
                "topic name in the Offers frame is not valid: \"no slash\"",
            ),
            (
                Frame::ServiceOffers(vec![ServiceOffer {
                    channel: ChannelId(1),
                    service: ServiceInfo { name: "no slash".to_owned(), ..service() },
                }]),
                "service name in the ServiceOffers frame is not valid: \"no slash\"",
            ),
            (
                Frame::Interests(Interests {
                    wants: vec!["/a".to_owned(); defaults::INTERESTS_MAX],
                    services: vec!["/a".to_owned()],
                    ..Interests::default()
                }),
                "patterns in the Interests frame number 257",
            ),
            (
                Frame::Interests(Interests { services: vec!["x".repeat(257)], ..Interests::default() }),
                "pattern in the Interests frame has 257 bytes",
            ),
        ] {
            let error = ready().next(&mut BytesMut::from(bytes_of(&frame).as_slice())).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_never_stall(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = ready();
            let mut buffer = BytesMut::from(bytes.as_slice());
            while let Ok(Some(_)) = decoder.next(&mut buffer) {}
        }

        #[test]
        fn a_frame_with_one_bit_flipped_never_panics(which in 0..FrameKind::ALL.len(), at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut bytes = bytes_of(&every_frame()[which]);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            let mut buffer = BytesMut::from(bytes.as_slice());
            let mut decoder = ready();
            while let Ok(Some(_)) = decoder.next(&mut buffer) {}
        }

        #[test]
        fn messages_of_any_content_round_trip(id: u32, sequence: u64, time: i64, payload: Vec<u8>) {
            let frame = Frame::Data(Data { id, publisher: PublisherId(1), keep: 2, sequence, source_time: Wall(time), payload: payload.into() });
            let item = ready().next(&mut BytesMut::from(bytes_of(&frame).as_slice())).unwrap();
            prop_assert_eq!(item, Some(Item::Frame(frame)));
        }
    }
}
