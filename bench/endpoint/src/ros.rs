//! As much of rcl as the benchmark needs: a node with one publisher or one subscription of serialized messages.
//!
//! Everything here is made once and lives until the program ends its work; rcl's structures are leaked boxes, so that
//! their addresses never change.

use std::{
    ffi::{CStr, CString},
    time::Duration,
};

use anyhow::{Context as _, bail};
use libloading::Library;
use r2r_rcl as ffi;

use crate::message::TYPE;

/// How much is kept for the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum History {
    /// Everything that was not delivered yet.
    KeepAll,
    /// The last few.
    KeepLast,
}

/// Depth of KEEP_LAST: that of ROS's default profile.
const DEPTH: usize = 10;

/// A node in a context of its own.
pub(crate) struct Node {
    context: *mut ffi::rcl_context_t,
    node: *mut ffi::rcl_node_t,
}

impl Node {
    /// Joins the graph that the environment names.
    pub(crate) fn join(name: &str) -> anyhow::Result<Node> {
        let name = CString::new(name)?;
        // SAFETY: every structure is initialised by the function made for it, and stays at its address for ever.
        unsafe {
            let mut options = ffi::rcl_get_zero_initialized_init_options();
            check(ffi::rcl_init_options_init(&mut options, ffi::rcutils_get_default_allocator()), "prepare")?;
            let context = leak(ffi::rcl_get_zero_initialized_context());
            check(ffi::rcl_init(0, std::ptr::null(), &options, context), "start a context")?;
            check(ffi::rcl_init_options_fini(&mut options), "end the options")?;
            let node = leak(ffi::rcl_get_zero_initialized_node());
            let options = ffi::rcl_node_get_default_options();
            check(ffi::rcl_node_init(node, name.as_ptr(), c"/".as_ptr(), context, &options), "create the node")?;
            Ok(Node { context, node })
        }
    }

    /// Makes a reliable publisher.
    pub(crate) fn publisher(&self, topic: &str, history: History) -> anyhow::Result<Publisher<'_>> {
        let topic = CString::new(topic)?;
        let types = type_support()?;
        // SAFETY: node, type support and name are valid; the publisher stays at its address for ever.
        unsafe {
            let mut options = ffi::rcl_publisher_get_default_options();
            set_history(&mut options.qos, history);
            let publisher = leak(ffi::rcl_get_zero_initialized_publisher());
            check(ffi::rcl_publisher_init(publisher, self.node, types, topic.as_ptr(), &options), "publish")?;
            Ok(Publisher { node: self, publisher })
        }
    }

    /// Makes a reliable subscription.
    pub(crate) fn subscription(&self, topic: &str, history: History) -> anyhow::Result<Subscription<'_>> {
        let topic = CString::new(topic)?;
        let types = type_support()?;
        // SAFETY: as above; the wait set and the buffer are initialised by the functions made for them.
        unsafe {
            let mut options = ffi::rcl_subscription_get_default_options();
            set_history(&mut options.qos, history);
            let subscription = leak(ffi::rcl_get_zero_initialized_subscription());
            check(ffi::rcl_subscription_init(subscription, self.node, types, topic.as_ptr(), &options), "subscribe")?;
            let allocator = ffi::rcutils_get_default_allocator();
            let waits = leak(ffi::rcl_get_zero_initialized_wait_set());
            check(ffi::rcl_wait_set_init(waits, 1, 0, 0, 0, 0, 0, self.context, allocator), "create a wait set")?;
            let mut buffer = ffi::rcutils_get_zero_initialized_uint8_array();
            check(ffi::rcutils_uint8_array_init(&mut buffer, BUFFER_FIRST, &allocator), "allocate a buffer")?;
            Ok(Subscription { node: self, subscription, waits, buffer })
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: publisher and subscription borrow the node, so they have ended before.
        unsafe {
            let _ = ffi::rcl_node_fini(self.node);
            let _ = ffi::rcl_shutdown(self.context);
            let _ = ffi::rcl_context_fini(self.context);
        }
    }
}

/// First size of the buffer of received messages [bytes]. It grows.
const BUFFER_FIRST: usize = 4096;

/// A reliable publisher.
pub(crate) struct Publisher<'n> {
    node: &'n Node,
    publisher: *mut ffi::rcl_publisher_t,
}

impl Publisher<'_> {
    /// Publishes a serialized message. `false` if the middleware does not take it, as when its history is full.
    pub(crate) fn publish(&self, bytes: &[u8]) -> bool {
        let message = ffi::rcl_serialized_message_t {
            // Only read from.
            buffer: bytes.as_ptr().cast_mut(),
            buffer_length: bytes.len(),
            buffer_capacity: bytes.len(),
            // SAFETY: takes nothing and returns plain function pointers.
            allocator: unsafe { ffi::rcutils_get_default_allocator() },
        };
        // SAFETY: publisher and message are valid, and the message is not kept beyond the call.
        unsafe {
            let code = ffi::rcl_publish_serialized_message(self.publisher, &message, std::ptr::null_mut());
            ffi::rcutils_reset_error();
            code == OK
        }
    }

    /// How many subscriptions are matched.
    pub(crate) fn matched(&self) -> usize {
        let mut count = 0;
        // SAFETY: the publisher is valid.
        unsafe {
            let _ = ffi::rcl_publisher_get_subscription_count(self.publisher, &mut count);
            ffi::rcutils_reset_error();
        }
        count
    }
}

