//! Safe handles around the rcl objects that the bridge needs: context, node, guard condition. Each is heap-allocated, so
//! that its address never changes, and finalised when its last owner lets go, after everything that was made from it.

use std::{
    ffi::{CStr, CString, c_char},
    ptr::NonNull,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use r2r_rcl as ffi;

use super::error::RosError;

/// `rcl_init`, `rcl_shutdown` and the creation of nodes touch state of the whole process (logging, the middleware's
/// factories), so they are done one at a time.
static PROCESS: Mutex<()> = Mutex::new(());
/// How long an end waits for its turn: the one before it may hang in the middleware (see `teardown`).
const LOCK_LIMIT: Duration = Duration::from_secs(1);

/// Name of the ROS distribution that this program was built for, such as `jazzy`.
pub fn distro() -> &'static str {
    r2r::ROS_DISTRO
}

/// Name of the middleware in use, such as `rmw_fastrtps_cpp`.
pub fn rmw_implementation() -> String {
    // SAFETY: takes nothing and returns a pointer to a constant string of the middleware, or null.
    let name = unsafe { ffi::rmw_get_implementation_identifier() };
    // SAFETY: the string is valid for the life of the process.
    unsafe { text(name) }
}

/// An rcl structure at a fixed address.
pub(super) struct Handle<T>(NonNull<T>);

// SAFETY: the structures of rcl are plain memory that is bound to no thread. Which of their functions may run at the same
// time is kept by the owners of the handles, as each of them says.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as above; a shared reference only gives out the pointer.
unsafe impl<T> Sync for Handle<T> {}

