//! A service server of a type known only at run time.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use r2r_rcl as ffi;

use super::{
    buffer::Buffer,
    error::RosError,
    ownership::Ownership,
    quota::Ticket,
    rcl::{self, Handle, Node},
    reader::padded,
    room::Room,
    service_types::ServiceTypes,
};
use crate::{
    defaults,
    ids::{RequestId, ServerId},
    model::ServiceInfo,
};

/// A service server of our own.
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) service: String,
    server: Handle<ffi::rcl_service_t>,
    node: Arc<Node>,
    types: ServiceTypes,
    buffer: Mutex<Buffer>,
    pending: Mutex<Pending>,
}

/// The requests that wait for their answers.
#[derive(Default)]
struct Pending {
    /// Whom to answer.
    requests: HashMap<RequestId, (ffi::rmw_request_id_t, Ticket)>,
    /// Whether the server is going: whoever asks now is refused.
    ended: bool,
}

/// Outcome of one attempt to take a request.
pub(super) enum TakenRequest {
    /// A request, and whom to answer.
    Request(ffi::rmw_request_id_t, Bytes),
    /// A request of one of our own callers, which is for the real server of that name.
    Own,
    /// There is none.
    Nothing,
    /// The middleware failed, or gave something that is none.
    Failed(String),
}

impl Server {
    pub(super) fn create(node: &Arc<Node>, id: ServerId, about: &ServiceInfo) -> Result<Server, RosError> {
        let types = ServiceTypes::load(about)?;
        let name = rcl::c_string("service", &about.name)?;
        let buffer = Mutex::new(Buffer::new()?);
        let _guard = node.endpoints.lock();
        // SAFETY: node, type support and name are valid; the server is zero-initialised, stays at its address and keeps
        // its node alive.
        let server = unsafe {
            let mut options = ffi::rcl_service_get_default_options();
            // The default of 10 loses requests and answers of a burst, without a word. Depths need not match.
            options.qos.depth = defaults::CALLS_PENDING_MAX;
            let server = Handle::new(ffi::rcl_get_zero_initialized_service());
            rcl::check(
                ffi::rcl_service_init(server.as_ptr(), node.as_ptr(), types.service.as_ptr(), name.as_ptr(), &options),
                || format!("serve {} as {}", about.name, about.type_name),
            )?;
            server
        };
        Ok(Server {
            id,
            service: about.name.clone(),
            server,
            node: node.clone(),
            types,
            buffer,
            pending: Mutex::default(),
        })
    }

    pub(super) fn as_ptr(&self) -> *const ffi::rcl_service_t {
        self.server.as_ptr()
    }

    /// Takes the next request. A large one takes room until it is dropped.
    pub(super) fn take(&self, ownership: &Ownership, room: &Arc<Room>) -> TakenRequest {
        let mut request = match self.types.request.message() {
            Ok(request) => request,
            Err(error) => return TakenRequest::Failed(error.to_string()),
        };
        // Also keeps other takes away from the server.
        let mut buffer = self.buffer.lock();
        let from = match self.take_into(request.as_mut_ptr()) {
            Ok(Some(from)) => from,
            Ok(None) => return TakenRequest::Nothing,
            Err(reason) => return TakenRequest::Failed(reason),
        };
        if is_own(ownership, &from) {
            return TakenRequest::Own;
        }
        let payload = request.write(&mut buffer).and_then(|()| buffer.hand_out(|length| room.share(length)));
        match payload {
            Ok(payload) => TakenRequest::Request(from, payload),
            Err(error) => TakenRequest::Failed(error.to_string()),
        }
    }

    /// Takes note of a request that will be answered.
    pub(super) fn remember(&self, request: RequestId, from: ffi::rmw_request_id_t, ticket: Ticket) {
        let mut pending = self.pending.lock();
        if pending.ended {
            drop(pending);
            return self.refuse_at_the_end(from);
        }
        pending.requests.insert(request, (from, ticket));
    }

