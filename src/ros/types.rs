//! Type support of message and service types, found by name and loaded at run time, as rclcpp's generic publishers do.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use libloading::{Library, Symbol};
use parking_lot::Mutex;
use r2r_rcl as ffi;

use super::error::RosError;

/// Type support of one message type. It lives in a library that is never unloaded, so it is valid for ever.
#[derive(Clone, Copy)]
pub(super) struct TypeSupport(&'static ffi::rosidl_message_type_support_t);

// SAFETY: type support is constant data of a library that stays loaded.
unsafe impl Send for TypeSupport {}
// SAFETY: as above.
unsafe impl Sync for TypeSupport {}

/// Libraries by file name. They stay open until the process ends: middlewares keep pointers into them beyond the life of an
/// endpoint. Bounded by the number of installed packages.
static LIBRARIES: LazyLock<Mutex<HashMap<String, &'static Library>>> = LazyLock::new(Mutex::default);

/// REP 2011 hash (`RIHS01_…`) of `type_name`, a message or a service, as it is installed here; empty where the distribution
/// has none (Humble).
///
/// # Errors
/// [`RosError::InvalidTypeName`] and [`RosError::UnknownType`] name the type and the cure.
pub fn installed_type_hash(type_name: &str) -> Result<String, RosError> {
    // Only the package knows which of the two `srv/SetBool_Request` is.
    match TypeSupport::load(type_name) {
        Ok(types) => Ok(types.type_hash()),
        Err(error) => ServiceSupport::load(type_name).map(|types| types.type_hash()).map_err(|_| error),
    }
}

/// Whether `theirs`, the hash of the type at the other end, is that of the type as it is installed here. Who does not know
/// a hash agrees.
pub(super) fn agree(type_name: &str, theirs: &str, ours: &str) -> Result<(), RosError> {
    if theirs.is_empty() || ours.is_empty() || theirs == ours {
        return Ok(());
    }
    Err(RosError::TypeMismatch {
        type_name: type_name.to_owned(),
        theirs: theirs.chars().take(crate::defaults::NAME_MAX).collect(),
        ours: ours.to_owned(),
    })
}

impl TypeSupport {
    /// Finds and loads the type support of `type_name`, such as `nav_msgs/msg/Odometry`. The forms that rosidl makes of
    /// services and actions are found too, such as `std_srvs/srv/SetBool_Request`.
    pub(super) fn load(type_name: &str) -> Result<TypeSupport, RosError> {
        let name = TypeName::parse(type_name)?;
        type GetHandle = unsafe extern "C" fn() -> *const ffi::rosidl_message_type_support_t;
        // SAFETY: rosidl generates this symbol with exactly this signature for each message of the package.
        let get_handle = unsafe { name.symbol::<GetHandle>(TYPESUPPORT, "message")? };
        // SAFETY: takes nothing and returns null or a pointer to constant data of the library, which stays loaded.
        let handle = unsafe { get_handle().as_ref() };
        handle.map(TypeSupport).ok_or_else(|| name.unknown("its type support is empty".to_owned()))
    }

    pub(super) fn as_ptr(self) -> *const ffi::rosidl_message_type_support_t {
        self.0
    }

    /// Empty where the distribution has none.
    #[cfg(ros_type_hashes)]
    pub(super) fn type_hash(self) -> String {
        let Some(get_hash) = self.0.get_type_hash_func else { return String::new() };
        // SAFETY: the function belongs to this very type support and returns null or a pointer to constant data.
        match unsafe { get_hash(self.0).as_ref() } {
            Some(hash) => hash_text(hash),
            None => String::new(),
        }
    }

    #[cfg(not(ros_type_hashes))]
    pub(super) fn type_hash(self) -> String {
        String::new()
    }
}

/// Type support of one service type.
#[derive(Clone, Copy)]
pub(super) struct ServiceSupport(&'static ffi::rosidl_service_type_support_t);

// SAFETY: as type support of messages.
unsafe impl Send for ServiceSupport {}
// SAFETY: as type support of messages.
unsafe impl Sync for ServiceSupport {}

impl ServiceSupport {
    /// Finds and loads the type support of `type_name`, such as `std_srvs/srv/SetBool`. The services that rosidl makes of
    /// actions are found too, such as `nav2_msgs/action/Spin_SendGoal`.
    pub(super) fn load(type_name: &str) -> Result<ServiceSupport, RosError> {
        let name = TypeName::parse(type_name)?;
        type GetHandle = unsafe extern "C" fn() -> *const ffi::rosidl_service_type_support_t;
        // SAFETY: rosidl generates this symbol with exactly this signature for each service of the package.
        let get_handle = unsafe { name.symbol::<GetHandle>(TYPESUPPORT, "service")? };
        // SAFETY: takes nothing and returns null or a pointer to constant data of the library, which stays loaded.
        let handle = unsafe { get_handle().as_ref() };
        handle.map(ServiceSupport).ok_or_else(|| name.unknown("its type support is empty".to_owned()))
    }

    pub(super) fn as_ptr(self) -> *const ffi::rosidl_service_type_support_t {
        self.0
    }

    /// Empty where the distribution has none.
    #[cfg(ros_type_hashes)]
    pub(super) fn type_hash(self) -> String {
        let Some(get_hash) = self.0.get_type_hash_func else { return String::new() };
        // SAFETY: the function belongs to this very type support and returns null or a pointer to constant data.
        match unsafe { get_hash(self.0).as_ref() } {
            Some(hash) => hash_text(hash),
            None => String::new(),
        }
    }

    #[cfg(not(ros_type_hashes))]
    pub(super) fn type_hash(self) -> String {
        String::new()
    }
}

/// As rosidl describes a message type.
pub(super) type Description = ffi::rosidl_typesupport_introspection_c__MessageMembers;

/// How the fields of a message lie in memory.
#[derive(Clone, Copy)]
pub(super) struct Members(&'static Description);

// SAFETY: what describes a message is constant data of a library that stays loaded.
unsafe impl Send for Members {}
// SAFETY: as above.
unsafe impl Sync for Members {}

impl Members {
    /// Finds and loads the description of a message type, for the names that [`TypeSupport::load`] knows.
    pub(super) fn load(type_name: &str) -> Result<Members, RosError> {
        let name = TypeName::parse(type_name)?;
        type GetHandle = unsafe extern "C" fn() -> *const ffi::rosidl_message_type_support_t;
        // SAFETY: rosidl generates this symbol with exactly this signature for each message of the package.
        let get_handle = unsafe { name.symbol::<GetHandle>(INTROSPECTION, "message")? };
        let _guard = DESCRIBING.lock();
        // SAFETY: takes nothing and returns null or a pointer to data of the library, which stays loaded. It completes
        // that data when it is called first, which the lock keeps apart from other calls. The data of this type support
        // is a structure of this type.
        let members = unsafe { get_handle().as_ref().and_then(|handle| handle.data.cast::<Description>().as_ref()) };
        members.map(Members).ok_or_else(|| name.unknown("its description is empty".to_owned()))
    }

    pub(super) fn get(self) -> &'static Description {
        self.0
    }
}

/// Held while descriptions are asked for.
static DESCRIBING: Mutex<()> = Mutex::new(());

/// The type support that knows all others.
const TYPESUPPORT: &str = "rosidl_typesupport_c";
/// The type support that describes.
const INTROSPECTION: &str = "rosidl_typesupport_introspection_c";

/// A type hash in the form of REP 2011; empty if it is not set.
#[cfg(ros_type_hashes)]
pub(super) fn hash_text(hash: &ffi::rosidl_type_hash_t) -> String {
    use std::fmt::Write;

    if hash.version == 0 {
        return String::new();
    }
    let mut text = format!("RIHS{:02x}_", hash.version);
    for byte in hash.value {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The three parts of `package/msg/Type`.
#[derive(Debug, PartialEq, Eq)]
struct TypeName<'a> {
    package: &'a str,
    group: &'a str,
    name: &'a str,
}

impl<'a> TypeName<'a> {
    /// Type names come from remote peers and become file and symbol names, so nothing but plain words passes.
    fn parse(type_name: &'a str) -> Result<Self, RosError> {
        let word = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let mut parts = type_name.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(package), Some(group @ ("msg" | "srv" | "action")), Some(name), None)
                if word(package) && word(name) && type_name.len() <= crate::defaults::NAME_MAX =>
            {
                Ok(TypeName { package, group, name })
            }
            _ => Err(RosError::InvalidTypeName(type_name.chars().take(crate::defaults::NAME_MAX).collect())),
        }
    }

    /// The function of the type's library that gives its type support of this sort, a `message` or a `service`.
    ///
    /// # Safety
    /// `T` is the type of that function.
    unsafe fn symbol<T>(&self, support: &str, sort: &str) -> Result<Symbol<'static, T>, RosError> {
        let library = library_of(self, support)?;
        let symbol =
            format!("{support}__get_{sort}_type_support_handle__{}__{}__{}", self.package, self.group, self.name);
        // SAFETY: upheld by the caller.
        unsafe { library.get::<T>(symbol.as_bytes()) }
            .map_err(|_| self.unknown(format!("the package {} is installed, but has no such type", self.package)))
    }

    fn unknown(&self, reason: String) -> RosError {
        RosError::UnknownType {
            type_name: format!("{}/{}/{}", self.package, self.group, self.name),
            package: self.package.to_owned(),
            reason,
        }
    }
}

