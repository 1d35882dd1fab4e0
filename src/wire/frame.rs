//! Frames: their numbers, all in one place, and how they become bytes and come back.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    CallFailure, ClientsUpdate, Congestion, Demand, Farewell, Feed, HEADER_LEN, Interests, Login, Offer, Ping, Pong,
    Problems, ServiceFeed, ServiceOffer, Subscription, Welcome, WireError,
    control::{check_service, check_topic},
};
use crate::{
    defaults,
    ids::{CallId, ChannelId, FeedId, PublisherId},
    time::Wall,
};

/// Number of a frame on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// [`Login`], client → server.
    Login = 0x01,
    /// [`Welcome`], server → client.
    Welcome = 0x02,
    /// [`Farewell`], server → client, instead of a welcome.
    Refused = 0x03,
    /// [`Farewell`], either way, after the welcome.
    Goodbye = 0x04,
    /// [`Ping`], either way.
    Ping = 0x05,
    /// [`Pong`], either way.
    Pong = 0x06,
    /// [`ClientsUpdate`], server → client.
    Clients = 0x10,
    /// [`Interests`], client → server.
    Interests = 0x20,
    /// List of [`Offer`], client → server.
    Offers = 0x21,
    /// List of [`ChannelId`], client → server.
    Withdraw = 0x22,
    /// List of [`Feed`], server → client.
    FeedsOpen = 0x23,
    /// List of [`FeedId`], server → client.
    FeedsClosed = 0x24,
    /// List of [`Subscription`], client → server.
    Subscribe = 0x25,
    /// List of [`FeedId`], client → server.
    Unsubscribe = 0x26,
    /// List of [`Demand`], server → client.
    Demands = 0x27,
    /// List of [`ServiceOffer`], client → server.
    ServiceOffers = 0x28,
    /// List of [`ServiceFeed`], server → client.
    ServicesOpen = 0x29,
    /// List of [`Congestion`], client → server.
    Congested = 0x2a,
    /// [`Problems`], client → server.
    Problems = 0x2b,
    /// [`Data`], either way.
    Data = 0x30,
    /// [`Request`], either way.
    Request = 0x31,
    /// [`Response`], either way.
    Response = 0x32,
    /// [`CallFailure`], either way.
    CallFailed = 0x33,
    /// List of [`CallId`] of requests whose answers nobody waits for any more, either way, after the request.
    Abandon = 0x34,
}

impl FrameKind {
    /// Every kind.
    pub const ALL: [FrameKind; 24] = [
        FrameKind::Login,
        FrameKind::Welcome,
        FrameKind::Refused,
        FrameKind::Goodbye,
        FrameKind::Ping,
        FrameKind::Pong,
        FrameKind::Clients,
        FrameKind::Interests,
        FrameKind::Offers,
        FrameKind::Withdraw,
        FrameKind::FeedsOpen,
        FrameKind::FeedsClosed,
        FrameKind::Subscribe,
        FrameKind::Unsubscribe,
        FrameKind::Demands,
        FrameKind::ServiceOffers,
        FrameKind::ServicesOpen,
        FrameKind::Congested,
        FrameKind::Problems,
        FrameKind::Data,
        FrameKind::Request,
        FrameKind::Response,
        FrameKind::CallFailed,
        FrameKind::Abandon,
    ];

    /// The kind of that number.
    pub fn from_number(number: u8) -> Option<FrameKind> {
        FrameKind::ALL.into_iter().find(|&kind| kind as u8 == number)
    }

    /// Whether it may come before the login is done.
    pub fn is_early(self) -> bool {
        matches!(self, FrameKind::Login | FrameKind::Welcome | FrameKind::Refused)
    }

    /// Largest payload [bytes].
    pub fn limit(self) -> usize {
        match self {
            FrameKind::Data => DATA_HEAD_LEN + defaults::MESSAGE_MAX,
            FrameKind::Request => REQUEST_HEAD_LEN + defaults::MESSAGE_MAX,
            FrameKind::Response => RESPONSE_HEAD_LEN + defaults::MESSAGE_MAX,
            kind if kind.is_early() => defaults::LOGIN_FRAME_MAX,
            FrameKind::Goodbye | FrameKind::Ping | FrameKind::Pong => defaults::LOGIN_FRAME_MAX,
            _ => defaults::CONTROL_FRAME_MAX,
        }
    }
}

