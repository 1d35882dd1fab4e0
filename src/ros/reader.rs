//! A subscription that takes serialized samples of a type known only at run time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;
use r2r_rcl as ffi;

use super::{
    buffer::Buffer,
    error::RosError,
    keeps::Keeps,
    ownership::Ownership,
    qos,
    rcl::{self, Handle, Node},
    sequences::Sequences,
    types::{self, TypeSupport},
};
use crate::{ids::ReaderId, model::TopicInfo, routes::graph::Gid, time::Wall};

/// A subscription of our own.
pub(super) struct Reader {
    pub(super) id: ReaderId,
    pub(super) topic: String,
    subscription: Handle<ffi::rcl_subscription_t>,
    node: Arc<Node>,
    taking: Mutex<Taking>,
    pub(super) counters: Counters,
    /// Set when the reader is given up: it is not waited for any more.
    pub(super) given_up: AtomicBool,
    /// Set while its samples are to stay where they are.
    pub(super) held: AtomicBool,
    /// Set while it is to be told when there are no more samples.
    pub(super) finishing: AtomicBool,
    /// How often it was found empty since then.
    pub(super) found_empty: AtomicU32,
    /// Failed takes in a row.
    pub(super) failures: AtomicU32,
}

struct Taking {
    buffer: Buffer,
    sequences: Sequences,
    keeps: Keeps,
}

/// What became of the samples of a reader.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) taken: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Outcome of one attempt to take a sample.
pub(super) enum Taken {
    /// A sample.
    Sample { publisher: Gid, payload: Bytes, source_time: Wall, keep: u16 },
    /// One of our own publications, which we do not want to hear.
    Own,
    /// There is none.
    Nothing,
    /// The middleware failed, or gave a sample without content.
    Failed(String),
}

impl Reader {
    pub(super) fn create(node: &Arc<Node>, id: ReaderId, topic: &TopicInfo) -> Result<Reader, RosError> {
        let types = TypeSupport::load(&topic.type_name)?;
        types::agree(&topic.type_name, &topic.type_hash, &types.type_hash())?;
        let name = rcl::c_string("topic", &topic.name)?;
        let buffer = Buffer::new()?;
        let keeps = Keeps::new(&topic.qos, wall_now());
        let _guard = node.endpoints.lock();
        // SAFETY: node, type support and name are valid; the subscription is zero-initialised, stays at its address and
        // keeps its node alive.
        let subscription = unsafe {
            let mut options = ffi::rcl_subscription_get_default_options();
            options.qos = qos::reader_profile(options.qos, &topic.qos);
            options.rmw_subscription_options.ignore_local_publications = true;
            let subscription = Handle::new(ffi::rcl_get_zero_initialized_subscription());
            rcl::check(
                ffi::rcl_subscription_init(
                    subscription.as_ptr(),
                    node.as_ptr(),
                    types.as_ptr(),
                    name.as_ptr(),
                    &options,
                ),
                || format!("subscribe to {} as {}", topic.name, topic.type_name),
            )?;
            subscription
        };
        Ok(Reader {
            id,
            topic: topic.name.clone(),
            subscription,
            node: node.clone(),
            taking: Mutex::new(Taking { buffer, sequences: Sequences::default(), keeps }),
            counters: Counters::default(),
            given_up: AtomicBool::new(false),
            held: AtomicBool::new(false),
            finishing: AtomicBool::new(false),
            found_empty: AtomicU32::new(0),
            failures: AtomicU32::new(0),
        })
    }

    pub(super) fn as_ptr(&self) -> *const ffi::rcl_subscription_t {
        self.subscription.as_ptr()
    }

    /// Publishers that it is matched with, as far as the middleware tells.
    pub(super) fn publishers(&self) -> usize {
        let mut count = 0;
        // SAFETY: the subscription is valid, and the count is written before the call returns.
        let code = unsafe { ffi::rcl_subscription_get_publisher_count(self.as_ptr(), &mut count) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            // SAFETY: forgets the error state of this thread.
            unsafe { ffi::rcutils_reset_error() };
            return 0;
        }
        count
    }

