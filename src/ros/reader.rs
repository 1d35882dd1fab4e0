//! A subscription that takes serialized samples of a type known only at run time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;
use r2r_rcl as ffi;

use super::{
    error::RosError,
    keeps::Keeps,
    ownership::Ownership,
    qos,
    rcl::{self, Handle, Node},
    sequences::Sequences,
    types::TypeSupport,
};
use crate::{ids::ReaderId, model::TopicInfo, routes::graph::Gid, time::Wall};

/// From this size on [bytes] the buffer that the middleware filled is handed on instead of being copied: below it a copy
/// is cheaper than a new buffer.
const HAND_ON_FROM: usize = 16 * 1024;
/// First size of a buffer [bytes]: most messages of robots fit, larger ones let it grow.
const BUFFER_FIRST: usize = 4 * 1024;

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
            failures: AtomicU32::new(0),
        })
    }

    pub(super) fn as_ptr(&self) -> *const ffi::rcl_subscription_t {
        self.subscription.as_ptr()
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
            ffi::rcl_take_serialized_message(self.as_ptr(), &mut taking.buffer.0, &mut info, std::ptr::null_mut())
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
        let payload = match taking.buffer.as_ref().len() {
            // Seen with a foreign DDS vendor in the same domain: OK, without content, millions of times in a row.
            0 => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                return Taken::Failed("the middleware gave an empty sample".to_owned());
            }
            length if length < HAND_ON_FROM => Bytes::copy_from_slice(taking.buffer.as_ref()),
            _ => match Buffer::new() {
                Ok(fresh) => Bytes::from_owner(std::mem::replace(&mut taking.buffer, fresh)),
                Err(error) => {
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    return Taken::Failed(error.to_string());
                }
            },
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

/// A serialized message in memory of rcl's allocator.
struct Buffer(ffi::rcl_serialized_message_t);

// SAFETY: the buffer owns its memory alone, and malloc's memory may be freed by any thread.
unsafe impl Send for Buffer {}

impl Buffer {
    fn new() -> Result<Buffer, RosError> {
        let allocator = rcl::allocator();
        // SAFETY: the array is zero-initialised before it is given its memory.
        let (code, array) = unsafe {
            let mut array = ffi::rcutils_get_zero_initialized_uint8_array();
            (ffi::rcutils_uint8_array_init(&mut array, BUFFER_FIRST, &allocator), array)
        };
        rcl::check(code, || "allocate a message buffer".to_owned())?;
        Ok(Buffer(array))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        if self.0.buffer.is_null() {
            return &[];
        }
        // SAFETY: the middleware wrote `buffer_length` bytes at `buffer`.
        unsafe { std::slice::from_raw_parts(self.0.buffer, self.0.buffer_length) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the array was initialised in `new` and is released once.
        if unsafe { ffi::rcutils_uint8_array_fini(&mut self.0) } != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            // SAFETY: forgets the error state of this thread.
            unsafe { ffi::rcutils_reset_error() };
        }
    }
}
