//! Snapshots of the ROS graph as our node sees it.

use r2r_rcl as ffi;

use super::{
    error::RosError,
    ownership::Ownership,
    qos,
    rcl::{self, Node},
    reader::padded,
};
use crate::routes::graph::{Endpoint, LocalGraph, LocalTopic};

/// Every topic with its publishers and subscriptions, ordered by name, the endpoints by gid. Services and actions have
/// topics of their own below ROS, which are not in it.
pub(super) fn snapshot(node: &Node, ownership: &Ownership) -> Result<LocalGraph, RosError> {
    let mut names = topic_names(node)?;
    names.sort_unstable();
    names.dedup();
    let mut topics = Vec::with_capacity(names.len());
    for name in names {
        let publishers = endpoints(node, &name, Side::Publishers, ownership)?;
        let subscribers = endpoints(node, &name, Side::Subscribers, ownership)?;
        // Both empty: it went away while we looked.
        if !publishers.is_empty() || !subscribers.is_empty() {
            topics.push(LocalTopic { name, publishers, subscribers });
        }
    }
    Ok(LocalGraph { topics, services: Vec::new() })
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Publishers,
    Subscribers,
}

fn topic_names(node: &Node) -> Result<Vec<String>, RosError> {
    let mut allocator = rcl::allocator();
    // SAFETY: the node is valid; the list is zero-initialised, read while it is valid and finalised.
    unsafe {
        let mut list = ffi::rmw_get_zero_initialized_names_and_types();
        rcl::check(ffi::rcl_get_topic_names_and_types(node.as_ptr(), &mut allocator, false, &mut list), || {
            "list the topics of the ROS graph".to_owned()
        })?;
        let names = if list.names.data.is_null() {
            Vec::new()
        } else {
            std::slice::from_raw_parts(list.names.data, list.names.size).iter().map(|name| rcl::text(*name)).collect()
        };
        let code = ffi::rcl_names_and_types_fini(&mut list);
        if code != ffi::RCL_RET_OK as ffi::rcl_ret_t {
            tracing::debug!(reason = rcl::last_error(code), "a list of topics was not freed");
        }
        Ok(names)
    }
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
        let code = match side {
            Side::Publishers => {
                ffi::rcl_get_publishers_info_by_topic(node.as_ptr(), &mut allocator, name.as_ptr(), false, &mut list)
            }
            Side::Subscribers => {
                ffi::rcl_get_subscriptions_info_by_topic(node.as_ptr(), &mut allocator, name.as_ptr(), false, &mut list)
            }
        };
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
