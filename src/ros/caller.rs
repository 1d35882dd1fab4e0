//! A service client of a type known only at run time.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use r2r_rcl as ffi;

use super::{
    buffer::Buffer,
    error::RosError,
    quota::Ticket,
    rcl::{self, Handle, Node},
    room::Room,
    service_types::ServiceTypes,
};
use crate::{
    defaults,
    ids::{CallId, CallerId},
    model::ServiceInfo,
};

/// How long a new client may take to be matched with the servers that are there. On one host it takes microseconds.
const MATCHING: Duration = Duration::from_millis(100);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(2);

/// A service client of our own.
pub(super) struct Caller {
    pub(super) id: CallerId,
    pub(super) service: String,
    client: Handle<ffi::rcl_client_t>,
    node: Arc<Node>,
    types: ServiceTypes,
    buffer: Mutex<Buffer>,
    /// Which call waits for the answer with this sequence number. Also keeps two calls apart.
    pending: Mutex<HashMap<i64, (CallId, Ticket)>>,
    matched_by: Instant,
}

/// Outcome of one attempt to take a response.
pub(super) enum TakenResponse {
    /// The answer to a call.
    Response(CallId, Bytes),
    /// An answer that nobody waits for any more: that of a second server, or to a call that was forgotten.
    Unwanted,
    /// There is none.
    Nothing,
    /// The middleware failed, or gave something that is none.
    Failed(String),
}

impl Caller {
    pub(super) fn create(node: &Arc<Node>, id: CallerId, about: &ServiceInfo) -> Result<Caller, RosError> {
        let types = ServiceTypes::load(about)?;
        let name = rcl::c_string("service", &about.name)?;
        let buffer = Mutex::new(Buffer::new()?);
        let _guard = node.endpoints.lock();
        // SAFETY: node, type support and name are valid; the client is zero-initialised, stays at its address and keeps
        // its node alive.
        let client = unsafe {
            let mut options = ffi::rcl_client_get_default_options();
            // The default of 10 loses requests and answers of a burst, without a word. Depths need not match.
            options.qos.depth = defaults::CALLS_PENDING_MAX;
            let client = Handle::new(ffi::rcl_get_zero_initialized_client());
            rcl::check(
                ffi::rcl_client_init(client.as_ptr(), node.as_ptr(), types.service.as_ptr(), name.as_ptr(), &options),
                || format!("call {} as {}", about.name, about.type_name),
            )?;
            client
        };
        Ok(Caller {
            id,
            service: about.name.clone(),
            client,
            node: node.clone(),
            types,
            buffer,
            pending: Mutex::default(),
            matched_by: Instant::now() + MATCHING,
        })
    }

    pub(super) fn as_ptr(&self) -> *const ffi::rcl_client_t {
        self.client.as_ptr()
    }

    /// Sends a serialized request, once it is known that somebody will get it.
    pub(super) fn call(&self, call: CallId, request: &[u8], ticket: Ticket) -> Result<(), RosError> {
        let mut request = self.types.request.read(request)?;
        self.find_server()?;
        // Held beyond the sending, so that an answer that comes at once finds its call.
        let mut pending = self.pending.lock();
        let mut sequence = 0;
        // SAFETY: the client is valid, the message is one of its request type, and the lock keeps other calls away.
        let code = unsafe { ffi::rcl_send_request(self.as_ptr(), request.as_mut_ptr(), &mut sequence) };
        rcl::check(code, || format!("call {}", self.service))?;
        pending.insert(sequence, (call, ticket));
        Ok(())
    }

    pub(super) fn forget(&self, call: CallId) {
        self.pending.lock().retain(|_, (pending, _)| *pending != call);
    }

    /// Takes the next response. A large one takes room until it is dropped.
    pub(super) fn take(&self, room: &Arc<Room>) -> TakenResponse {
        let mut response = match self.types.response.message() {
            Ok(response) => response,
            Err(error) => return TakenResponse::Failed(error.to_string()),
        };
        // Also keeps other takes away from the client.
        let mut buffer = self.buffer.lock();
        let mut to = ffi::rmw_request_id_t { writer_guid: [0; _], sequence_number: 0 };
        // SAFETY: the client is valid, and the message is one of its response type.
        let code = unsafe { ffi::rcl_take_response(self.as_ptr(), &mut to, response.as_mut_ptr()) };
        if code == ffi::RCL_RET_CLIENT_TAKE_FAILED as ffi::rcl_ret_t {
            // SAFETY: forgets the error state of this thread.
            unsafe { ffi::rcutils_reset_error() };
            return TakenResponse::Nothing;
        }
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            return TakenResponse::Failed(rcl::last_error(code));
        }
        let Some((call, _ticket)) = self.pending.lock().remove(&to.sequence_number) else {
            return TakenResponse::Unwanted;
        };
        match response.write(&mut buffer).and_then(|()| buffer.hand_out(|length| room.share(length))) {
            Ok(payload) => TakenResponse::Response(call, payload),
            Err(error) => TakenResponse::Failed(error.to_string()),
        }
    }

    /// A new client waits a little for those that are there to be matched with it; later calls do not wait.
    fn find_server(&self) -> Result<(), RosError> {
        loop {
            let mut available = false;
            // SAFETY: node and client are valid, and looking is allowed while others use them.
            let code =
                unsafe { ffi::rcl_service_server_is_available(self.node.as_ptr(), self.as_ptr(), &mut available) };
            rcl::check(code, || format!("look for a server of {}", self.service))?;
            if available {
                return Ok(());
            }
            if Instant::now() >= self.matched_by {
                return Err(RosError::NoServer(self.service.clone()));
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _guard = self.node.endpoints.lock();
        // SAFETY: the last owner lets go, so no wait set holds the client; its node is still alive.
        let code = unsafe { ffi::rcl_client_fini(self.client.as_ptr(), self.node.as_ptr()) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            tracing::warn!(service = self.service, reason = rcl::last_error(code), "a client did not end cleanly");
        }
    }
}