impl<T> Handle<T> {
    pub(super) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    pub(super) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box in `new`, and this is its only release.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Turns a return code into a result, with rcl's own words.
pub(super) fn check(code: ffi::rcl_ret_t, action: impl FnOnce() -> String) -> Result<(), RosError> {
    if code == ffi::RCL_RET_OK as ffi::rcl_ret_t {
        return Ok(());
    }
    Err(RosError::Rcl { action: action(), reason: last_error(code) })
}

/// The words of the last error of this thread, which are forgotten.
pub(super) fn last_error(code: ffi::rcl_ret_t) -> String {
    // SAFETY: the error state is per thread; the returned structure is a copy that holds a NUL-terminated text.
    let words = unsafe {
        let state = ffi::rcutils_get_error_string();
        let words = text(state.str_.as_ptr());
        ffi::rcutils_reset_error();
        words
    };
    if words.is_empty() || words == "error not set" { format!("return code {code}") } else { words }
}

/// Copies a C string; null gives an empty one.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated string.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: upheld by the caller.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

pub(super) fn c_string(what: &'static str, value: &str) -> Result<CString, RosError> {
    CString::new(value).map_err(|_| RosError::Nul { what, value: value.to_owned() })
}

pub(super) fn allocator() -> ffi::rcutils_allocator_t {
    // SAFETY: takes nothing and returns plain function pointers.
    unsafe { ffi::rcutils_get_default_allocator() }
}

/// Runs `action` while no other part of this program starts or ends a context or a node.
pub(super) fn one_at_a_time<T>(action: impl FnOnce() -> T) -> T {
    let _guard = PROCESS.lock();
    action()
}

/// Checks the ROS arguments of the command line without starting anything. r2r panics on wrong ones.
pub(super) fn check_arguments() -> Result<(), RosError> {
    check_domain()?;
    let arguments = std::env::args_os()
        .map(|argument| match argument.into_string() {
            Ok(argument) => c_string("argument", &argument),
            Err(argument) => Err(RosError::Arguments(format!("{argument:?} is not UTF-8"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let pointers: Vec<*const c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    // SAFETY: `pointers` holds as many valid strings as told; the output is zero-initialised and finalised if it was made.
    unsafe {
        let mut parsed = ffi::rcl_get_zero_initialized_arguments();
        let code = ffi::rcl_parse_arguments(
            i32::try_from(pointers.len()).unwrap_or(i32::MAX),
            pointers.as_ptr(),
            allocator(),
            &mut parsed,
        );
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            return Err(RosError::Arguments(last_error(code)));
        }
        if ffi::rcl_arguments_fini(&mut parsed) != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            ffi::rcutils_reset_error();
        }
    }
    Ok(())
}

/// Largest ROS_DOMAIN_ID whose ports fit below 65536 (RTPS 2.3, 9.6.1.1).
const DOMAIN_MAX: u32 = 232;

/// Fast DDS ends the process, with words of its own, when the domain is too large.
fn check_domain() -> Result<(), RosError> {
    let given = match std::env::var("ROS_DOMAIN_ID") {
        Ok(given) if !given.is_empty() => given,
        _ => return Ok(()),
    };
    match given.trim().parse::<u32>() {
        Ok(domain) if domain <= DOMAIN_MAX => Ok(()),
        _ => Err(RosError::Domain { given, most: DOMAIN_MAX }),
    }
}

/// An rcl context: one DDS participant.
pub(super) struct Context(Handle<ffi::rcl_context_t>);

impl Context {
    /// Starts a context that takes none of the program's ROS arguments except its security enclave; the domain comes
    /// from the environment, as for every ROS program.
    pub(super) fn start() -> Result<Arc<Context>, RosError> {
        check_domain()?;
        let arguments = enclave_arguments(std::env::args_os().filter_map(|argument| argument.into_string().ok()))
            .iter()
            .map(|argument| c_string("argument", argument))
            .collect::<Result<Vec<_>, _>>()?;
        let pointers: Vec<*const c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        let argv = if pointers.is_empty() { std::ptr::null() } else { pointers.as_ptr() };
        let _guard = PROCESS.lock();
        // SAFETY: every structure is initialised by the function made for it before it is used; the options are
        // finalised on both ways out; the context stays at its address because the handle owns it.
        unsafe {
            let mut options = ffi::rcl_get_zero_initialized_init_options();
            check(ffi::rcl_init_options_init(&mut options, allocator()), || "prepare a ROS context".to_owned())?;
            let context = Handle::new(ffi::rcl_get_zero_initialized_context());
            let started = check(
                ffi::rcl_init(i32::try_from(pointers.len()).unwrap_or(0), argv, &options, context.as_ptr()),
                || "start a ROS context".to_owned(),
            );
            if ffi::rcl_init_options_fini(&mut options) != ffi::RCL_RET_OK as ffi::rcl_ret_t {
                ffi::rcutils_reset_error();
            }
            started?;
            Ok(Arc::new(Context(context)))
        }
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::rcl_context_t {
        self.0.as_ptr()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _guard = PROCESS.try_lock_for(LOCK_LIMIT);
        // SAFETY: everything made from the context holds an `Arc` of it, so nothing of it is left.
        unsafe {
            let stopped = ffi::rcl_shutdown(self.as_ptr());
            let finished = ffi::rcl_context_fini(self.as_ptr());
            if stopped != ffi::RCL_RET_OK as ffi::rcl_ret_t || finished != ffi::RCL_RET_OK as ffi::rcl_ret_t {
                tracing::warn!(reason = last_error(finished), "the ROS context did not end cleanly");
            }
        }
    }
}

/// `--ros-args --enclave NAME`, if the program was given an enclave: with SROS 2 every participant of a process has to
/// present the same identity.
fn enclave_arguments(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut inside = false;
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ros-args" => inside = true,
            "--" => inside = false,
            "-e" | "--enclave" if inside => {
                if let Some(enclave) = arguments.next() {
                    return vec!["--ros-args".to_owned(), "--enclave".to_owned(), enclave];
                }
            }
            _ => {}
        }
    }
    Vec::new()
}

/// The bridge's node.
pub(super) struct Node {
    handle: Handle<ffi::rcl_node_t>,
    _context: Arc<Context>,
    /// Held while an endpoint is made or ended: rcl does not promise that two may be made of one node at a time.
    pub(super) endpoints: Mutex<()>,
    name: String,
}

impl Node {
    pub(super) fn create(context: &Arc<Context>, name: &str, namespace: &str) -> Result<Arc<Node>, RosError> {
        let c_name = c_string("node name", name)?;
        let c_namespace = c_string("namespace", namespace)?;
        let _guard = PROCESS.lock();
        // SAFETY: the strings outlive the call; the node is zero-initialised, stays at its address, and keeps its context
        // alive.
        let handle = unsafe {
            let mut options = ffi::rcl_node_get_default_options();
            // Logs go to the typed node's /rosout.
            options.enable_rosout = false;
            let handle = Handle::new(ffi::rcl_get_zero_initialized_node());
            check(
                ffi::rcl_node_init(handle.as_ptr(), c_name.as_ptr(), c_namespace.as_ptr(), context.as_ptr(), &options),
                || format!("create the ROS node {name:?} in namespace {namespace:?}"),
            )?;
            handle
        };
        // SAFETY: the node is valid, and its name lives as long as it does.
        let name = unsafe { text(ffi::rcl_node_get_fully_qualified_name(handle.as_ptr())) };
        Ok(Arc::new(Node { handle, _context: context.clone(), endpoints: Mutex::new(()), name }))
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::rcl_node_t {
        self.handle.as_ptr()
    }

    /// Fully qualified name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The guard condition that the middleware triggers when the graph changes. It belongs to the node and may be in one
    /// wait set only.
    pub(super) fn graph_guard(&self) -> *const ffi::rcl_guard_condition_t {
        // SAFETY: the node is valid.
        unsafe { ffi::rcl_node_get_graph_guard_condition(self.as_ptr()) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _guard = PROCESS.try_lock_for(LOCK_LIMIT);
        // SAFETY: every endpoint holds an `Arc` of its node, so none is left.
        let code = unsafe { ffi::rcl_node_fini(self.as_ptr()) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            tracing::warn!(node = self.name, reason = last_error(code), "the ROS node did not end cleanly");
        }
    }
}

/// Wakes a thread out of a wait set.
pub(super) struct GuardCondition {
    handle: Handle<ffi::rcl_guard_condition_t>,
    _context: Arc<Context>,
}

impl GuardCondition {
    pub(super) fn create(context: &Arc<Context>) -> Result<Arc<GuardCondition>, RosError> {
        // SAFETY: the guard condition is zero-initialised, stays at its address and keeps its context alive.
        let handle = unsafe {
            let handle = Handle::new(ffi::rcl_get_zero_initialized_guard_condition());
            let options = ffi::rcl_guard_condition_get_default_options();
            check(ffi::rcl_guard_condition_init(handle.as_ptr(), context.as_ptr(), options), || {
                "create a guard condition".to_owned()
            })?;
            handle
        };
        Ok(Arc::new(GuardCondition { handle, _context: context.clone() }))
    }

    pub(super) fn as_ptr(&self) -> *const ffi::rcl_guard_condition_t {
        self.handle.as_ptr()
    }

    /// Wakes the waiting thread, now or when it waits next.
    pub(super) fn trigger(&self) {
        // SAFETY: the guard condition is valid, and triggering is allowed while another thread waits for it.
        let code = unsafe { ffi::rcl_trigger_guard_condition(self.handle.as_ptr()) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            // The waiting threads look for work at least once a second anyway.
            tracing::warn!(reason = last_error(code), "cannot wake the ROS bridge");
        }
    }
}

impl Drop for GuardCondition {
    fn drop(&mut self) {
        // SAFETY: the last owner lets go, so no wait set holds it.
        let code = unsafe { ffi::rcl_guard_condition_fini(self.handle.as_ptr()) };
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            tracing::warn!(reason = last_error(code), "a guard condition did not end cleanly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<String> {
        enclave_arguments(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn only_the_enclave_is_taken_over() {
        assert_eq!(
            of("robot --ros-args -r __node:=x --enclave /fleet/r1 -p a:=1"),
            ["--ros-args", "--enclave", "/fleet/r1"]
        );
        assert_eq!(of("robot --ros-args -r __node:=x"), Vec::<String>::new());
        assert_eq!(of("robot -e not_ros --ros-args -- -e not_ros_either"), Vec::<String>::new());
        assert_eq!(of("robot --ros-args -e"), Vec::<String>::new());
    }
}
