//! Messages of types known only at run time, in memory: what services take instead of bytes.

use std::ffi::c_void;

use r2r_rcl as ffi;

use super::{
    buffer::{self, Buffer},
    error::RosError,
    rcl,
    types::{Members, TypeSupport},
};

/// A message type with everything that is needed to hold, read and write a message of it.
#[derive(Clone)]
pub(super) struct MessageType {
    name: String,
    types: TypeSupport,
    members: Members,
    init: unsafe extern "C" fn(*mut c_void, ffi::rosidl_runtime_c__message_initialization),
    fini: unsafe extern "C" fn(*mut c_void),
}

impl MessageType {
    /// Loads what belongs to `type_name`, such as `std_srvs/srv/SetBool_Request`.
    pub(super) fn load(type_name: &str) -> Result<MessageType, RosError> {
        let types = TypeSupport::load(type_name)?;
        let members = Members::load(type_name)?;
        let (Some(init), Some(fini)) = (members.get().init_function, members.get().fini_function) else {
            return Err(RosError::Rcl {
                action: format!("make a message of {type_name}"),
                reason: "its package was generated without the functions that begin and end a message".to_owned(),
            });
        };
        Ok(MessageType { name: type_name.to_owned(), types, members, init, fini })
    }

    /// A message with the default values of its type.
    pub(super) fn message(&self) -> Result<Message<'_>, RosError> {
        let allocator = rcl::allocator();
        let allocate = allocator.zero_allocate;
        // An empty message has a byte too.
        let size = self.members.get().size_of_.max(1);
        // SAFETY: the allocator is the default one, whose functions need no more than this. Its memory is aligned for any
        // type.
        let memory = allocate.and_then(|allocate| unsafe {
            let memory = allocate(1, size, allocator.state);
            (!memory.is_null()).then_some(memory)
        });
        let memory = memory.ok_or_else(|| RosError::Rcl {
            action: format!("make a message of {}", self.name),
            reason: format!("there is no memory of {size} bytes"),
        })?;
        // SAFETY: the memory has the size of the type and its alignment, and is zero, as the generated code wants it.
        unsafe { (self.init)(memory, ffi::rosidl_runtime_c__message_initialization::ROSIDL_RUNTIME_C_MSG_INIT_ALL) };
        Ok(Message { memory, of: self })
    }

    /// The message that `payload` holds in CDR, encapsulation header included.
    pub(super) fn read(&self, payload: &[u8]) -> Result<Message<'_>, RosError> {
        let message = self.message()?;
        let serialized = buffer::borrowed(payload);
        // SAFETY: the middleware only reads the payload, within its length, and writes a message of this type into memory
        // that holds one.
        let code = unsafe { ffi::rmw_deserialize(&serialized, self.types.as_ptr(), message.memory) };
        if code != ffi::RMW_RET_OK as ffi::rmw_ret_t {
            return Err(RosError::NotAMessage {
                type_name: self.name.clone(),
                length: payload.len(),
                reason: rcl::last_error(code),
            });
        }
        Ok(message)
    }
}

/// A message of a type known at run time.
pub(super) struct Message<'a> {
    memory: *mut c_void,
    of: &'a MessageType,
}

