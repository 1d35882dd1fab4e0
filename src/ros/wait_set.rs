//! A wait set that is kept between turns.

use std::{sync::Arc, time::Duration};

use r2r_rcl as ffi;

use super::{
    caller::Caller,
    error::RosError,
    rcl::{self, Context, GuardCondition, Handle, Node},
    reader::Reader,
    server::Server,
};

/// What one thread waits for. Its guard conditions are its own: no other wait set may hold them.
pub(super) struct WaitSet {
    handle: Handle<ffi::rcl_wait_set_t>,
    wake: Arc<GuardCondition>,
    graph_of: Option<Arc<Node>>,
    /// How many readers, servers and callers it has places for.
    sizes: [usize; 3],
    _context: Arc<Context>,
}

/// What a thread waits for besides its guard conditions.
#[derive(Clone, Copy, Default)]
pub(super) struct Endpoints<'a> {
    pub(super) readers: &'a [Arc<Reader>],
    pub(super) servers: &'a [Arc<Server>],
    pub(super) callers: &'a [Arc<Caller>],
}

/// Why a wait ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    /// Positions of the readers that have samples.
    pub(super) readers: Vec<usize>,
    /// Positions of the servers that have requests.
    pub(super) servers: Vec<usize>,
    /// Positions of the callers that have responses.
    pub(super) callers: Vec<usize>,
    /// The graph has changed.
    pub(super) graph: bool,
}

impl WaitSet {
    /// A wait set that `wake` can end, as can changes of the graph if a node is given.
    pub(super) fn create(
        context: &Arc<Context>,
        wake: Arc<GuardCondition>,
        graph_of: Option<Arc<Node>>,
    ) -> Result<WaitSet, RosError> {
        let guards = 1 + usize::from(graph_of.is_some());
        // SAFETY: the wait set is zero-initialised, stays at its address and keeps its context alive.
        let handle = unsafe {
            let handle = Handle::new(ffi::rcl_get_zero_initialized_wait_set());
            rcl::check(
                ffi::rcl_wait_set_init(handle.as_ptr(), 0, guards, 0, 0, 0, 0, context.as_ptr(), rcl::allocator()),
                || "create a wait set".to_owned(),
            )?;
            handle
        };
        Ok(WaitSet { handle, wake, graph_of, sizes: [0; 3], _context: context.clone() })
    }

    /// Waits until there is something at one of `endpoints`, the graph changes, somebody wakes the thread, or `timeout` is
    /// over.
    pub(super) fn wait(
        &mut self,
        endpoints: Endpoints<'_>,
        timeout: Duration,
        ready: &mut Ready,
    ) -> Result<(), RosError> {
        ready.readers.clear();
        ready.servers.clear();
        ready.callers.clear();
        ready.graph = false;
        self.fill(endpoints)?;
        let timeout = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
        // SAFETY: the wait set belongs to this thread alone (`&mut self`), and what it holds is kept alive by `endpoints`,
        // `wake` and `graph_of`.
        let code = unsafe { ffi::rcl_wait(self.handle.as_ptr(), timeout) };
        if code == ffi::RCL_RET_TIMEOUT as ffi::rcl_ret_t {
            // SAFETY: forgets the error state of this thread.
            unsafe { ffi::rcutils_reset_error() };
        } else {
            rcl::check(code, || "wait for ROS".to_owned())?;
        }
        // Also after a timeout: a trigger that came at the very end was taken back by the middleware, and shows only here.
        // SAFETY: after a wait, the arrays hold as many entries as were added, those that are not ready being null.
        unsafe {
            let set = &*self.handle.as_ptr();
            let Endpoints { readers, servers, callers } = endpoints;
            ready.readers.extend((0..readers.len()).filter(|&index| !(*set.subscriptions.add(index)).is_null()));
            ready.servers.extend((0..servers.len()).filter(|&index| !(*set.services.add(index)).is_null()));
            ready.callers.extend((0..callers.len()).filter(|&index| !(*set.clients.add(index)).is_null()));
            ready.graph = self.graph_of.is_some() && !(*set.guard_conditions.add(1)).is_null();
        }
        Ok(())
    }

    fn fill(&mut self, Endpoints { readers, servers, callers }: Endpoints<'_>) -> Result<(), RosError> {
        let set = self.handle.as_ptr();
        let sizes = [readers.len(), servers.len(), callers.len()];
        // Resizing allocates, so it is only done when their number has changed; clearing sets pointers to null.
        // SAFETY: the wait set is valid and this thread's own; everything added outlives the wait (see `wait`).
        unsafe {
            if sizes != self.sizes {
                let guards = 1 + usize::from(self.graph_of.is_some());
                rcl::check(
                    ffi::rcl_wait_set_resize(set, readers.len(), guards, 0, callers.len(), servers.len(), 0),
                    || format!("resize a wait set to {sizes:?} readers, servers and callers"),
                )?;
                self.sizes = sizes;
            }
            rcl::check(ffi::rcl_wait_set_clear(set), || "clear a wait set".to_owned())?;
            rcl::check(ffi::rcl_wait_set_add_guard_condition(set, self.wake.as_ptr(), std::ptr::null_mut()), || {
                "wait for a guard condition".to_owned()
            })?;
            if let Some(node) = &self.graph_of {
                rcl::check(
                    ffi::rcl_wait_set_add_guard_condition(set, node.graph_guard(), std::ptr::null_mut()),
                    || "wait for changes of the graph".to_owned(),
                )?;
            }
            for reader in readers {
                rcl::check(ffi::rcl_wait_set_add_subscription(set, reader.as_ptr(), std::ptr::null_mut()), || {
                    format!("wait for samples of {}", reader.topic)
                })?;
            }
            for server in servers {
                rcl::check(ffi::rcl_wait_set_add_service(set, server.as_ptr(), std::ptr::null_mut()), || {
                    format!("wait for requests for {}", server.service)
                })?;
            }
            for caller in callers {
                rcl::check(ffi::rcl_wait_set_add_client(set, caller.as_ptr(), std::ptr::null_mut()), || {
                    format!("wait for responses of {}", caller.service)
                })?;
            }
        }
        Ok(())
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        // SAFETY: nobody waits, since the wait set is owned here.
        let code = unsafe { ffi::rcl_wait_set_fini(self.handle.as_ptr()) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            tracing::warn!(reason = rcl::last_error(code), "a wait set did not end cleanly");
        }
    }
}
