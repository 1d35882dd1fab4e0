//! Messages that nobody wrote: the default values of a type, such as the stop message of a robot.

use std::ffi::c_void;

use bytes::Bytes;
use r2r_rcl as ffi;

use super::{
    buffer::Buffer,
    convert,
    error::RosError,
    message::MessageType,
    rcl,
    types::{Description, Members},
};
use crate::time::Wall;

/// A message of `type_name` in CDR: zeros, empty texts and lists, or the defaults that its definition gives. The stamp of
/// each header that it has at its top is `now`: what is not stamped is thrown away as old by many a subscriber.
///
/// # Errors
/// If the type is not installed, or the middleware cannot serialize it.
pub(super) fn serialized(type_name: &str, now: Wall) -> Result<Bytes, RosError> {
    let message_type = MessageType::load(type_name)?;
    let mut message = message_type.message()?;
    let members = Members::load(type_name)?.get();
    for index in 0..members.member_count_ as usize {
        // SAFETY: the description has as many members as it says.
        let member = unsafe { &*members.members_.add(index) };
        // SAFETY: the member is one of a description that is complete.
        if !member.is_array_ && unsafe { is_header(member) } {
            // SAFETY: the field lies at its offset inside the message, and is a header.
            unsafe { stamp(message.as_mut_ptr().add(member.offset_ as usize), now) };
        }
    }
    let mut buffer = Buffer::new()?;
    message.write(&mut buffer)?;
    Ok(Bytes::copy_from_slice(buffer.as_ref()))
}

/// How `std_msgs/msg/Header` begins in memory: with a `builtin_interfaces/msg/Time`.
#[repr(C)]
struct HeaderStart {
    sec: i32,
    nanosec: u32,
}

/// # Safety
/// `member` belongs to the description of a type, which rosidl has completed.
unsafe fn is_header(member: &ffi::rosidl_typesupport_introspection_c__MessageMember) -> bool {
    // SAFETY: null for plain fields, and otherwise the type support of the field's type, whose data is its description.
    let description = unsafe { member.members_.as_ref().and_then(|types| types.data.cast::<Description>().as_ref()) };
    description.is_some_and(|of| {
        // SAFETY: descriptions name their type in two strings.
        let (namespace, name) = unsafe { (rcl::text(of.message_namespace_), rcl::text(of.message_name_)) };
        (namespace.as_str(), name.as_str()) == ("std_msgs__msg", "Header")
    })
}

/// # Safety
/// `header` is a `std_msgs/msg/Header` in memory.
unsafe fn stamp(header: *mut c_void, now: Wall) {
    let time = convert::time(now);
    // SAFETY: upheld by the caller.
    unsafe { header.cast::<HeaderStart>().write(HeaderStart { sec: time.sec, nanosec: time.nanosec }) };
}

#[cfg(test)]
mod tests {
    use r2r::{
        WrappedTypesupport,
        geometry_msgs::msg::{Twist, TwistStamped},
    };

    use super::*;

    const NOW: Wall = Wall(1_700_000_000_123_456_789);

    #[test]
    fn a_stop_is_a_message_of_zeros() {
        let bytes = serialized("geometry_msgs/msg/Twist", NOW).unwrap();
        assert_eq!(Twist::from_serialized_bytes(&bytes).unwrap(), Twist::default());
    }

    #[test]
    fn a_stop_with_a_header_is_stamped_with_the_present() {
        let bytes = serialized("geometry_msgs/msg/TwistStamped", NOW).unwrap();
        let message = TwistStamped::from_serialized_bytes(&bytes).unwrap();
        assert_eq!(convert::wall(&message.header.stamp), NOW);
        assert_eq!((message.header.frame_id.as_str(), message.twist), ("", Twist::default()));
    }

    #[test]
    fn a_stop_of_a_type_that_is_not_installed_says_what_to_install() {
        let error = serialized("no_such_msgs/msg/Legs", NOW).unwrap_err().to_string();
        assert!(error.contains("install the ROS package no_such_msgs"), "{error}");
    }
}
