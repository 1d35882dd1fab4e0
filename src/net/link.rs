//! What a connection and those who send through it share.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    hub::LineFigures,
    outbox::{Class, Label, Outbox},
    wire::{Frame, Packet},
};

/// The outgoing side of one connection. Sending never waits: what does not fit is dropped by the rules of
/// [`Outbox`], and counted; before that, senders of reliable topics are told to pause.
#[derive(Debug, Default)]
pub struct Link {
    outbox: Mutex<Outbox>,
    /// Wakes the writer.
    filled: Notify,
    /// Wakes the reader, to end the session.
    trouble: Notify,
    /// Wakes the reader, to tell that a class is relieved.
    relief: Notify,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Link {
    /// Puts `packet` into the outbox. A peer that lets control frames pile up is disconnected.
    pub fn send(&self, class: Class, packet: Packet) {
        match self.outbox.lock().push(class, packet) {
            Ok(()) => self.filled.notify_one(),
            Err(_) => self.trouble.notify_one(),
        }
    }

    /// Puts a topic message into the outbox. Returns whether the topic should pause until the connection reports
    /// [`What::Relieved`](super::What::Relieved) for its class.
    pub fn send_message(&self, label: Label, packet: Packet) -> bool {
        let congested = self.outbox.lock().push_message(label, packet);
        self.filled.notify_one();
        congested
    }

    /// Sends a control frame behind the topic messages of `class` that wait.
    pub fn send_behind(&self, class: Class, frame: &Frame) {
        match frame.encode() {
            Ok(packet) => self.send_packet_behind(class, packet),
            // Every list is cut to size before it comes here.
            Err(error) => tracing::error!("a control frame was not sent: {error}"),
        }
    }

    /// The same with an encoded frame.
    pub fn send_packet_behind(&self, class: Class, packet: Packet) {
        match self.outbox.lock().push_behind(class, packet) {
            Ok(()) => self.filled.notify_one(),
            Err(_) => self.trouble.notify_one(),
        }
    }

    /// How many messages of which topics were dropped since this was asked last (see [`Outbox::take_drops`]).
    pub fn take_drops(&self) -> Vec<(u32, u64)> {
        self.outbox.lock().take_drops()
    }

    /// Puts a control packet into the outbox, with `meanwhile` done while nobody else can put anything in.
    pub(super) fn send_first(&self, packet: Packet, meanwhile: impl FnOnce()) {
        let mut outbox = self.outbox.lock();
        meanwhile();
        let pushed = outbox.push(Class::Control, packet);
        drop(outbox);
        if pushed.is_ok() {
            self.filled.notify_one();
        }
    }

    /// Sends a control frame.
    pub fn send_control(&self, frame: &Frame) {
        match frame.encode() {
            Ok(packet) => self.send(Class::Control, packet),
            // Every list is cut to size before it comes here.
            Err(error) => tracing::error!("a control frame was not sent: {error}"),
        }
    }

    /// What went through so far.
    pub fn figures(&self) -> LineFigures {
        LineFigures {
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            messages_dropped: self.outbox.lock().dropped(),
        }
    }

    /// The next packet to write; `None` when there will be no more.
    pub(super) async fn next(&self) -> Option<Packet> {
        loop {
            // Asked for before looking, so that a packet that comes in between is not missed.
            let filled = self.filled.notified();
            {
                let mut outbox = self.outbox.lock();
                if let Some(packet) = self.pop(&mut outbox) {
                    return Some(packet);
                }
                if outbox.is_finished() {
                    return None;
                }
            }
            filled.await;
        }
    }

    /// The next packet, if one waits already.
    pub(super) fn next_now(&self) -> Option<Packet> {
        self.pop(&mut self.outbox.lock())
    }

    /// A class that was congested and is so no more. To be asked until there is none, after [`Link::relieved`].
    pub(super) fn take_relieved(&self) -> Option<Class> {
        self.outbox.lock().take_relieved()
    }

    /// Waits until a class is relieved.
    pub(super) async fn relieved(&self) {
        self.relief.notified().await;
    }

    /// Takes no more, and lets the writer end when the control frames are written.
    pub(super) fn finish(&self) {
        self.outbox.lock().finish(None);
        self.filled.notify_one();
    }

    /// Waits until the peer has let too many control frames pile up.
    pub(super) async fn overflowed(&self) {
        self.trouble.notified().await;
    }

    fn pop(&self, outbox: &mut Outbox) -> Option<Packet> {
        let packet = outbox.pop();
        if packet.is_some() && outbox.has_relieved() {
            self.relief.notify_one();
        }
        packet
    }

    pub(super) fn count_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
