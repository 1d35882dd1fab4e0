//! What a connection and those who send through it share.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    hub::LineFigures,
    outbox::{Class, Outbox},
    wire::{Frame, Packet},
};

/// The outgoing side of one connection. Sending never waits: what does not fit is dropped by the rules of
/// [`Outbox`], and counted.
#[derive(Debug, Default)]
pub struct Link {
    outbox: Mutex<Outbox>,
    /// Wakes the writer.
    filled: Notify,
    /// Wakes the reader, to end the session.
    trouble: Notify,
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
                if let Some(packet) = outbox.pop() {
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
        self.outbox.lock().pop()
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

    pub(super) fn count_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
