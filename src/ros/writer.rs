//! A publisher of serialized samples of a type known only at run time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::RwLock;
use r2r_rcl as ffi;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    bridge::{BridgeEvent, Shared},
    buffer, default_message,
    error::RosError,
    lane::{Lane, Outlet, Published},
    qos,
    rcl::{self, Handle, Node},
    types::{self, TypeSupport},
};
use crate::{
    defaults,
    ids::WriterId,
    model::{Durability, Qos, Reliability, TopicInfo},
    time::Wall,
};

/// Length of the encapsulation header that begins every serialized sample [bytes] (RTPS 2.3, 10.2).
const ENCAPSULATION: usize = 4;

/// A publisher of our own, which never makes its caller wait.
pub(super) enum Writer {
    /// Its subscribers lose the oldest of what they do not take in time.
    Free(Publisher),
    /// It loses nothing that they could still take.
    Careful(Lane<Waiting>),
}

impl Writer {
    /// A writer of `topic`. If nothing of it may be lost, `events` are told when `id` has room again.
    pub(super) fn create(
        node: &Arc<Node>,
        id: WriterId,
        topic: &TopicInfo,
        shared: Arc<Shared>,
        events: mpsc::Sender<BridgeEvent>,
    ) -> Result<Writer, RosError> {
        let publisher = Publisher::create(node, topic)?;
        let Qos { reliability, durability, depth, .. } = topic.qos;
        if (reliability, durability, depth) != (Reliability::Reliable, Durability::Volatile, 0) {
            return Ok(Writer::Free(publisher));
        }
        Ok(Writer::Careful(Lane::new(Waiting {
            id,
            topic: topic.clone(),
            publisher: RwLock::new(Arc::new(publisher)),
            shared,
            events,
            ending: AtomicBool::new(false),
        })))
    }

    /// Publishes `payload` as it is, now or when there is room for it.
    pub(super) fn publish(&self, payload: Bytes) -> Result<Published, RosError> {
        match self {
            Writer::Free(publisher) => publisher.publish(&payload).map(|()| Published::Done),
            Writer::Careful(lane) => {
                if payload.len() < ENCAPSULATION {
                    let topic = lane.outlet().topic.name.clone();
                    return Err(RosError::PayloadTooShort { topic, length: payload.len() });
                }
                lane.publish(payload)
            }
        }
    }

    /// Name of its topic.
    pub(super) fn topic(&self) -> String {
        match self {
            Writer::Free(publisher) => publisher.topic.clone(),
            Writer::Careful(lane) => lane.outlet().topic.name.clone(),
        }
    }

    /// Publishes a message with the default values of the type, behind everything that was published before.
    pub(super) fn publish_default(&self, now: Wall) -> Result<(), RosError> {
        let type_name = match self {
            Writer::Free(publisher) => &publisher.type_name,
            Writer::Careful(lane) => &lane.outlet().topic.type_name,
        };
        self.publish(default_message::serialized(type_name, now)?).map(|_| ())
    }

    /// Waits until every subscriber has what was published reliably. `false` if that takes longer than `limit`, or if the
    /// middleware cannot tell.
    pub(super) fn wait_until_acknowledged(&self, limit: Duration) -> bool {
        match self {
            Writer::Free(publisher) => publisher.wait_until_acknowledged(limit),
            Writer::Careful(lane) => lane.outlet().publisher().wait_until_acknowledged(limit),
        }
    }

    /// Samples that were given up here since somebody did not take them.
    pub(super) fn dropped(&self) -> u64 {
        match self {
            Writer::Free(_) => 0,
            Writer::Careful(lane) => lane.dropped(),
        }
    }

    /// Ends it when its subscribers have taken all that they can. If that takes a while, a thread sees to it, and is
    /// returned.
    pub(super) fn close(&self) -> Option<JoinHandle<()>> {
        match self {
            Writer::Free(_) => None,
            Writer::Careful(lane) => {
                lane.outlet().ending.store(true, Ordering::SeqCst);
                lane.close()
            }
        }
    }
}

/// A publisher that keeps all until it is acknowledged.
pub(super) struct Waiting {
    id: WriterId,
    topic: TopicInfo,
    publisher: RwLock<Arc<Publisher>>,
    shared: Arc<Shared>,
    events: mpsc::Sender<BridgeEvent>,
    /// Whether nobody wants to know any more when there is room.
    ending: AtomicBool,
}

impl Waiting {
    fn publisher(&self) -> Arc<Publisher> {
        self.publisher.read().clone()
    }
}