impl Message<'_> {
    /// For functions that read or fill a message of this type.
    pub(super) fn as_mut_ptr(&mut self) -> *mut c_void {
        self.memory
    }

    /// Writes the message into `buffer`, in CDR with encapsulation header.
    pub(super) fn write(&self, buffer: &mut Buffer) -> Result<(), RosError> {
        // Fast CDR leaves the gaps between fields as they are: what lay in memory before would go to others.
        loop {
            let capacity = buffer.clear();
            // SAFETY: the memory holds a message of this type, which is only read; the buffer may be made to grow.
            let code = unsafe { ffi::rmw_serialize(self.memory, self.of.types.as_ptr(), buffer.as_mut_ptr()) };
            rcl::check(code, || format!("serialize a message of {}", self.of.name))?;
            // What it has grown by was not cleared. The second time it is large enough.
            if buffer.capacity() <= capacity {
                return Ok(());
            }
        }
    }

    /// Says that a call has failed, in the fields in which responses say that by convention. Services have no errors of
    /// their own, so there is no other way. `false` if the type has no such field.
    pub(super) fn tell_failure(&mut self, reason: &str) -> bool {
        let words = format!("switchboard: {}", reason.replace('\0', ""));
        let members = self.of.members.get();
        let mut told = false;
        for index in 0..members.member_count_ as usize {
            // SAFETY: the description has as many members as it says, each with a name.
            let (member, name) = unsafe {
                let member = &*members.members_.add(index);
                (member, rcl::text(member.name_))
            };
            if member.is_array_ {
                continue;
            }
            let Some(value) = failure_of(&self.of.name, &name, member.type_id_) else { continue };
            let bound = member.string_upper_bound_;
            // SAFETY: the field lies at its offset inside the message, and has the type that the description says.
            told |= unsafe { set(self.memory.add(member.offset_ as usize), value, &words, bound) };
        }
        told
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        let allocator = rcl::allocator();
        // SAFETY: the memory holds an initialised message of this type, and came from this allocator.
        unsafe {
            (self.of.fini)(self.memory);
            if let Some(deallocate) = allocator.deallocate {
                deallocate(self.memory, allocator.state);
            }
        }
    }
}

/// What a field has to be in order to tell failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    False,
    Number(i8),
    Words,
    WideWords,
}

/// Names of flags that are true when all went well.
const FLAGS: [&str; 4] = ["success", "successful", "ok", "accepted"];
/// Names of texts that say what went wrong.
const TEXTS: [&str; 7] =
    ["message", "status_message", "status_string", "error_message", "error_string", "error", "reason"];
/// `action_msgs/srv/CancelGoal` ERROR_REJECTED.
const CANCEL_REJECTED: i8 = 1;
/// `action_msgs/msg/GoalStatus` STATUS_UNKNOWN.
const STATUS_UNKNOWN: i8 = 0;

/// What the field `name` of `type_name` has to be in order to tell failure; `None` if it cannot.
fn failure_of(type_name: &str, name: &str, type_id: u8) -> Option<Failure> {
    use ffi::rosidl_typesupport_introspection_c_field_types as field;

    let is = |wanted: field| u32::from(type_id) == wanted as u32;
    if is(field::rosidl_typesupport_introspection_c__ROS_TYPE_BOOLEAN) {
        FLAGS.contains(&name).then_some(Failure::False)
    } else if is(field::rosidl_typesupport_introspection_c__ROS_TYPE_STRING) {
        TEXTS.contains(&name).then_some(Failure::Words)
    } else if is(field::rosidl_typesupport_introspection_c__ROS_TYPE_WSTRING) {
        TEXTS.contains(&name).then_some(Failure::WideWords)
    } else if is(field::rosidl_typesupport_introspection_c__ROS_TYPE_INT8) {
        match name {
            "return_code" if type_name == "action_msgs/srv/CancelGoal_Response" => {
                Some(Failure::Number(CANCEL_REJECTED))
            }
            "status" if type_name.contains("/action/") && type_name.ends_with("_GetResult_Response") => {
                Some(Failure::Number(STATUS_UNKNOWN))
            }
            _ => None,
        }
    } else {
        None
    }
}

