//! The services of the graph, and who serves them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use r2r_rcl as ffi;

use super::{
    error::RosError,
    graph::{self, Names, Side},
    ownership::Ownership,
    rcl::{self, Node},
    types,
};
use crate::{
    model::Qos,
    routes::graph::{Endpoint, Gid, LocalService},
};

/// The hashes of servers' types. A server never changes its type, so each is looked at once.
#[derive(Default)]
pub(super) struct ServerTypes(HashMap<Gid, String>);

/// Every service with its servers, ordered by name, the servers by gid.
///
/// On DDS the server of `/x` is the reader of its requests, the topic `rq/xRequest`, which has all that an endpoint has.
/// Middlewares that do it in another way are asked node by node; then a server is as unique as the name of its node.
pub(super) fn services(
    node: &Node,
    ownership: &Ownership,
    known: &mut ServerTypes,
) -> Result<Vec<LocalService>, RosError> {
    let mut names = graph::names(Names::Services, node)?;
    names.sort_unstable();
    names.dedup_by(|a, b| a.0 == b.0);
    let mut services = Vec::with_capacity(names.len());
    let mut seen = HashMap::with_capacity(known.0.len());
    for (name, types) in &names {
        let mut servers = graph::endpoints(node, &request_topic(name), Side::RawSubscribers, ownership)?;
        for server in &mut servers {
            // A type in a form that we do not know is the one that ROS names.
            if let Some(type_name) = service_type(&server.type_name).or_else(|| types.first().cloned()) {
                server.type_name = type_name;
            }
            let hash = match known.0.remove(&server.gid) {
                Some(hash) => Some(hash),
                None => type_hash(node, name, server, ownership)?,
            };
            server.type_hash = hash.clone().unwrap_or_default();
            if let Some(hash) = hash {
                seen.insert(server.gid, hash);
            }
        }
        // None: it went away while we looked.
        if !servers.is_empty() {
            services.push(LocalService { name: name.clone(), servers });
        }
    }
    known.0 = seen;
    if services.is_empty() && !names.is_empty() {
        return by_node(node, ownership);
    }
    Ok(services)
}

/// Hash of the type of a server. `None` if not everything is known yet; what is missing then changes the graph once more.
fn type_hash(node: &Node, service: &str, server: &Endpoint, ownership: &Ownership) -> Result<Option<String>, RosError> {
    let request = server.type_hash.clone();
    // Who has not installed the type cannot do anything with it either.
    let Ok(ours) = installed(&server.type_name) else { return Ok(Some(request)) };
    let responders = graph::endpoints(node, &response_topic(service), Side::RawPublishers, ownership)?;
    let participant = |gid: &Gid| gid.0[..PARTICIPANT].to_owned();
    let responder = responders.into_iter().find(|other| participant(&other.gid) == participant(&server.gid));
    Ok(agreed(request, responder.map(|responder| responder.type_hash), ours))
}

/// DDS carries the hashes of the request and of the response. If they are those of what is installed here, the service is
/// the one that is installed here, else the hash is the one that differs, so that whoever compares it sees that.
fn agreed(request: String, response: Option<String>, ours: Hashes) -> Option<String> {
    if request != ours.request {
        return Some(request);
    }
    response.map(|response| if response == ours.response { ours.service } else { response })
}

/// Length of the part of a DDS GUID that names the participant [bytes] (RTPS 2.3, 8.2.4).
const PARTICIPANT: usize = 12;

struct Hashes {
    service: String,
    request: String,
    response: String,
}

fn installed(type_name: &str) -> Result<Hashes, RosError> {
    Ok(Hashes {
        service: types::installed_type_hash(type_name)?,
        request: types::installed_type_hash(&format!("{type_name}_Request"))?,
        response: types::installed_type_hash(&format!("{type_name}_Response"))?,
    })
}

/// Name of the topic on which a service gets its requests, as DDS knows it.
fn request_topic(service: &str) -> String {
    format!("rq{service}Request")
}

/// Name of the topic on which a service gives its responses, as DDS knows it.
fn response_topic(service: &str) -> String {
    format!("rr{service}Reply")
}

/// `std_srvs/srv/SetBool` for `std_srvs::srv::dds_::SetBool_Request_`, as DDS knows the type of its requests.
fn service_type(request_type: &str) -> Option<String> {
    let (prefix, name) = request_type.split_once("::dds_::")?;
    Some(format!("{}/{}", prefix.replace("::", "/"), name.strip_suffix("_Request_")?))
}

fn by_node(node: &Node, ownership: &Ownership) -> Result<Vec<LocalService>, RosError> {
    let mut services: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
    for (name, namespace) in nodes(node)? {
        let of = if namespace.ends_with('/') { format!("{namespace}{name}") } else { format!("{namespace}/{name}") };
        let (c_name, c_namespace) = (rcl::c_string("node name", &name)?, rcl::c_string("namespace", &namespace)?);
        let served = match graph::names(Names::ServicesOf(&c_name, &c_namespace), node) {
            Ok(served) => served,
            // It went away while we looked.
            Err(error) => {
                tracing::debug!(node = of, "its services are not known: {error}");
                continue;
            }
        };
        for (service, types) in served {
            let gid = gid_of(&of, &service);
            let server = Endpoint {
                gid,
                node: of.clone(),
                type_name: types.into_iter().next().unwrap_or_default(),
                type_hash: String::new(),
                qos: Qos::default(),
                own: ownership.is_own_node(&of),
            };
            services.entry(service).or_default().push(server);
        }
    }
    Ok(services
        .into_iter()
        .map(|(name, mut servers)| {
            servers.sort_unstable_by_key(|server| server.gid);
            LocalService { name, servers }
        })
        .collect())
}

