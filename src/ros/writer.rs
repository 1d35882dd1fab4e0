//! A publisher of serialized samples of a type known only at run time.

use std::{sync::Arc, time::Duration};

use r2r_rcl as ffi;

use super::{
    buffer, default_message,
    error::RosError,
    qos,
    rcl::{self, Handle, Node},
    types::{self, TypeSupport},
};
use crate::{model::TopicInfo, time::Wall};

/// Length of the encapsulation header that begins every serialized sample [bytes] (RTPS 2.3, 10.2).
const ENCAPSULATION: usize = 4;

/// A publisher of our own.
pub(super) struct Writer {
    topic: String,
    type_name: String,
    publisher: Handle<ffi::rcl_publisher_t>,
    node: Arc<Node>,
}

impl Writer {
    pub(super) fn create(node: &Arc<Node>, topic: &TopicInfo) -> Result<Writer, RosError> {
        let types = TypeSupport::load(&topic.type_name)?;
        types::agree(&topic.type_name, &topic.type_hash, &types.type_hash())?;
        let name = rcl::c_string("topic", &topic.name)?;
        let _guard = node.endpoints.lock();
        // SAFETY: node, type support and name are valid; the publisher is zero-initialised, stays at its address and
        // keeps its node alive.
        let publisher = unsafe {
            let mut options = ffi::rcl_publisher_get_default_options();
            options.qos = qos::writer_profile(options.qos, &topic.qos);
            let publisher = Handle::new(ffi::rcl_get_zero_initialized_publisher());
            rcl::check(
                ffi::rcl_publisher_init(publisher.as_ptr(), node.as_ptr(), types.as_ptr(), name.as_ptr(), &options),
                || format!("publish {} as {}", topic.name, topic.type_name),
            )?;
            publisher
        };
        Ok(Writer { topic: topic.name.clone(), type_name: topic.type_name.clone(), publisher, node: node.clone() })
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Publishes `payload` as it is.
    pub(super) fn publish(&self, payload: &[u8]) -> Result<(), RosError> {
        if payload.len() < ENCAPSULATION {
            return Err(RosError::PayloadTooShort { topic: self.topic.clone(), length: payload.len() });
        }
        let message = buffer::borrowed(payload);
        // SAFETY: the publisher is valid; the message is valid for the call and is not kept beyond it. Publishing is
        // allowed from several threads at a time as long as each has its own message.
        let code =
            unsafe { ffi::rcl_publish_serialized_message(self.publisher.as_ptr(), &message, std::ptr::null_mut()) };
        rcl::check(code, || format!("publish on {}", self.topic))
    }

    /// Publishes a message with the default values of the type.
    pub(super) fn publish_default(&self, now: Wall) -> Result<(), RosError> {
        self.publish(&default_message::serialized(&self.type_name, now)?)
    }

    /// Waits until every subscriber has what was published reliably. `false` if that takes longer than `limit`, or if the
    /// middleware cannot tell.
    pub(super) fn wait_until_acknowledged(&self, limit: Duration) -> bool {
        let nanos = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
        // SAFETY: the publisher is valid; waiting is allowed while others publish.
        let code = unsafe { ffi::rcl_publisher_wait_for_all_acked(self.publisher.as_ptr(), nanos) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            rcl::last_error(code);
        }
        code == ffi::RCL_RET_OK as ffi::rcl_ret_t
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _guard = self.node.endpoints.lock();
        // SAFETY: the last owner lets go, so nobody publishes; its node is still alive.
        let code = unsafe { ffi::rcl_publisher_fini(self.publisher.as_ptr(), self.node.as_ptr()) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            tracing::warn!(topic = self.topic, reason = rcl::last_error(code), "a publisher did not end cleanly");
        }
    }
}
