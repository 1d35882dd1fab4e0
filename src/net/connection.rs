//! Drives one session over one TCP connection.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{Link, instant, now};
use crate::{
    defaults,
    ids::ConnectionId,
    outbox::Class,
    session::{ClockReading, End, Output, Session},
    wire::{Cause, Decoder, Farewell, Frame, Login, Packet, Version, Welcome},
};

/// Something that happened to a connection.
#[derive(Debug)]
pub struct Event {
    /// Which connection.
    pub connection: ConnectionId,
    /// What.
    pub what: What,
}

/// Kinds of events, in the order in which they come.
#[derive(Debug)]
pub enum What {
    /// (Client) An attempt to connect failed before there was a connection.
    Failed {
        /// Why, in words.
        reason: String,
    },
    /// There is a connection. Nobody has logged in yet.
    Opened {
        /// The other end.
        address: SocketAddr,
        /// For sending to it and ending it.
        handle: Handle,
    },
    /// (Server) The peer wants to log in; answer with [`Handle::welcome`] or [`Handle::refuse`].
    Login(Login),
    /// (Client) The exchange has taken us in.
    Welcomed(Welcome),
    /// A frame of the ready session.
    Frame(Frame),
    /// A new reading of the peer's clock.
    Clock(ClockReading),
    /// Topics of that class which were told to pause ([`Link::send_message`]) may go on.
    Relieved(Class),
    /// The session is over. Always the last event of a connection that was opened.
    Ended(End),
}

/// Holds a connection from outside.
#[derive(Debug, Clone)]
pub struct Handle {
    link: Arc<Link>,
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
pub(super) enum Order {
    Decide(Result<(), Farewell>),
    Stop(Farewell),
}

/// One decision and one stop are all that a connection needs to hear; a second stop changes nothing.
const ORDERS: usize = 4;

impl Handle {
    pub(super) fn new() -> (Handle, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(ORDERS);
        (Handle { link: Arc::new(Link::default()), orders }, receiver)
    }

    /// For sending.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Answers a [`What::Login`]: sends `welcome` in front of everything else, and makes the session ready.
    ///
    /// Neither may come before the other: a session that is ready pings at once, and the client must not see a ping before
    /// its welcome; a client that has its welcome answers at once, and the session must not see that before it is ready.
    pub fn welcome(&self, welcome: Packet) {
        self.link.send_first(welcome, || self.order(Order::Decide(Ok(()))));
    }

    /// Answers a [`What::Login`]: turns the client away.
    pub fn refuse(&self, farewell: Farewell) {
        self.order(Order::Decide(Err(farewell)));
    }

    /// Says goodbye and closes the connection.
    pub fn stop(&self, farewell: Farewell) {
        self.order(Order::Stop(farewell));
    }

    fn order(&self, order: Order) {
        // Full or closed: the connection is ending already.
        let _ = self.orders.try_send(order);
    }
}

/// Runs `session` over `stream` to its end, and reports everything to `events`.
pub(super) async fn drive(
    connection: ConnectionId,
    stream: TcpStream,
    mut session: Session,
    handle: Handle,
    mut orders: mpsc::Receiver<Order>,
    events: &mpsc::Sender<Event>,
) {
    let link = Arc::clone(&handle.link);
    drop(handle); // Once nobody outside holds the connection any more, `orders` says so.
    let (mut reader, writer) = stream.into_split();
    let mut writer = tokio::spawn(write_all(writer, Arc::clone(&link)));
    let mut writing = true;
    let mut decoder = Decoder::new();
    let mut buffer = BytesMut::new();
    let mut chunk = READ_CHUNK;

    let end = 'session: loop {
        while let Some(output) = session.poll_output() {
            let what = match output {
                Output::SendPreamble => {
                    let head = Version::CURRENT.preamble().to_vec().into();
                    link.send(Class::Control, Packet { head, body: bytes::Bytes::new() });
                    continue;
                }
                Output::Send(frame) => {
                    link.send_control(&frame);
                    continue;
                }
                Output::Login(login) => What::Login(login),
                Output::Welcomed(welcome) => What::Welcomed(welcome),
                Output::Frame(frame) => What::Frame(frame),
                Output::Clock(reading) => What::Clock(reading),
                Output::Ended(end) => break 'session end,
            };
            if events.send(Event { connection, what }).await.is_err() {
                session.handle_stop(stopping());
            }
        }
        if session.is_ready() {
            decoder.login_done();
        }
        match decoder.next(&mut buffer) {
            Ok(Some(item)) => {
                session.handle_item(item, now());
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                session.handle_wire_error(&error);
                continue;
            }
        }
        buffer.reserve(chunk);
        let room = buffer.capacity() - buffer.len();
        let deadline = session.poll_timeout().map(instant);
        tokio::select! {
            // Orders first: a decision has to be known before what the client says after it, and bytes before the
            // clock: what has arrived counts as heard.
            biased;
            order = orders.recv() => match order {
                Some(Order::Decide(decision)) => session.handle_decision(decision, now()),
                Some(Order::Stop(farewell)) => session.handle_stop(farewell),
                None => session.handle_stop(stopping()),
            },
            () = link.relieved() => {
                while let Some(class) = link.take_relieved() {
                    if events.send(Event { connection, what: What::Relieved(class) }).await.is_err() {
                        session.handle_stop(stopping());
                    }
                }
            }
            read = reader.read_buf(&mut buffer) => match read {
                Ok(0) => session.handle_broken("the other end closed it without a goodbye"),
                Ok(bytes) => {
                    chunk = next_chunk(chunk, bytes, room);
                    link.count_in(bytes);
                    session.handle_heard(now());
                }
                Err(error) => session.handle_broken(&error.to_string()),
            },
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                session.handle_timeout(now());
            }
            () = link.overflowed() => session.handle_stop(Farewell::new(
                Cause::TooSlow,
                crate::outbox::ControlOverflow.to_string(),
            )),
            written = &mut writer, if writing => {
                writing = false;
                let error = written.unwrap_or_else(|panic| Err(io::Error::other(panic)));
                session.handle_broken(&error.map_or_else(|error| error.to_string(), |()| "nothing to write".to_owned()));
            }
        }
    };

    link.finish();
    if writing {
        // The last words are worth a moment, but a peer that does not read them cannot keep us.
        let written = timeout(defaults::GOODBYE_TIMEOUT, &mut writer).await;
        if written.is_err() {
            writer.abort();
        } else if end.ours {
            let _ = timeout(defaults::GOODBYE_TIMEOUT, drain(&mut reader)).await;
        }
    }
    // Without a receiver there is nobody left who would want to know.
    let _ = events.send(Event { connection, what: What::Ended(end) }).await;
}

