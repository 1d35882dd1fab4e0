//! What the routes want done.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::{
    defaults,
    ids::{CallId, CallerId, ReaderId, RequestId, ServerId, WriterId},
    model::{ServiceInfo, TopicInfo},
    outbox::Class,
    wire::Frame,
};

/// What the driver of [`super::Routes`] is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteCommand {
    /// Send this frame to the exchange.
    Send(Frame),
    /// Send this frame to the exchange, behind the messages of that class that wait.
    SendBehind(Class, Frame),
    /// Begin to read a local topic. If that fails, say so with [`super::Routes::handle_reader_failed`].
    CreateReader(ReaderId, TopicInfo),
    /// Take no more samples of it for now (`true`), or go on.
    HoldReader(ReaderId, bool),
    /// Say with [`super::Routes::handle_reader_done`] when all that it has is taken.
    FinishReader(ReaderId),
    /// Read it no more.
    DestroyReader(ReaderId),
    /// Begin to publish a local topic. If that fails, say so with [`super::Routes::handle_writer_failed`].
    CreateWriter(WriterId, TopicInfo),
    /// Publish a message of zeros, since whoever commanded through this writer is gone. Its destruction comes next, and has
    /// to wait until the message has arrived ([`defaults::STOP_LINGER`]).
    PublishStop(WriterId),
    /// Publish it no more.
    DestroyWriter(WriterId),
    /// Send this frame about a service call to the exchange, as urgently as a command. It is never too large.
    SendCall(Frame),
    /// Serve a service that is elsewhere. If that fails, say so with [`super::Routes::handle_server_failed`].
    CreateServer(ServerId, ServiceInfo),
    /// Serve it no more. Every request that we were told of has its answer before.
    DestroyServer(ServerId),
    /// Answer a request with a serialized response.
    Respond(ServerId, RequestId, Bytes),
    /// Answer a request with its type's own word for failure, for the reason given.
    RespondFailure(ServerId, RequestId, String),
    /// Begin to call a local service for others. If that fails, say so with [`super::Routes::handle_caller_failed`].
    CreateCaller(CallerId, ServiceInfo),
    /// Call it no more.
    DestroyCaller(CallerId),
    /// Call a local service with a serialized request. If that fails, say so with [`super::Routes::handle_call_failed`].
    Call(CallerId, CallId, Bytes),
    /// Nobody waits for the answer to that call any more.
    ForgetCall(CallerId, CallId),
    /// Tell the user why a topic does not go the way that the rules say.
    Warn(String),
}

/// Commands that wait to be polled, and what their making needs.
#[derive(Debug, Default)]
pub(super) struct Output {
    commands: VecDeque<RouteCommand>,
    next_id: u32,
    /// Warnings about single messages, so that each is given once in a connection.
    warned: BTreeSet<String>,
}

impl Output {
    pub(super) fn poll(&mut self) -> Option<RouteCommand> {
        self.commands.pop_front()
    }

    pub(super) fn push(&mut self, command: RouteCommand) {
        self.commands.push_back(command);
    }

    pub(super) fn send(&mut self, frame: Frame) {
        self.push(RouteCommand::Send(frame));
    }

    /// Sends `list` in frames of a size that the exchange takes.
    pub(super) fn send_list<T: Clone>(&mut self, list: &[T], frame: impl Fn(Vec<T>) -> Frame) {
        for chunk in list.chunks(defaults::LIST_CHUNK) {
            self.send(frame(chunk.to_vec()));
        }
    }

    /// A number that no other reader, writer, server, caller or channel has.
    pub(super) fn number(&mut self) -> u32 {
        let number = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        number
    }

    pub(super) fn forget_warnings(&mut self) {
        self.warned.clear();
    }

    /// Tells of something that happened to a single message. What holds for a route is a problem of its report.
    pub(super) fn warn(&mut self, warning: String) {
        if self.warned.len() < defaults::ROUTE_WARNINGS_MAX && self.warned.insert(warning.clone()) {
            self.push(RouteCommand::Warn(warning));
        }
    }
}