/// Name and namespace of every node. Several of the same name are one, with the services of all of them.
fn nodes(node: &Node) -> Result<BTreeSet<(String, String)>, RosError> {
    // SAFETY: the node is valid; both lists are zero-initialised, read while they are valid and finalised on both ways out.
    unsafe {
        let mut names = ffi::rcutils_get_zero_initialized_string_array();
        let mut namespaces = ffi::rcutils_get_zero_initialized_string_array();
        let code = ffi::rcl_get_node_names(node.as_ptr(), rcl::allocator(), &mut names, &mut namespaces);
        let listed = rcl::check(code, || "list the nodes of the ROS graph".to_owned());
        let nodes = graph::texts(&names).into_iter().zip(graph::texts(&namespaces)).collect();
        for list in [&mut names, &mut namespaces] {
            if ffi::rcutils_string_array_fini(list) != ffi::RCL_RET_OK as ffi::rcl_ret_t {
                ffi::rcutils_reset_error();
            }
        }
        listed.map(|()| nodes)
    }
}

/// Something that tells the server of one node from that of another, where there is no gid.
fn gid_of(node: &str, service: &str) -> Gid {
    let mut gid = [0; 24];
    let mut hasher = DefaultHasher::new();
    for part in gid.chunks_mut(8) {
        (node, service).hash(&mut hasher);
        part.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    Gid(gid)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{
        super::{rcl::Context, server::Server},
        *,
    };
    use crate::{ids::ServerId, model::ServiceInfo};

    #[test]
    fn names_are_those_that_dds_uses() {
        assert_eq!(request_topic("/r1/set_mode"), "rq/r1/set_modeRequest");
        assert_eq!(response_topic("/r1/set_mode"), "rr/r1/set_modeReply");
        assert_eq!(service_type("std_srvs::srv::dds_::SetBool_Request_").as_deref(), Some("std_srvs/srv/SetBool"));
        assert_eq!(service_type("a::action::dds_::B_SendGoal_Request_").as_deref(), Some("a/action/B_SendGoal"));
        for other in ["std_srvs/srv/SetBool", "std_srvs::srv::dds_::SetBool_Response_", ""] {
            assert_eq!(service_type(other), None);
        }
    }

    #[test]
    fn a_service_is_what_its_request_and_its_response_are() {
        let ours = || Hashes { service: "s".to_owned(), request: "q".to_owned(), response: "r".to_owned() };
        let of =
            |request: &str, response: Option<&str>| agreed(request.to_owned(), response.map(str::to_owned), ours());
        assert_eq!(of("q", Some("r")).as_deref(), Some("s"));
        assert_eq!(of("other", Some("r")).as_deref(), Some("other"));
        assert_eq!(of("q", Some("other")).as_deref(), Some("other"));
        assert_eq!(of("", Some("")).as_deref(), Some(""), "a vendor that carries none");
        assert_eq!(of("q", None), None, "the response is not discovered yet");
    }

    #[test]
    fn node_by_node_the_same_services_are_found() {
        let context = Context::start().unwrap();
        let node = Node::create(&context, &format!("by_node_{}", std::process::id()), "/somewhere").unwrap();
        let ownership = Ownership::find_out(&node).unwrap();
        let about = ServiceInfo {
            name: format!("/by_node_{}/set", std::process::id()),
            type_name: "std_srvs/srv/SetBool".to_owned(),
            type_hash: String::new(),
        };
        let server = Server::create(&node, ServerId(1), &about).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let find = |services: Vec<LocalService>| services.into_iter().find(|service| service.name == about.name);
        let (by_topic, by_node) = loop {
            let by_topic = find(services(&node, &ownership, &mut ServerTypes::default()).unwrap());
            let by_node = find(by_node(&node, &ownership).unwrap());
            match (by_topic, by_node) {
                (Some(by_topic), Some(by_node)) => break (by_topic, by_node),
                _ => assert!(Instant::now() < end, "the service does not appear"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        drop(server);
        for found in [by_topic, by_node] {
            assert_eq!(found.servers.len(), 1);
            assert_eq!(found.servers[0].node, node.name());
            assert_eq!(found.servers[0].type_name, about.type_name);
            assert!(found.servers[0].own);
        }
    }

    #[test]
    fn where_there_is_no_gid_node_and_service_make_one() {
        assert_eq!(gid_of("/a", "/x"), gid_of("/a", "/x"));
        assert_ne!(gid_of("/a", "/x"), gid_of("/b", "/x"));
        assert_ne!(gid_of("/a", "/x"), gid_of("/a", "/y"));
    }
}
