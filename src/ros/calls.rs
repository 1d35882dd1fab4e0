//! The bridge's own servers and callers: what its handle and the thread that takes for them share.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::{
    caller::Caller,
    error::RosError,
    ownership::Ownership,
    quota::Quota,
    rcl::{GuardCondition, Node},
    server::Server,
};
use crate::{
    defaults,
    ids::{CallId, CallerId, RequestId, ServerId},
    model::ServiceInfo,
};

/// What became of calls, since the bridge was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallCounters {
    /// Requests that were answered with failure at once, because [`defaults::CALLS_PENDING_MAX`] others waited.
    pub refused: u64,
    /// Responses that nobody waited for any more, or that a second server of the same name gave.
    pub unwanted: u64,
    /// Requests and responses that could not be taken.
    pub failed: u64,
}

/// The servers and callers.
pub(super) struct Calls {
    servers: Mutex<HashMap<ServerId, Arc<Server>>>,
    callers: Mutex<HashMap<CallerId, Arc<Caller>>>,
    /// Goes up with each change of the two tables.
    generation: AtomicU64,
    /// Wakes the thread that takes for them.
    wake: Arc<GuardCondition>,
    /// Calls of ours that wait for their answers.
    calls: Quota,
    /// Requests that we have not answered.
    pub(super) requests: Quota,
    next_request: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) unwanted: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Calls {
    pub(super) fn new(wake: Arc<GuardCondition>) -> Calls {
        Calls {
            servers: Mutex::default(),
            callers: Mutex::default(),
            generation: AtomicU64::new(0),
            wake,
            calls: Quota::new(defaults::CALLS_PENDING_MAX),
            requests: Quota::new(defaults::CALLS_PENDING_MAX),
            next_request: AtomicU64::new(1),
            refused: AtomicU64::new(0),
            unwanted: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    pub(super) fn create_server(&self, node: &Arc<Node>, id: ServerId, about: &ServiceInfo) -> Result<(), RosError> {
        if self.servers.lock().contains_key(&id) {
            return Err(RosError::DuplicateServer(id));
        }
        // Made outside the lock: the thread that takes needs it.
        let server = Arc::new(Server::create(node, id, about)?);
        match self.servers.lock().entry(id) {
            Entry::Occupied(_) => return Err(RosError::DuplicateServer(id)),
            Entry::Vacant(place) => drop(place.insert(server)),
        }
        self.changed();
        Ok(())
    }

    pub(super) fn destroy_server(&self, id: ServerId, ownership: &Ownership) {
        let removed = self.servers.lock().remove(&id);
        if let Some(server) = removed {
            self.changed();
            server.end(ownership);
        }
    }

    pub(super) fn respond(&self, id: ServerId, request: RequestId, response: &[u8]) -> Result<(), RosError> {
        self.server(id)?.respond(request, response)
    }

    pub(super) fn respond_failure(&self, id: ServerId, request: RequestId, reason: &str) -> Result<bool, RosError> {
        self.server(id)?.respond_failure(request, reason)
    }

    pub(super) fn create_caller(&self, node: &Arc<Node>, id: CallerId, about: &ServiceInfo) -> Result<(), RosError> {
        if self.callers.lock().contains_key(&id) {
            return Err(RosError::DuplicateCaller(id));
        }
        let caller = Arc::new(Caller::create(node, id, about)?);
        match self.callers.lock().entry(id) {
            Entry::Occupied(_) => return Err(RosError::DuplicateCaller(id)),
            Entry::Vacant(place) => drop(place.insert(caller)),
        }
        self.changed();
        Ok(())
    }

    pub(super) fn destroy_caller(&self, id: CallerId) {
        let removed = self.callers.lock().remove(&id);
        if removed.is_some() {
            self.changed();
        }
    }

    pub(super) fn call(&self, id: CallerId, call: CallId, request: &[u8]) -> Result<(), RosError> {
        let caller = self.caller(id)?;
        let Some(ticket) = self.calls.ticket() else {
            return Err(RosError::CallsFull { service: caller.service.clone(), most: self.calls.most() });
        };
        caller.call(call, request, ticket)
    }

    pub(super) fn forget_call(&self, id: CallerId, call: CallId) {
        if let Ok(caller) = self.caller(id) {
            caller.forget(call);
        }
    }

    pub(super) fn counters(&self) -> CallCounters {
        CallCounters {
            refused: self.refused.load(Ordering::Relaxed),
            unwanted: self.unwanted.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Everything there is, ordered by id.
    pub(super) fn all(&self) -> (Vec<Arc<Server>>, Vec<Arc<Caller>>) {
        let mut servers: Vec<_> = self.servers.lock().values().cloned().collect();
        let mut callers: Vec<_> = self.callers.lock().values().cloned().collect();
        servers.sort_unstable_by_key(|server| server.id);
        callers.sort_unstable_by_key(|caller| caller.id);
        (servers, callers)
    }

    pub(super) fn next_request(&self) -> RequestId {
        RequestId(self.next_request.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets all of them go, when the bridge ends.
    pub(super) fn clear(&self, ownership: &Ownership) {
        let servers = std::mem::take(&mut *self.servers.lock());
        servers.values().for_each(|server| server.end(ownership));
        let callers = std::mem::take(&mut *self.callers.lock());
        // Their ends talk to the middleware: outside the locks.
        drop((servers, callers));
    }

    fn server(&self, id: ServerId) -> Result<Arc<Server>, RosError> {
        self.servers.lock().get(&id).cloned().ok_or(RosError::UnknownServer(id))
    }

    fn caller(&self, id: CallerId) -> Result<Arc<Caller>, RosError> {
        self.callers.lock().get(&id).cloned().ok_or(RosError::UnknownCaller(id))
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.wake.trigger();
    }
}