fn library_of(name: &TypeName<'_>, support: &str) -> Result<&'static Library, RosError> {
    let file = format!("lib{}__{support}.so", name.package);
    let mut libraries = LIBRARIES.lock();
    if let Some(library) = libraries.get(&file) {
        return Ok(library);
    }
    let path = find(&file, std::env::var_os("AMENT_PREFIX_PATH").unwrap_or_default().as_os_str());
    let not_found = path.is_none();
    // A package of the system's own directories is in no ament prefix: the bare name lets the loader look there.
    let path = path.unwrap_or_else(|| PathBuf::from(&file));
    // SAFETY: the library is one that rosidl generated for an installed package; loading it runs no more than the
    // constructors of C++ globals.
    let library = unsafe { Library::new(&path) }.map_err(|error| {
        if not_found {
            name.unknown(format!("no {file} in the lib folders of AMENT_PREFIX_PATH"))
        } else {
            name.unknown(format!("{} cannot be loaded: {error}", path.display()))
        }
    })?;
    let library: &'static Library = Box::leak(Box::new(library));
    libraries.insert(file, library);
    Ok(library)
}

fn find(file: &str, prefixes: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(prefixes)
        .filter(|prefix| prefix != Path::new(""))
        .map(|prefix| prefix.join("lib").join(file))
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_become_file_and_symbol_names() {
        assert_eq!(
            TypeName::parse("nav_msgs/msg/Odometry").unwrap(),
            TypeName { package: "nav_msgs", group: "msg", name: "Odometry" }
        );
        assert!(TypeName::parse("std_srvs/srv/SetBool_Request").is_ok());
        for bad in [
            "",
            "Odometry",
            "nav_msgs/Odometry",
            "a/msg/b/c",
            "../msg/x",
            "a/msg/",
            "/msg/b",
            "a/lib/b",
            "a/msg/b;c",
            "1a/msg/B",
        ] {
            let message = TypeName::parse(bad).unwrap_err().to_string();
            assert!(message.contains("package/msg/Type"), "{message}");
        }
    }

    #[test]
    fn a_package_that_is_not_installed_is_named_with_the_cure() {
        let message = installed_type_hash("no_such_msgs/msg/Thing").unwrap_err().to_string();
        assert!(message.contains("no_such_msgs/msg/Thing"), "{message}");
        assert!(message.contains("install the ROS package no_such_msgs"), "{message}");
    }

    #[test]
    fn a_type_that_its_package_does_not_have_is_named() {
        let message = installed_type_hash("std_msgs/msg/NoSuchThing").unwrap_err().to_string();
        assert!(message.contains("std_msgs/msg/NoSuchThing") && message.contains("has no such type"), "{message}");
    }

    #[test]
    #[cfg(ros_type_hashes)]
    fn type_hashes_are_those_of_rep_2011() {
        // The hash that `ros2 topic info --verbose` shows for std_msgs/msg/String on every distribution since Iron.
        assert_eq!(
            installed_type_hash("std_msgs/msg/String").unwrap(),
            "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
        );
    }
}