    /// It was found empty while it is finishing. Whether that is the end: not while somebody publishes, since the graph may
    /// show a publisher later than its samples come, and a reader that ends then loses them. Not for ever either: our own
    /// publishers count, too.
    pub(super) fn is_done(&self) -> bool {
        self.publishers() == 0 || self.found_empty.fetch_add(1, Ordering::SeqCst) >= FOUND_EMPTY_MAX
    }

    /// Whether its samples are to be taken.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed) && !self.held.load(Ordering::SeqCst)
    }

    /// Takes the next sample.
    pub(super) fn take(&self, ownership: &Ownership) -> Taken {
        let mut taking = self.taking.lock();
        let mut info = ffi::rmw_message_info_t::default();
        // SAFETY: the subscription is valid and the lock keeps other takes away from it; the buffer is an initialised
        // array that the middleware may let grow with the allocator inside it.
        let code = unsafe {
            ffi::rcl_take_serialized_message(self.as_ptr(), taking.buffer.as_mut_ptr(), &mut info, std::ptr::null_mut())
        };
        if code == ffi::RCL_RET_SUBSCRIPTION_TAKE_FAILED as ffi::rcl_ret_t {
            // SAFETY: forgets the error state of this thread.
            unsafe { ffi::rcutils_reset_error() };
            return Taken::Nothing;
        }
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            return Taken::Failed(rcl::last_error(code));
        }
        let publisher = padded(&info.publisher_gid.data);
        // Not every middleware keeps `ignore_local_publications`, and what we publish must never come back to us.
        if ownership.is_own_publication(&publisher) {
            return Taken::Own;
        }
        // Seen with a foreign DDS vendor in the same domain: OK, without content, millions of times in a row.
        if taking.buffer.as_ref().is_empty() {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            return Taken::Failed("the middleware gave an empty sample".to_owned());
        }
        let payload = match taking.buffer.hand_out(|_| ()) {
            Ok(payload) => payload,
            Err(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                return Taken::Failed(error.to_string());
            }
        };
        let sequence = Some(info.publication_sequence_number).filter(|&number| number != SEQUENCE_UNSUPPORTED);
        if let Some(sequence) = sequence {
            let missing = taking.sequences.missing_before(publisher, sequence);
            self.counters.lost.fetch_add(missing, Ordering::Relaxed);
        }
        let source_time = source_time(&info);
        let keep = taking.keeps.keep(publisher, sequence, source_time);
        self.counters.taken.fetch_add(1, Ordering::Relaxed);
        Taken::Sample { publisher, payload, source_time, keep }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _guard = self.node.endpoints.lock();
        // SAFETY: the last owner lets go, so no wait set holds the subscription; its node is still alive.
        let code = unsafe { ffi::rcl_subscription_fini(self.subscription.as_ptr(), self.node.as_ptr()) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            tracing::warn!(topic = self.topic, reason = rcl::last_error(code), "a subscription did not end cleanly");
        }
    }
}

/// Looks at an empty reader after which it ends although it is matched: one or two seconds.
const FOUND_EMPTY_MAX: u32 = 50;
/// `RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED`, a macro that the bindings do not carry.
const SEQUENCE_UNSUPPORTED: u64 = u64::MAX;

/// When the publisher published, or when we received it where the middleware does not tell.
fn source_time(info: &ffi::rmw_message_info_t) -> Wall {
    match (info.source_timestamp, info.received_timestamp) {
        (0, 0) => wall_now(),
        (0, received) => Wall(received),
        (source, _) => Wall(source),
    }
}

fn wall_now() -> Wall {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A gid of the middleware's length as our own, padded with zeros.
pub(super) fn padded(data: &[u8]) -> Gid {
    let mut gid = [0; 24];
    let length = data.len().min(gid.len());
    gid[..length].copy_from_slice(&data[..length]);
    Gid(gid)
}
