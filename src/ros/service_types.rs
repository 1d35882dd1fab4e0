//! Service types known only at run time: the type support of the service, and its two messages.

use super::{
    error::RosError,
    message::MessageType,
    types::{self, ServiceSupport},
};
use crate::model::ServiceInfo;

/// Everything that a client or a server of one service type needs.
pub(super) struct ServiceTypes {
    pub(super) service: ServiceSupport,
    pub(super) request: MessageType,
    pub(super) response: MessageType,
}

impl ServiceTypes {
    /// Loads the type of a service, and holds it against the one that the other end has.
    pub(super) fn load(about: &ServiceInfo) -> Result<ServiceTypes, RosError> {
        let service = ServiceSupport::load(&about.type_name)?;
        types::agree(&about.type_name, &about.type_hash, &service.type_hash())?;
        Ok(ServiceTypes {
            service,
            request: MessageType::load(&format!("{}_Request", about.type_name))?,
            response: MessageType::load(&format!("{}_Response", about.type_name))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(type_name: &str, type_hash: &str) -> ServiceInfo {
        ServiceInfo { name: "/x".to_owned(), type_name: type_name.to_owned(), type_hash: type_hash.to_owned() }
    }

    #[test]
    fn every_sort_of_service_is_found() {
        for type_name in ["std_srvs/srv/SetBool", "std_srvs/srv/Empty", "action_msgs/srv/CancelGoal"] {
            assert!(ServiceTypes::load(&about(type_name, "")).is_ok(), "{type_name}");
        }
        let error = ServiceTypes::load(&about("std_srvs/srv/NoSuch", "")).err().unwrap().to_string();
        assert!(error.contains("std_srvs/srv/NoSuch") && error.contains("has no such type"), "{error}");
        // A message is no service.
        assert!(ServiceTypes::load(&about("std_msgs/msg/String", "")).is_err());
    }

    #[test]
    #[cfg(ros_type_hashes)]
    fn another_type_of_the_same_name_is_refused_with_both_hashes() {
        let ours = types::installed_type_hash("std_srvs/srv/SetBool").unwrap();
        assert!(ours.starts_with("RIHS01_"), "{ours}");
        assert!(ServiceTypes::load(&about("std_srvs/srv/SetBool", &ours)).is_ok());
        let error = ServiceTypes::load(&about("std_srvs/srv/SetBool", "RIHS01_beef")).err().unwrap();
        assert!(matches!(error, RosError::TypeMismatch { .. }));
        let words = error.to_string();
        assert!(words.contains("RIHS01_beef") && words.contains(&ours), "{words}");
        assert!(words.contains("install the same version"), "{words}");
    }
}