/// Sets a field. `bound` is the longest text that it may hold, 0 for any. `false` if there is no memory for the text.
///
/// # Safety
/// `field` is an initialised field of the type that `value` is for.
unsafe fn set(field: *mut c_void, value: Failure, words: &str, bound: usize) -> bool {
    let bound = if bound == 0 { usize::MAX } else { bound };
    match value {
        Failure::False => {
            // SAFETY: upheld by the caller.
            unsafe { field.cast::<bool>().write(false) };
            true
        }
        Failure::Number(number) => {
            // SAFETY: upheld by the caller.
            unsafe { field.cast::<i8>().write(number) };
            true
        }
        Failure::Words => {
            // A letter of several bytes is not cut in the middle.
            let ends = words.char_indices().map(|(start, letter)| start + letter.len_utf8());
            let words = &words[..ends.take_while(|end| *end <= bound).last().unwrap_or(0)];
            // SAFETY: upheld by the caller; the text is copied.
            unsafe { ffi::rosidl_runtime_c__String__assignn(field.cast(), words.as_ptr().cast(), words.len()) }
        }
        Failure::WideWords => {
            // Neither is one of two halves.
            let mut units: Vec<u16> = Vec::new();
            let mut halves = [0; 2];
            for letter in words.chars() {
                let letter = letter.encode_utf16(&mut halves);
                if units.len() + letter.len() > bound {
                    break;
                }
                units.extend_from_slice(letter);
            }
            // SAFETY: upheld by the caller; the text is copied.
            unsafe { ffi::rosidl_runtime_c__U16String__assignn(field.cast(), units.as_ptr(), units.len()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(message: &Message<'_>) -> Vec<u8> {
        let mut buffer = Buffer::new().unwrap();
        message.write(&mut buffer).unwrap();
        buffer.as_ref().to_vec()
    }

    /// A failure of this type in CDR without the encapsulation header, and whether it tells.
    fn failure(type_name: &str, reason: &str) -> (Vec<u8>, bool) {
        let kind = MessageType::load(type_name).unwrap();
        let mut message = kind.message().unwrap();
        let told = message.tell_failure(reason);
        (bytes_of(&message)[4..].to_vec(), told)
    }

    fn text(text: &str) -> Vec<u8> {
        let mut bytes = u32::try_from(text.len() + 1).unwrap().to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn bytes_become_a_message_and_the_same_bytes_again() {
        let kind = MessageType::load("std_srvs/srv/SetBool_Response").unwrap();
        for words in ["", "done", &"x".repeat(1_000_000)] {
            let payload = [&[0, 1, 0, 0, 1, 0, 0, 0][..], &text(words)].concat();
            let again = bytes_of(&kind.read(&payload).unwrap());
            assert!(
                again == payload,
                "{} bytes became {}: {:?}",
                payload.len(),
                again.len(),
                &again[..again.len().min(40)]
            );
        }
    }

    #[test]
    fn big_endian_is_understood_too() {
        let kind = MessageType::load("std_srvs/srv/SetBool_Response").unwrap();
        let payload = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, b'o', b'k', 0];
        assert_eq!(bytes_of(&kind.read(&payload).unwrap())[4..], [&[1, 0, 0, 0][..], &text("ok")].concat());
    }

    #[test]
    fn every_nested_and_repeated_field_survives() {
        let kind = MessageType::load("rcl_interfaces/srv/SetParameters_Request").unwrap();
        // Two parameters: a string and a list of strings, with everything else empty.
        let typed = MessageType::load("rcl_interfaces/srv/SetParameters_Request").unwrap();
        let empty = bytes_of(&typed.message().unwrap());
        assert_eq!(empty[4..8], 0_u32.to_le_bytes());
        let nested = MessageType::load("rcl_interfaces/msg/Parameter").unwrap();
        let one = bytes_of(&nested.message().unwrap());
        // One parameter in the list begins 4 bytes later, which moves its 8-byte numbers: so its bytes are written anew.
        let mut list = vec![0, 1, 0, 0, 1, 0, 0, 0];
        list.extend(&one[4..]);
        list.extend([0; 8]);
        let message = kind.read(&list).unwrap();
        let again = bytes_of(&message);
        assert_eq!(again[4..8], 1_u32.to_le_bytes());
        assert_eq!(bytes_of(&kind.read(&again).unwrap()), again);
    }

    #[test]
    fn what_is_no_message_is_refused_with_words() {
        let kind = MessageType::load("std_srvs/srv/SetBool_Response").unwrap();
        let whole = [&[0, 1, 0, 0, 1, 0, 0, 0][..], &text("done")].concat();
        for length in 0..whole.len() - 1 {
            let error = kind.read(&whole[..length]).err().unwrap();
            assert!(matches!(&error, RosError::NotAMessage { length: told, .. } if *told == length), "{error}");
            assert!(error.to_string().contains("std_srvs/srv/SetBool_Response"), "{error}");
        }
        // A text that claims 4 GiB.
        assert!(kind.read(&[0, 1, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x', 0]).is_err());
        // A list that claims as many entries.
        let list = MessageType::load("rcl_interfaces/srv/SetParameters_Request").unwrap();
        assert!(list.read(&[0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn failure_is_told_where_the_type_can() {
        let words = "switchboard: the link to r2 is down";
        let expected = [&[0, 0, 0, 0][..], &text(words)].concat();
        assert_eq!(failure("std_srvs/srv/SetBool_Response", "the link to r2 is down"), (expected.clone(), true));
        assert_eq!(failure("std_srvs/srv/Trigger_Response", "the link to r2 is down"), (expected, true));
        let (rejected, told) = failure("action_msgs/srv/CancelGoal_Response", "x");
        assert!(told);
        assert_eq!(rejected[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        // Fields of nested messages are not looked at, and an empty response has none.
        assert_eq!(failure("rcl_interfaces/srv/SetParameters_Response", "x"), (vec![0; 4], false));
        assert!(!failure("std_srvs/srv/Empty_Response", "x").1);
    }

    #[test]
    fn failure_has_its_own_words_for_each_kind_of_field() {
        use ffi::rosidl_typesupport_introspection_c_field_types as field;
        let of = |name: &str, id: field| failure_of("a/srv/B_Response", name, id as u32 as u8);
        let (boolean, int8) = (
            field::rosidl_typesupport_introspection_c__ROS_TYPE_BOOLEAN,
            field::rosidl_typesupport_introspection_c__ROS_TYPE_INT8,
        );
        let (string, wide) = (
            field::rosidl_typesupport_introspection_c__ROS_TYPE_STRING,
            field::rosidl_typesupport_introspection_c__ROS_TYPE_WSTRING,
        );
        for name in FLAGS {
            assert_eq!(of(name, boolean), Some(Failure::False));
            assert_eq!(of(name, int8), None);
        }
        for name in TEXTS {
            assert_eq!(of(name, string), Some(Failure::Words));
            assert_eq!(of(name, wide), Some(Failure::WideWords));
        }
        assert_eq!(of("enabled", boolean), None);
        assert_eq!(of("name", string), None);
        assert_eq!(of("return_code", int8), None, "only CancelGoal's is known");
        assert_eq!(of("status", int8), None);
        let status = failure_of("a/action/B_GetResult_Response", "status", int8 as u32 as u8);
        assert_eq!(status, Some(Failure::Number(STATUS_UNKNOWN)));
    }

    #[test]
    fn words_are_cut_to_what_a_bounded_text_holds() {
        // SAFETY: the texts are initialised before they are set, and finalised after they were read.
        unsafe {
            let mut narrow: ffi::rosidl_runtime_c__String = std::mem::zeroed();
            assert!(ffi::rosidl_runtime_c__String__init(&mut narrow));
            assert!(set((&raw mut narrow).cast(), Failure::Words, "grüße", 3));
            assert_eq!(rcl::text(narrow.data), "gr", "a letter of two bytes is not cut in the middle");
            assert!(set((&raw mut narrow).cast(), Failure::Words, "grüße", 0));
            assert_eq!(rcl::text(narrow.data), "grüße");
            ffi::rosidl_runtime_c__String__fini(&mut narrow);
            let mut wide: ffi::rosidl_runtime_c__U16String = std::mem::zeroed();
            assert!(ffi::rosidl_runtime_c__U16String__init(&mut wide));
            for (bound, expected) in [(2, "ü"), (3, "ü🤖"), (0, "ü🤖!")] {
                assert!(set((&raw mut wide).cast(), Failure::WideWords, "ü🤖!", bound));
                let units = std::slice::from_raw_parts(wide.data, wide.size);
                assert_eq!(String::from_utf16(units).unwrap(), expected);
            }
            ffi::rosidl_runtime_c__U16String__fini(&mut wide);
        }
    }

    #[test]
    fn a_type_that_is_not_installed_is_named() {
        let error = MessageType::load("no_such_msgs/srv/Thing_Request").err().unwrap().to_string();
        assert!(error.contains("no_such_msgs/srv/Thing_Request"), "{error}");
    }
}