impl Outlet for Waiting {
    fn publish(&self, payload: &[u8]) -> Result<(), RosError> {
        self.publisher().publish(payload)
    }

    fn is_acknowledged(&self) -> bool {
        self.publisher().is_acknowledged()
    }

    fn overrun(&self) -> Result<(), RosError> {
        tracing::warn!(
            topic = self.topic.name,
            "a subscriber takes nothing: from now on it is not waited for, and loses what it does not take in time"
        );
        // Those who do take have taken all by now: nothing is lost to them with the old publisher.
        let qos = Qos { depth: defaults::DEPTH_MAX, ..self.topic.qos };
        let topic = TopicInfo { qos, ..self.topic.clone() };
        let old = self.publisher();
        let free = Arc::new(Publisher::create(&old.node, &topic)?);
        // Nobody gets what is published before it knows the new one.
        let end = Instant::now() + MATCH_LIMIT;
        while free.subscriptions() < old.subscriptions() && Instant::now() < end && !self.is_abandoned() {
            std::thread::sleep(RETRY);
        }
        drop(old);
        let old = std::mem::replace(&mut *self.publisher.write(), free);
        drop(old);
        Ok(())
    }

    fn is_abandoned(&self) -> bool {
        self.shared.stop.load(Ordering::SeqCst)
    }

    fn relieved(&self) {
        let mut event = BridgeEvent::WriterRelieved { writer: self.id };
        while !self.ending.load(Ordering::SeqCst) {
            match self.events.try_send(event) {
                Err(TrySendError::Full(back)) => event = back,
                _ => return,
            }
            std::thread::sleep(RETRY);
        }
    }
}

/// How long subscribers may take to know a publisher that takes the place of another.
const MATCH_LIMIT: Duration = Duration::from_secs(1);
/// Pause before an event that found the queue full is told again.
const RETRY: Duration = Duration::from_millis(5);

/// A publisher of rcl.
pub(super) struct Publisher {
    topic: String,
    type_name: String,
    publisher: Handle<ffi::rcl_publisher_t>,
    node: Arc<Node>,
}

impl Publisher {
    pub(super) fn create(node: &Arc<Node>, topic: &TopicInfo) -> Result<Publisher, RosError> {
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
        Ok(Publisher { topic: topic.name.clone(), type_name: topic.type_name.clone(), publisher, node: node.clone() })
    }

    /// Publishes `payload` as it is. Only a KEEP_ALL publisher that is full waits.
    fn publish(&self, payload: &[u8]) -> Result<(), RosError> {
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

    /// Subscriptions that get what is published; 0 if the middleware does not tell.
    fn subscriptions(&self) -> usize {
        let mut count = 0;
        // SAFETY: the publisher is valid, and the count is written before the call returns.
        let code = unsafe { ffi::rcl_publisher_get_subscription_count(self.publisher.as_ptr(), &mut count) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            // SAFETY: forgets the error state of this thread.
            unsafe { ffi::rcutils_reset_error() };
            return 0;
        }
        count
    }

    /// Whether every subscriber has what was published reliably, as far as the middleware can tell.
    fn is_acknowledged(&self) -> bool {
        let code = self.acknowledged(Duration::ZERO);
        // A middleware that cannot tell has to be taken at its word: it is not waited for.
        code == ffi::RCL_RET_OK as ffi::rcl_ret_t || code == ffi::RCL_RET_UNSUPPORTED as ffi::rcl_ret_t
    }

    /// Waits until it is so. `false` if that takes longer than `limit`, or if the middleware cannot tell.
    fn wait_until_acknowledged(&self, limit: Duration) -> bool {
        self.acknowledged(limit) == ffi::RCL_RET_OK as ffi::rcl_ret_t
    }

    fn acknowledged(&self, limit: Duration) -> ffi::rcl_ret_t {
        let nanos = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
        // SAFETY: the publisher is valid; waiting is allowed while others publish.
        let code = unsafe { ffi::rcl_publisher_wait_for_all_acked(self.publisher.as_ptr(), nanos) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            // SAFETY: forgets the error state of this thread.
            unsafe { ffi::rcutils_reset_error() };
        }
        code
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _guard = self.node.endpoints.lock();
        // SAFETY: the last owner lets go, so nobody publishes; its node is still alive.
        let code = unsafe { ffi::rcl_publisher_fini(self.publisher.as_ptr(), self.node.as_ptr()) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            tracing::warn!(topic = self.topic, reason = rcl::last_error(code), "a publisher did not end cleanly");
        }
    }
}
