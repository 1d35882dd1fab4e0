//! Serialized messages in memory of rcl's allocator, which the middleware fills and lets grow.

use bytes::Bytes;
use r2r_rcl as ffi;

use super::{error::RosError, rcl};

/// From this size on [bytes] the buffer that the middleware filled is handed on instead of being copied: below it a copy
/// is cheaper than a new buffer.
const HAND_ON_FROM: usize = 16 * 1024;
/// First size of a buffer [bytes]: most messages of robots fit, larger ones let it grow.
const BUFFER_FIRST: usize = 4 * 1024;

/// A serialized message in memory of rcl's allocator.
pub(super) struct Buffer(ffi::rcl_serialized_message_t);

// SAFETY: the buffer owns its memory alone, and malloc's memory may be freed by any thread.
unsafe impl Send for Buffer {}

impl Buffer {
    pub(super) fn new() -> Result<Buffer, RosError> {
        let allocator = rcl::allocator();
        // SAFETY: the array is zero-initialised before it is given its memory.
        let (code, array) = unsafe {
            let mut array = ffi::rcutils_get_zero_initialized_uint8_array();
            (ffi::rcutils_uint8_array_init(&mut array, BUFFER_FIRST, &allocator), array)
        };
        rcl::check(code, || "allocate a message buffer".to_owned())?;
        Ok(Buffer(array))
    }

    /// What the middleware wrote. A large buffer is handed on, and replaced by a fresh one. Until the payload is dropped,
    /// `kept` is not.
    pub(super) fn hand_out<T: Send + 'static>(&mut self, kept: impl FnOnce(usize) -> T) -> Result<Bytes, RosError> {
        let length = self.as_ref().len();
        if length < HAND_ON_FROM {
            return Ok(Bytes::copy_from_slice(self.as_ref()));
        }
        let filled = std::mem::replace(self, Buffer::new()?);
        Ok(Bytes::from_owner(Owned { buffer: filled, _kept: kept(length) }))
    }

    /// Fills all of it with zeros and returns how much that is [bytes].
    pub(super) fn clear(&mut self) -> usize {
        if !self.0.buffer.is_null() {
            // SAFETY: the array owns as many bytes as its capacity says.
            unsafe { self.0.buffer.write_bytes(0, self.0.buffer_capacity) };
        }
        self.capacity()
    }

    /// How much it holds without growing [bytes].
    pub(super) fn capacity(&self) -> usize {
        self.0.buffer_capacity
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut ffi::rcl_serialized_message_t {
        &mut self.0
    }
}

/// A payload as the middleware wants it, to be read only.
pub(super) fn borrowed(payload: &[u8]) -> ffi::rcl_serialized_message_t {
    ffi::rcl_serialized_message_t {
        buffer: payload.as_ptr().cast_mut(),
        buffer_length: payload.len(),
        buffer_capacity: payload.len(),
        allocator: rcl::allocator(),
    }
}

struct Owned<T> {
    buffer: Buffer,
    _kept: T,
}

impl<T> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
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