/// A message of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// The sender's [`ChannelId`] on the way to the server, the server's [`FeedId`] on the way from it.
    pub id: u32,
    /// Which of the publishers behind the channel it comes from.
    pub publisher: PublisherId,
    /// How many of its last messages that publisher keeps for late joiners; 0 for volatile topics.
    pub keep: u16,
    /// Counts the channel's messages from 0 at their origin, so that gaps can be seen.
    pub sequence: u64,
    /// When it was published: on the way to the server on the clock of its origin, on the way from it on the server's.
    pub source_time: Wall,
    /// The message as the middleware serialized it (CDR with its encapsulation header). Never decoded.
    pub payload: Bytes,
}

/// A service call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The [`FeedId`] of the service on the way to the server, its owner's [`ChannelId`] on the way from it.
    pub id: u32,
    /// The sender's number for the call; comes back in the answer.
    pub call: CallId,
    /// After how long an answer is of no use any more [ms]; 0 for never.
    pub limit_millis: u32,
    /// The request as the middleware serializes it (CDR with its encapsulation header).
    pub payload: Bytes,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Of the request.
    pub call: CallId,
    /// The response as the middleware serializes it (CDR with its encapsulation header).
    pub payload: Bytes,
}

/// Fixed part of a data frame's payload: id, publisher, keep, sequence, source time [bytes].
const DATA_HEAD_LEN: usize = 4 + 2 + 2 + 8 + 8;
/// Fixed part of a request's payload: id, call, limit [bytes].
const REQUEST_HEAD_LEN: usize = 4 + 8 + 4;
/// Fixed part of a response's payload: call [bytes].
const RESPONSE_HEAD_LEN: usize = 8;

/// A frame.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // Each says the same as the `FrameKind` of its name.
pub enum Frame {
    Login(Login),
    Welcome(Welcome),
    Refused(Farewell),
    Goodbye(Farewell),
    Ping(Ping),
    Pong(Pong),
    Clients(ClientsUpdate),
    Interests(Interests),
    Offers(Vec<Offer>),
    Withdraw(Vec<ChannelId>),
    FeedsOpen(Vec<Feed>),
    FeedsClosed(Vec<FeedId>),
    Subscribe(Vec<Subscription>),
    Unsubscribe(Vec<FeedId>),
    Demands(Vec<Demand>),
    ServiceOffers(Vec<ServiceOffer>),
    ServicesOpen(Vec<ServiceFeed>),
    Congested(Vec<Congestion>),
    Problems(Problems),
    Data(Data),
    Request(Request),
    Response(Response),
    CallFailed(CallFailure),
    Abandon(Vec<CallId>),
}

/// A frame as bytes: the head is its own, the body is shared between all who get the same message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Header, and the fixed part of the payload.
    pub head: Bytes,
    /// The rest of the payload, empty for control frames.
    pub body: Bytes,
}

