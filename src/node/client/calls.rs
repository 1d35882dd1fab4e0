//! What the routes say about services, done with the bridge and the line.

use super::Client;
use crate::{
    ids::{RequestId, ServerId},
    outbox::Class,
    routes::RouteCommand,
    wire::Frame,
};

impl Client {
    pub(super) fn carry_out_call(&mut self, command: RouteCommand) {
        match command {
            RouteCommand::SendCall(frame) => self.send_call(&frame),
            RouteCommand::CreateServer(server, service) => {
                tracing::debug!(service = service.name, "serving for the exchange");
                if let Err(error) = self.bridge.create_server(server, &service) {
                    self.routes.handle_server_failed(server, &error.to_string());
                }
            }
            RouteCommand::DestroyServer(server) => self.bridge.destroy_server(server),
            RouteCommand::Respond(server, request, payload) => {
                if let Err(error) = self.bridge.respond(server, request, &payload) {
                    // A payload that is no response leaves the request open.
                    tracing::warn!("an answer of the exchange could not be given: {error}");
                    self.respond_failure(server, request, &error.to_string());
                }
            }
            RouteCommand::RespondFailure(server, request, reason) => self.respond_failure(server, request, &reason),
            RouteCommand::CreateCaller(caller, service) => {
                tracing::debug!(service = service.name, "calling for the exchange");
                if let Err(error) = self.bridge.create_caller(caller, &service) {
                    self.routes.handle_caller_failed(caller, &error.to_string());
                }
            }
            RouteCommand::DestroyCaller(caller) => self.bridge.destroy_caller(caller),
            RouteCommand::Call(caller, call, payload) => {
                if let Err(error) = self.bridge.call(caller, call, &payload) {
                    self.routes.handle_call_failed(call, &error.to_string());
                }
            }
            RouteCommand::ForgetCall(caller, call) => self.bridge.forget_call(caller, call),
            other => tracing::error!("nothing was done for {other:?}"),
        }
    }

    fn send_call(&self, frame: &Frame) {
        let Some((_, handle)) = &self.line.connection else { return };
        match frame.encode() {
            Ok(packet) => handle.link().send(Class::Command, packet),
            // The routes let nothing through that is too large.
            Err(error) => tracing::error!("a call was not sent: {error}"),
        }
    }

    fn respond_failure(&self, server: ServerId, request: RequestId, reason: &str) {
        match self.bridge.respond_failure(server, request, reason) {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!("the type has no word for failure; the caller got an empty response: {reason}")
            }
            // Whoever asked has gone, or its server has.
            Err(error) => tracing::debug!("a failed call could not be answered: {error}"),
        }
    }
}