    /// Refuses everything that has no answer, and what nobody has taken: after this nobody will give one.
    pub(super) fn end(&self, ownership: &Ownership) {
        let left = {
            let mut pending = self.pending.lock();
            pending.ended = true;
            std::mem::take(&mut pending.requests)
        };
        left.into_values().for_each(|(from, _)| self.refuse_at_the_end(from));
        let Ok(mut request) = self.types.request.message() else { return };
        let _buffer = self.buffer.lock();
        for _ in 0..defaults::CALLS_PENDING_MAX {
            let Ok(Some(from)) = self.take_into(request.as_mut_ptr()) else { return };
            // Those of our own callers are for the real server of that name.
            if !is_own(ownership, &from) {
                self.refuse_at_the_end(from);
            }
        }
    }

    /// Answers with a serialized response. If it is none, the request stays open.
    pub(super) fn respond(&self, request: RequestId, response: &[u8]) -> Result<(), RosError> {
        let mut response = self.types.response.read(response)?;
        let (mut to, _ticket) = self.forget(request)?;
        self.send(&mut to, response.as_mut_ptr())
    }

    /// Answers a request with the type's words for failure. `false` if it has none.
    pub(super) fn respond_failure(&self, request: RequestId, reason: &str) -> Result<bool, RosError> {
        let (to, _ticket) = self.forget(request)?;
        self.refuse(to, reason)
    }

    /// Answers whoever asked with the type's words for failure. `false` if it has none.
    pub(super) fn refuse(&self, mut to: ffi::rmw_request_id_t, reason: &str) -> Result<bool, RosError> {
        let mut response = self.types.response.message()?;
        let told = response.tell_failure(reason);
        self.send(&mut to, response.as_mut_ptr())?;
        Ok(told)
    }

    fn refuse_at_the_end(&self, from: ffi::rmw_request_id_t) {
        if let Err(error) = self.refuse(from, "the service is not there any more") {
            tracing::debug!(service = self.service, "a request was not answered: {error}");
        }
    }

    /// The buffer is locked: nobody else takes.
    fn take_into(&self, request: *mut std::ffi::c_void) -> Result<Option<ffi::rmw_request_id_t>, String> {
        let mut from = ffi::rmw_request_id_t { writer_guid: [0; _], sequence_number: 0 };
        // SAFETY: the server is valid, and the message is one of its request type.
        let code = unsafe { ffi::rcl_take_request(self.as_ptr(), &mut from, request) };
        if code == ffi::RCL_RET_SERVICE_TAKE_FAILED as ffi::rcl_ret_t {
            // SAFETY: forgets the error state of this thread.
            unsafe { ffi::rcutils_reset_error() };
            return Ok(None);
        }
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            return Err(rcl::last_error(code));
        }
        Ok(Some(from))
    }

    fn forget(&self, request: RequestId) -> Result<(ffi::rmw_request_id_t, Ticket), RosError> {
        match self.pending.lock().requests.entry(request) {
            Entry::Occupied(place) => Ok(place.remove()),
            Entry::Vacant(_) => Err(RosError::UnknownRequest { service: self.service.clone(), request }),
        }
    }

    fn send(&self, to: &mut ffi::rmw_request_id_t, response: *mut std::ffi::c_void) -> Result<(), RosError> {
        // SAFETY: the server is valid, and the message is one of its response type. Middlewares let several threads answer
        // and take at a time (rmw.h), and rcl adds nothing that is shared.
        let code = unsafe { ffi::rcl_send_response(self.as_ptr(), to, response) };
        rcl::check(code, || format!("answer a request for {}", self.service))
    }
}

fn is_own(ownership: &Ownership, from: &ffi::rmw_request_id_t) -> bool {
    ownership.is_own_publication(&padded(&from.writer_guid.map(|byte| byte.to_ne_bytes()[0])))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _guard = self.node.endpoints.lock();
        // SAFETY: the last owner lets go, so no wait set holds the server; its node is still alive.
        let code = unsafe { ffi::rcl_service_fini(self.server.as_ptr(), self.node.as_ptr()) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            tracing::warn!(service = self.service, reason = rcl::last_error(code), "a server did not end cleanly");
        }
    }
}