impl Packet {
    /// Length on the wire [bytes].
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether there is nothing to send. Never true for an encoded frame.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Frame {
    /// Its number.
    pub fn kind(&self) -> FrameKind {
        match self {
            Frame::Login(_) => FrameKind::Login,
            Frame::Welcome(_) => FrameKind::Welcome,
            Frame::Refused(_) => FrameKind::Refused,
            Frame::Goodbye(_) => FrameKind::Goodbye,
            Frame::Ping(_) => FrameKind::Ping,
            Frame::Pong(_) => FrameKind::Pong,
            Frame::Clients(_) => FrameKind::Clients,
            Frame::Interests(_) => FrameKind::Interests,
            Frame::Offers(_) => FrameKind::Offers,
            Frame::Withdraw(_) => FrameKind::Withdraw,
            Frame::FeedsOpen(_) => FrameKind::FeedsOpen,
            Frame::FeedsClosed(_) => FrameKind::FeedsClosed,
            Frame::Subscribe(_) => FrameKind::Subscribe,
            Frame::Unsubscribe(_) => FrameKind::Unsubscribe,
            Frame::Demands(_) => FrameKind::Demands,
            Frame::ServiceOffers(_) => FrameKind::ServiceOffers,
            Frame::ServicesOpen(_) => FrameKind::ServicesOpen,
            Frame::Congested(_) => FrameKind::Congested,
            Frame::Problems(_) => FrameKind::Problems,
            Frame::Data(_) => FrameKind::Data,
            Frame::Request(_) => FrameKind::Request,
            Frame::Response(_) => FrameKind::Response,
            Frame::CallFailed(_) => FrameKind::CallFailed,
            Frame::Abandon(_) => FrameKind::Abandon,
        }
    }

    /// The frame as bytes.
    ///
    /// # Errors
    /// [`WireError::Oversized`] if the receiver would refuse it: nothing is sent that cannot be read.
    pub fn encode(&self) -> Result<Packet, WireError> {
        match self {
            Frame::Login(it) => encode_control(self.kind(), it),
            Frame::Welcome(it) => encode_control(self.kind(), it),
            Frame::Refused(it) | Frame::Goodbye(it) => encode_control(self.kind(), it),
            Frame::Ping(it) => encode_control(self.kind(), it),
            Frame::Pong(it) => encode_control(self.kind(), it),
            Frame::Clients(it) => encode_control(self.kind(), it),
            Frame::Interests(it) => encode_control(self.kind(), it),
            Frame::Offers(it) => encode_control(self.kind(), it),
            Frame::Withdraw(it) => encode_control(self.kind(), it),
            Frame::FeedsOpen(it) => encode_control(self.kind(), it),
            Frame::FeedsClosed(it) | Frame::Unsubscribe(it) => encode_control(self.kind(), it),
            Frame::Subscribe(it) => encode_control(self.kind(), it),
            Frame::Demands(it) => encode_control(self.kind(), it),
            Frame::ServiceOffers(it) => encode_control(self.kind(), it),
            Frame::ServicesOpen(it) => encode_control(self.kind(), it),
            Frame::Congested(it) => encode_control(self.kind(), it),
            Frame::Problems(it) => encode_control(self.kind(), it),
            Frame::CallFailed(it) => encode_control(self.kind(), it),
            Frame::Abandon(it) => encode_control(self.kind(), it),
            Frame::Data(data) => encode_with_body(self.kind(), DATA_HEAD_LEN, &data.payload, |head| {
                head.put_u32(data.id);
                head.put_u16(data.publisher.0);
                head.put_u16(data.keep);
                head.put_u64(data.sequence);
                head.put_i64(data.source_time.0);
            }),
            Frame::Request(request) => encode_with_body(self.kind(), REQUEST_HEAD_LEN, &request.payload, |head| {
                head.put_u32(request.id);
                head.put_u64(request.call.0);
                head.put_u32(request.limit_millis);
            }),
            Frame::Response(response) => encode_with_body(self.kind(), RESPONSE_HEAD_LEN, &response.payload, |head| {
                head.put_u64(response.call.0);
            }),
        }
    }

    /// The frame of `kind` in `payload`, checked against every limit.
    ///
    /// # Errors
    /// [`WireError::Malformed`] or [`WireError::Invalid`].
    pub fn decode(kind: FrameKind, mut payload: Bytes) -> Result<Frame, WireError> {
        let frame = match kind {
            FrameKind::Login => Frame::Login(decode_control(kind, &payload)?),
            FrameKind::Welcome => Frame::Welcome(decode_control(kind, &payload)?),
            FrameKind::Refused => Frame::Refused(decode_control(kind, &payload)?),
            FrameKind::Goodbye => Frame::Goodbye(decode_control(kind, &payload)?),
            FrameKind::Ping => Frame::Ping(decode_control(kind, &payload)?),
            FrameKind::Pong => Frame::Pong(decode_control(kind, &payload)?),
            FrameKind::Clients => Frame::Clients(decode_control(kind, &payload)?),
            FrameKind::Interests => Frame::Interests(decode_control(kind, &payload)?),
            FrameKind::Offers => Frame::Offers(decode_control(kind, &payload)?),
            FrameKind::Withdraw => Frame::Withdraw(decode_control(kind, &payload)?),
            FrameKind::FeedsOpen => Frame::FeedsOpen(decode_control(kind, &payload)?),
            FrameKind::FeedsClosed => Frame::FeedsClosed(decode_control(kind, &payload)?),
            FrameKind::Subscribe => Frame::Subscribe(decode_control(kind, &payload)?),
            FrameKind::Unsubscribe => Frame::Unsubscribe(decode_control(kind, &payload)?),
            FrameKind::Demands => Frame::Demands(decode_control(kind, &payload)?),
            FrameKind::ServiceOffers => Frame::ServiceOffers(decode_control(kind, &payload)?),
            FrameKind::ServicesOpen => Frame::ServicesOpen(decode_control(kind, &payload)?),
            FrameKind::Congested => Frame::Congested(decode_control(kind, &payload)?),
            FrameKind::Problems => Frame::Problems(decode_control(kind, &payload)?),
            FrameKind::CallFailed => Frame::CallFailed(decode_control(kind, &payload)?),
            FrameKind::Abandon => Frame::Abandon(decode_control(kind, &payload)?),
            FrameKind::Data => {
                check_head(kind, &payload, DATA_HEAD_LEN)?;
                Frame::Data(Data {
                    id: payload.get_u32(),
                    publisher: PublisherId(payload.get_u16()),
                    keep: payload.get_u16(),
                    sequence: payload.get_u64(),
                    source_time: Wall(payload.get_i64()),
                    payload,
                })
            }
            FrameKind::Request => {
                check_head(kind, &payload, REQUEST_HEAD_LEN)?;
                Frame::Request(Request {
                    id: payload.get_u32(),
                    call: CallId(payload.get_u64()),
                    limit_millis: payload.get_u32(),
                    payload,
                })
            }
            FrameKind::Response => {
                check_head(kind, &payload, RESPONSE_HEAD_LEN)?;
                Frame::Response(Response { call: CallId(payload.get_u64()), payload })
            }
        };
        frame.check()?;
        Ok(frame)
    }

    fn check(&self) -> Result<(), WireError> {
        match self {
            Frame::Login(login) => login.check(),
            Frame::Refused(farewell) | Frame::Goodbye(farewell) => farewell.check(self.kind()),
            Frame::Interests(interests) => interests.check(),
            Frame::Offers(offers) => offers.iter().try_for_each(|offer| check_topic(self.kind(), &offer.topic)),
            Frame::FeedsOpen(feeds) => feeds.iter().try_for_each(|feed| check_topic(self.kind(), &feed.topic)),
            Frame::ServiceOffers(offers) => {
                offers.iter().try_for_each(|offer| check_service(self.kind(), &offer.service))
            }
            Frame::ServicesOpen(feeds) => feeds.iter().try_for_each(|feed| check_service(self.kind(), &feed.service)),
            Frame::Problems(problems) => problems.check(),
            Frame::CallFailed(failure) => failure.check(),
            _ => Ok(()),
        }
    }
}

/// A frame whose body is shared and not copied; `put` writes the `head_len` bytes in front of it.
fn encode_with_body(
    kind: FrameKind,
    head_len: usize,
    body: &Bytes,
    put: impl FnOnce(&mut BytesMut),
) -> Result<Packet, WireError> {
    let length = checked_length(kind, head_len + body.len())?;
    let mut head = BytesMut::with_capacity(HEADER_LEN + head_len);
    head.put_u32(length);
    head.put_u8(kind as u8);
    put(&mut head);
    Ok(Packet { head: head.freeze(), body: body.clone() })
}

fn check_head(kind: FrameKind, payload: &Bytes, head_len: usize) -> Result<(), WireError> {
    if payload.len() < head_len { Err(WireError::Malformed(kind)) } else { Ok(()) }
}

fn encode_control<T: Serialize>(kind: FrameKind, message: &T) -> Result<Packet, WireError> {
    let mut bytes = vec![0; HEADER_LEN];
    // Serializing plain values into memory cannot fail; the error is passed on all the same.
    bytes = postcard::to_extend(message, bytes).map_err(|_| WireError::Malformed(kind))?;
    let length = checked_length(kind, bytes.len() - HEADER_LEN)?;
    if let Some((header, _)) = bytes.split_first_chunk_mut::<HEADER_LEN>() {
        let [l0, l1, l2, l3] = length.to_be_bytes();
        *header = [l0, l1, l2, l3, kind as u8];
    }
    Ok(Packet { head: bytes.into(), body: Bytes::new() })
}

fn decode_control<T: DeserializeOwned>(kind: FrameKind, payload: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        _ => Err(WireError::Malformed(kind)),
    }
}

fn checked_length(kind: FrameKind, length: usize) -> Result<u32, WireError> {
    let limit = kind.limit();
    match u32::try_from(length) {
        Ok(fits) if length <= limit => Ok(fits),
        _ => Err(WireError::Oversized { kind, length, limit }),
    }
}