impl Drop for Publisher<'_> {
    fn drop(&mut self) {
        // SAFETY: the publisher is valid, and so is its node.
        let _ = unsafe { ffi::rcl_publisher_fini(self.publisher, self.node.node) };
    }
}

/// A reliable subscription.
pub(crate) struct Subscription<'n> {
    node: &'n Node,
    subscription: *mut ffi::rcl_subscription_t,
    waits: *mut ffi::rcl_wait_set_t,
    buffer: ffi::rcl_serialized_message_t,
}

impl Subscription<'_> {
    /// Waits for messages, at most for `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> anyhow::Result<()> {
        let limit = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
        // SAFETY: the wait set has room for the one subscription, and both are valid.
        unsafe {
            check(ffi::rcl_wait_set_clear(self.waits), "clear the wait set")?;
            let added = ffi::rcl_wait_set_add_subscription(self.waits, self.subscription, std::ptr::null_mut());
            check(added, "wait for the subscription")?;
            let code = ffi::rcl_wait(self.waits, limit);
            if code == ffi::RCL_RET_TIMEOUT as ffi::rcl_ret_t {
                ffi::rcutils_reset_error();
                return Ok(());
            }
            check(code, "wait")
        }
    }

    /// Takes the next message, if there is one.
    pub(crate) fn take(&mut self) -> anyhow::Result<Option<&[u8]>> {
        // SAFETY: subscription and buffer are valid; the middleware lets the buffer grow with its own allocator.
        unsafe {
            let code = ffi::rcl_take_serialized_message(
                self.subscription,
                &mut self.buffer,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            );
            if code == ffi::RCL_RET_SUBSCRIPTION_TAKE_FAILED as ffi::rcl_ret_t {
                ffi::rcutils_reset_error();
                return Ok(None);
            }
            check(code, "take a message")?;
            Ok(Some(std::slice::from_raw_parts(self.buffer.buffer, self.buffer.buffer_length)))
        }
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        // SAFETY: everything is valid and ends once, the node after it.
        unsafe {
            let _ = ffi::rcl_wait_set_fini(self.waits);
            let _ = ffi::rcl_subscription_fini(self.subscription, self.node.node);
            let _ = ffi::rcutils_uint8_array_fini(&mut self.buffer);
        }
    }
}

/// Now, on the clock that all processes of a machine share and nobody sets [ns].
pub(crate) fn steady_now() -> anyhow::Result<u64> {
    let mut now = 0;
    // SAFETY: writes to `now` only.
    check(unsafe { ffi::rcutils_steady_time_now(&mut now) }, "read the clock")?;
    Ok(u64::try_from(now)?)
}

const OK: ffi::rcl_ret_t = ffi::RCL_RET_OK as ffi::rcl_ret_t;

fn leak<T>(value: T) -> *mut T {
    Box::leak(Box::new(value))
}

fn set_history(qos: &mut ffi::rmw_qos_profile_t, history: History) {
    qos.reliability = ffi::rmw_qos_reliability_policy_t::RMW_QOS_POLICY_RELIABILITY_RELIABLE;
    (qos.history, qos.depth) = match history {
        History::KeepAll => (ffi::rmw_qos_history_policy_t::RMW_QOS_POLICY_HISTORY_KEEP_ALL, 0),
        History::KeepLast => (ffi::rmw_qos_history_policy_t::RMW_QOS_POLICY_HISTORY_KEEP_LAST, DEPTH),
    };
}

/// Type support of [`TYPE`], from the library that rosidl generated for its package.
fn type_support() -> anyhow::Result<*const ffi::rosidl_message_type_support_t> {
    let (package, name) = TYPE;
    let file = format!("lib{package}__rosidl_typesupport_c.so");
    // SAFETY: loading it runs no more than the constructors of C++ globals.
    let library = unsafe { Library::new(&file) }.with_context(|| format!("{file} is not found: is ROS 2 sourced?"))?;
    // Stays open until the end: middlewares keep pointers into it.
    let library: &'static Library = Box::leak(Box::new(library));
    type GetHandle = unsafe extern "C" fn() -> *const ffi::rosidl_message_type_support_t;
    let symbol = format!("rosidl_typesupport_c__get_message_type_support_handle__{package}__msg__{name}");
    // SAFETY: rosidl generates this symbol with exactly this signature.
    Ok(unsafe { library.get::<GetHandle>(symbol.as_bytes())?() })
}

fn check(code: ffi::rcl_ret_t, action: &str) -> anyhow::Result<()> {
    if code == OK {
        return Ok(());
    }
    // SAFETY: the error state is per thread, and holds a NUL-terminated text.
    let reason = unsafe {
        let state = ffi::rcutils_get_error_string();
        let reason = CStr::from_ptr(state.str_.as_ptr()).to_string_lossy().into_owned();
        ffi::rcutils_reset_error();
        reason
    };
    bail!("cannot {action}: {reason}")
}