/// Bytes read at once. Small, since every idle connection holds a buffer of this size.
const READ_CHUNK: usize = 8 * 1024;
/// The same on a connection that always has more: a flood then costs a system call for 64 messages of 1 KiB, not for 8.
const READ_CHUNK_MAX: usize = 64 * 1024;
/// Packets up to this length are copied together into one write.
const SMALL_PACKET: usize = 4 * 1024;
/// Bytes of small packets that are written at once: what is in here has lost its chance to be overtaken.
const WRITE_BATCH: usize = 16 * 1024;
/// Bytes that are thrown away after a goodbye, so that the peer gets it instead of a reset.
const DRAIN_MAX: usize = 1024 * 1024;

async fn write_all(mut writer: OwnedWriteHalf, link: Arc<Link>) -> io::Result<()> {
    let mut batch = BytesMut::new();
    let mut next = link.next().await;
    while let Some(packet) = next.take() {
        if packet.len() > SMALL_PACKET {
            link.count_out(packet.len());
            writer.write_all_buf(&mut packet.head.chain(packet.body)).await?;
        } else {
            append(&mut batch, &packet);
            while batch.len() < WRITE_BATCH {
                match link.next_now() {
                    Some(packet) if packet.len() <= SMALL_PACKET => append(&mut batch, &packet),
                    large_or_none => {
                        next = large_or_none;
                        break;
                    }
                }
            }
            link.count_out(batch.len());
            writer.write_all_buf(&mut batch).await?;
        }
        if next.is_none() {
            next = link.next().await;
        }
    }
    writer.shutdown().await
}

fn append(batch: &mut BytesMut, packet: &Packet) {
    batch.put_slice(&packet.head);
    batch.put_slice(&packet.body);
}

/// How much is read at once after a read of `bytes` into `room`: twice as much after a full one, half as much when little
/// comes.
fn next_chunk(chunk: usize, bytes: usize, room: usize) -> usize {
    if bytes >= room {
        (chunk * 2).min(READ_CHUNK_MAX)
    } else if bytes < chunk / 4 {
        (chunk / 2).max(READ_CHUNK)
    } else {
        chunk
    }
}

/// Reads and forgets until the peer has closed its side. Closing a socket with unread bytes in it sends a reset, which
/// can overtake the farewell.
async fn drain(reader: &mut OwnedReadHalf) {
    let mut scratch = [0; 1024];
    let mut drained = 0;
    while drained < DRAIN_MAX {
        match reader.read(&mut scratch).await {
            Ok(0) | Err(_) => return,
            Ok(bytes) => drained += bytes,
        }
    }
}

fn stopping() -> Farewell {
    Farewell::new(Cause::Stopping, "the program is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_grow_with_a_flood_and_shrink_after_it() {
        let mut chunk = READ_CHUNK;
        for _ in 0..10 {
            chunk = next_chunk(chunk, chunk, chunk);
        }
        assert_eq!(chunk, READ_CHUNK_MAX);
        assert_eq!(next_chunk(chunk, chunk / 2, chunk), chunk, "as long as it is used");
        for _ in 0..10 {
            chunk = next_chunk(chunk, 30, chunk);
        }
        assert_eq!(chunk, READ_CHUNK);
    }
}
