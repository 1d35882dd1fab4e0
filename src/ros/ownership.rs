//! Which endpoints of the graph are our own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    error::RosError,
    graph::{self, Side},
    rcl::Node,
    reader::Reader,
    writer::Publisher,
};
use crate::{
    ids::ReaderId,
    model::{Qos, TopicInfo},
    routes::graph::Gid,
};

/// Length of the part of a DDS GUID that names the participant [bytes] (RTPS 2.3, 8.2.4).
const PREFIX: usize = 12;
/// How long the middleware may take to show us our own endpoints.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// How to tell our own endpoints from others'.
///
/// Every endpoint of one DDS participant shares the first 12 bytes of its gid, and our context is one participant, so
/// they tell exactly. Where the gids of a middleware are made differently, the name of our node has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ownership {
    node: String,
    prefix: Option<[u8; PREFIX]>,
}

impl Ownership {
    /// Finds out with a publisher and a subscription on a hidden topic, which are gone before it returns: if their gids
    /// as the graph shows them begin alike, gids tell.
    pub(super) fn find_out(node: &Arc<Node>) -> Result<Ownership, RosError> {
        static PROBES: AtomicU32 = AtomicU32::new(0);
        let topic = TopicInfo {
            name: format!("/_switchboard/probe_{}_{}", std::process::id(), PROBES.fetch_add(1, Ordering::Relaxed)),
            // rcl itself depends on it, so it is in every installation.
            type_name: "rcl_interfaces/msg/Log".to_owned(),
            type_hash: String::new(),
            qos: Qos::default(),
        };
        let by_name = Ownership { node: node.name().to_owned(), prefix: None };
        let _publisher = Publisher::create(node, &topic)?;
        let _reader = Reader::create(node, ReaderId(0), &topic)?;
        let deadline = Instant::now() + PROBE_TIMEOUT;
        loop {
            let publishers = graph::endpoints(node, &topic.name, Side::Publishers, &by_name)?;
            let subscribers = graph::endpoints(node, &topic.name, Side::Subscribers, &by_name)?;
            if let ([publisher], [subscriber]) = (publishers.as_slice(), subscribers.as_slice()) {
                let prefix = common_prefix(&publisher.gid, &subscriber.gid);
                return Ok(Ownership { prefix, ..by_name });
            }
            if Instant::now() >= deadline {
                tracing::debug!("the middleware does not show us our own endpoints; they are told by the node's name");
                return Ok(by_name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether an endpoint is ours.
    pub(super) fn is_own(&self, gid: &Gid, node: &str) -> bool {
        match &self.prefix {
            Some(prefix) => gid.0.starts_with(prefix),
            None => node == self.node,
        }
    }

    /// Whether a node is ours, where there is nothing but its name.
    pub(super) fn is_own_node(&self, node: &str) -> bool {
        node == self.node
    }

    /// Whether a sample came from one of our own publishers, as far as its gid tells.
    pub(super) fn is_own_publication(&self, publisher: &Gid) -> bool {
        self.prefix.as_ref().is_some_and(|prefix| publisher.0.starts_with(prefix))
    }
}

fn common_prefix(a: &Gid, b: &Gid) -> Option<[u8; PREFIX]> {
    let prefix: [u8; PREFIX] = a.0[..PREFIX].try_into().ok()?;
    (a != b && b.0.starts_with(&prefix) && prefix != [0; PREFIX]).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gid(prefix: u8, entity: u8) -> Gid {
        let mut bytes = [prefix; 24];
        bytes[PREFIX..].fill(entity);
        Gid(bytes)
    }

    #[test]
    fn a_common_beginning_is_the_participant() {
        assert_eq!(common_prefix(&gid(7, 1), &gid(7, 2)), Some([7; PREFIX]));
        assert_eq!(common_prefix(&gid(7, 1), &gid(8, 2)), None, "random gids");
        assert_eq!(common_prefix(&gid(0, 1), &gid(0, 2)), None, "no gids at all");
        assert_eq!(common_prefix(&gid(7, 1), &gid(7, 1)), None, "the same gid twice");
    }

    #[test]
    fn the_gid_decides_where_it_can_and_the_name_elsewhere() {
        let by_gid = Ownership { node: "/bridge".to_owned(), prefix: Some([7; PREFIX]) };
        assert!(by_gid.is_own(&gid(7, 3), "/unknown_yet"));
        assert!(!by_gid.is_own(&gid(8, 3), "/bridge"), "another node of our name");
        let by_name = Ownership { node: "/bridge".to_owned(), prefix: None };
        assert!(by_name.is_own(&gid(8, 3), "/bridge"));
        assert!(!by_name.is_own_publication(&gid(8, 3)));
    }
}
