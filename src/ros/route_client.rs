//! Asks a client's node about its routes and rules, for the command line.

use std::{collections::BTreeSet, time::Duration};

use r2r::{
    Client, Node,
    switchboard::srv::{AddRule, ListRoutes, ReleaseTopic, RemoveRule},
};
use tokio::time::{Instant, sleep};

use super::{
    admin_client::AskError,
    convert, desk,
    error::RosError,
    typed_node::{self, NodeOptions, Spinner, failed},
};
use crate::routes::{RouteReply, RouteRequest};

/// Talks to the node of a robot or an operator through ROS.
pub struct RouteClient {
    // First, so that the node's thread ends before the clients.
    _spinner: Spinner,
    server: String,
    list: Client<ListRoutes::Service>,
    add: Client<AddRule::Service>,
    remove: Client<RemoveRule::Service>,
    release: Client<ReleaseTopic::Service>,
}

impl RouteClient {
    /// Joins the ROS graph with a hidden node, on the tokio runtime that this is called in. `client_node` is the name of a
    /// client's node, such as `/switchboard_robot`; without it the only one in the graph is found within `patience`.
    ///
    /// # Errors
    /// If ROS does not start or the name is none; [`RosError::Timeout`] if there is no client's node, and
    /// [`RosError::Several`] if there are several.
    pub async fn connect(client_node: Option<&str>, patience: Duration) -> Result<RouteClient, RosError> {
        let options =
            NodeOptions { name: format!("_switchboard_cli_{}", std::process::id()), namespace: "/".to_owned() };
        let (mut node, _) = typed_node::create(&options)?;
        let server = match client_node {
            Some(name) => format!("/{}", name.trim_matches('/')),
            None => find(&node, Instant::now() + patience).await?,
        };
        Ok(RouteClient {
            list: desk::client(&mut node, &server)?,
            add: desk::client(&mut node, &server)?,
            remove: desk::client(&mut node, &server)?,
            release: desk::client(&mut node, &server)?,
            server,
            _spinner: Spinner::start(node, SPIN, Vec::new())?,
        })
    }

    /// The full name of the node that is asked.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Asks, waiting for the node to appear and to answer for at most `patience`.
    ///
    /// # Errors
    /// [`AskError::Ros`] if there is no such node or no answer, [`AskError::Refused`] if it says no.
    pub async fn ask(&self, request: RouteRequest, patience: Duration) -> Result<RouteReply, AskError> {
        let until = Instant::now() + patience;
        let nobody = || RosError::Timeout(format!("no client of an exchange answers as {}", self.server));
        match request {
            RouteRequest::List => {
                desk::call(&self.list, &self.server, ListRoutes::Request::default(), until, nobody).await
            }
            RouteRequest::AddRule { section, rule, first } => {
                let section = section.as_str().to_owned();
                let request = AddRule::Request { section, rule: convert::text(&rule), first };
                desk::call(&self.add, &self.server, request, until, nobody).await
            }
            RouteRequest::RemoveRule(id) => {
                desk::call(&self.remove, &self.server, RemoveRule::Request { id: id.0 }, until, nobody).await
            }
            RouteRequest::Release(topic) => {
                let request = ReleaseTopic::Request { topic: convert::text(&topic) };
                desk::call(&self.release, &self.server, request, until, nobody).await
            }
        }
    }
}

/// The only client's node in the graph.
async fn find(node: &Node, until: Instant) -> Result<String, RosError> {
    let mut settled: Option<Instant> = None;
    let mut before = BTreeSet::new();
    loop {
        let found = clients(node)?;
        let now = Instant::now();
        if found != before {
            settled = Some(now + SETTLE);
            before = found;
        }
        if settled.is_some_and(|settled| now >= settled) || now >= until {
            let mut names: Vec<String> = before.into_iter().collect();
            return match (names.pop(), names.is_empty()) {
                (Some(only), true) => Ok(only),
                (Some(last), false) => {
                    names.push(last);
                    Err(RosError::Several(names))
                }
                (None, _) => Err(RosError::Timeout("no client of an exchange is in this ROS graph".to_owned())),
            };
        }
        sleep(LOOK).await;
    }
}

/// The nodes that publish the state of their line. What others publish under such a name, such as a bridge, is none.
fn clients(node: &Node) -> Result<BTreeSet<String>, RosError> {
    let looking = |error| failed("look for the nodes of clients", error);
    let mut found = BTreeSet::new();
    for (topic, types) in node.get_topic_names_and_types().map_err(looking)? {
        let Some(name) = topic.strip_suffix("/connection") else { continue };
        if !types.iter().any(|type_name| type_name == "switchboard/msg/Connection") {
            continue;
        }
        let publishers = node.get_publishers_info_by_topic(&topic, false).map_err(looking)?;
        let of_node = |namespace: &str, node: &str| format!("{}/{node}", namespace.trim_end_matches('/')) == name;
        if publishers.iter().any(|publisher| of_node(&publisher.node_namespace, &publisher.node_name)) {
            found.insert(name.to_owned());
        }
    }
    Ok(found)
}

/// How often the graph is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long the graph has to show the same nodes before there are no more: discovery finds one after the other.
const SETTLE: Duration = Duration::from_millis(500);
/// How long the node's thread sleeps at most: r2r looks for services only between two sleeps.
const SPIN: Duration = Duration::from_millis(10);
