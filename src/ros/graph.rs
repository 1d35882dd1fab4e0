//! Snapshots of the ROS graph as our node sees it.

use std::ffi::CStr;

use r2r_rcl as ffi;

use super::{
    error::RosError,
    ownership::Ownership,
    qos,
    rcl::{self, Node},
    reader::padded,
    service_graph::{self, ServerTypes},
};
use crate::routes::graph::{Endpoint, LocalGraph, LocalTopic};

/// Every topic with its publishers and subscriptions and every service with its servers, ordered by name, the endpoints by
/// gid. The topics that services have below ROS are not in it; those of actions are.
pub(super) fn snapshot(node: &Node, ownership: &Ownership, known: &mut ServerTypes) -> Result<LocalGraph, RosError> {
    let mut names = names(Names::Topics, node)?;
    names.sort_unstable();
    names.dedup_by(|a, b| a.0 == b.0);
    let mut topics = Vec::with_capacity(names.len());
    for (name, _) in names {
        let publishers = endpoints(node, &name, Side::Publishers, ownership)?;
        let subscribers = endpoints(node, &name, Side::Subscribers, ownership)?;
        // Both empty: it went away while we looked.
        if !publishers.is_empty() || !subscribers.is_empty() {
            topics.push(LocalTopic { name, publishers, subscribers });
        }
    }
    Ok(LocalGraph { topics, services: service_graph::services(node, ownership, known)? })
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Publishers,
    Subscribers,
    /// The publishers of a topic that is named as the middleware names it, not as ROS does.
    RawPublishers,
    /// The subscriptions of such a topic.
    RawSubscribers,
}

/// What to list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Names<'a> {
    Topics,
    Services,
    /// Those that a node of this name and namespace serves.
    ServicesOf(&'a CStr, &'a CStr),
}

/// Names, each with its types, in no order.
pub(super) fn names(which: Names<'_>, node: &Node) -> Result<Vec<(String, Vec<String>)>, RosError> {
    let mut allocator = rcl::allocator();
    // SAFETY: the node and the strings are valid; the list is zero-initialised, read while it is valid and finalised on
    // both ways out.
    unsafe {
        let mut list = ffi::rmw_get_zero_initialized_names_and_types();
        let code = match which {
            Names::Topics => ffi::rcl_get_topic_names_and_types(node.as_ptr(), &mut allocator, false, &mut list),
            Names::Services => ffi::rcl_get_service_names_and_types(node.as_ptr(), &mut allocator, &mut list),
            Names::ServicesOf(name, namespace) => ffi::rcl_get_service_names_and_types_by_node(
                node.as_ptr(),
                &mut allocator,
                name.as_ptr(),
                namespace.as_ptr(),
                &mut list,
            ),
        };
        let listed = rcl::check(code, || format!("list the {which:?} of the ROS graph"));
        let mut names = Vec::new();
        if listed.is_ok() && !list.names.data.is_null() && !list.types.is_null() {
            for index in 0..list.names.size {
                let types = &*list.types.add(index);
                names.push((rcl::text(*list.names.data.add(index)), texts(types)));
            }
        }
        let code = ffi::rcl_names_and_types_fini(&mut list);
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            tracing::debug!(reason = rcl::last_error(code), "a list of names was not freed");
        }
        listed?;
        Ok(names)
    }
}

/// # Safety
/// The list is valid.
pub(super) unsafe fn texts(list: &ffi::rcutils_string_array_t) -> Vec<String> {
    if list.data.is_null() {
        return Vec::new();
    }
    // SAFETY: upheld by the caller.
    unsafe { std::slice::from_raw_parts(list.data, list.size).iter().map(|text| rcl::text(*text)).collect() }
}

/// The publishers or the subscriptions of one topic, ordered by gid.
pub(super) fn endpoints(
    node: &Node,
    topic: &str,
    side: Side,
    ownership: &Ownership,
) -> Result<Vec<Endpoint>, RosError> {
    let name = rcl::c_string("topic", topic)?;
    let mut allocator = rcl::allocator();
    // SAFETY: node and name are valid; the list is zero-initialised, read while it is valid and finalised on both ways.
    let mut endpoints: Vec<Endpoint> = unsafe {
        let mut list = ffi::rmw_get_zero_initialized_topic_endpoint_info_array();
        let list_them = match side {
            Side::Publishers | Side::RawPublishers => ffi::rcl_get_publishers_info_by_topic,
            Side::Subscribers | Side::RawSubscribers => ffi::rcl_get_subscriptions_info_by_topic,
        };
        let raw = matches!(side, Side::RawPublishers | Side::RawSubscribers);
        let code = list_them(node.as_ptr(), &mut allocator, name.as_ptr(), raw, &mut list);
        let listed = rcl::check(code, || format!("list the {side:?} of {topic}"));
        let endpoints = if listed.is_err() || list.info_array.is_null() {
            Vec::new()
        } else {
            std::slice::from_raw_parts(list.info_array, list.size)
                .iter()
                .map(|info| endpoint(info, ownership))
                .collect()
        };
        let code = ffi::rmw_topic_endpoint_info_array_fini(&mut list, &mut allocator);
        if code != ffi::RMW_RET_OK as ffi::rmw_ret_t {
            tracing::debug!(reason = rcl::last_error(code), "a list of endpoints was not freed");
        }
        listed?;
        endpoints
    };
    endpoints.sort_unstable_by_key(|endpoint| endpoint.gid);
    Ok(endpoints)
}

/// # Safety
/// The strings of `info` are valid.
unsafe fn endpoint(info: &ffi::rmw_topic_endpoint_info_t, ownership: &Ownership) -> Endpoint {
    // SAFETY: upheld by the caller.
    let (namespace, name, type_name) =
        unsafe { (rcl::text(info.node_namespace), rcl::text(info.node_name), rcl::text(info.topic_type)) };
    let node = if namespace.ends_with('/') { namespace + &name } else { format!("{namespace}/{name}") };
    let gid = padded(&info.endpoint_gid);
    #[cfg(ros_type_hashes)]
    let type_hash = super::types::hash_text(&info.topic_type_hash);
    #[cfg(not(ros_type_hashes))]
    let type_hash = String::new();
    let own = ownership.is_own(&gid, &node);
    Endpoint { gid, node, type_name, type_hash, qos: qos::discovered(&info.qos_profile), own }
}
