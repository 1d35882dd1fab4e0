//! The services of a client's node about its routes and rules: their messages in our words, at both ends.

use r2r::switchboard::{
    msg,
    srv::{AddRule, ListRoutes, ReleaseTopic, RemoveRule},
};

use super::{
    convert,
    desk::{DeskService, Query},
    error::RosError,
};
use crate::{
    admin::AdminError,
    ids::{ClientId, RuleId},
    routes::{Direction, RouteKind, RouteList, RouteReply, RouteRequest, RouteState, RouteStatus, RuleStatus, Section},
    time::Wall,
};

/// A request about the routes of a client, and where its answer goes.
pub type RouteQuery = Query<RouteRequest, RouteReply>;

impl DeskService for ListRoutes::Service {
    type Asked = RouteRequest;
    type Answered = RouteReply;
    const NAME: &'static str = "routes";

    fn request(_message: &ListRoutes::Request, _now: Wall) -> Result<RouteRequest, AdminError> {
        Ok(RouteRequest::List)
    }

    fn response(outcome: Result<RouteReply, AdminError>) -> ListRoutes::Response {
        match outcome {
            Ok(RouteReply::Listed(list)) => ListRoutes::Response {
                routes: list.routes.iter().map(route_message).collect(),
                rules: list.rules.iter().map(rule_message).collect(),
            },
            // There is no room for words. It only comes about while the program is stopping or overrun.
            _ => ListRoutes::Response::default(),
        }
    }

    fn reply(response: ListRoutes::Response) -> Result<Result<RouteReply, AdminError>, RosError> {
        Ok(Ok(RouteReply::Listed(RouteList {
            routes: response.routes.iter().map(route_status).collect::<Result<_, _>>()?,
            rules: response.rules.iter().map(rule_status).collect::<Result<_, _>>()?,
        })))
    }
}

impl DeskService for AddRule::Service {
    type Asked = RouteRequest;
    type Answered = RouteReply;
    const NAME: &'static str = "add_rule";

    fn request(message: &AddRule::Request, _now: Wall) -> Result<RouteRequest, AdminError> {
        let section = message.section.parse().map_err(|error| AdminError(format!("section: {error}")))?;
        Ok(RouteRequest::AddRule { section, rule: message.rule.clone(), first: message.first })
    }

    fn response(outcome: Result<RouteReply, AdminError>) -> AddRule::Response {
        match outcome {
            Ok(RouteReply::Added(id)) => AddRule::Response { success: true, message: String::new(), id: id.0 },
            other => AddRule::Response { message: why_not(other), ..AddRule::Response::default() },
        }
    }

    fn reply(response: AddRule::Response) -> Result<Result<RouteReply, AdminError>, RosError> {
        Ok(if response.success {
            Ok(RouteReply::Added(RuleId(response.id)))
        } else {
            Err(AdminError(response.message))
        })
    }
}

impl DeskService for RemoveRule::Service {
    type Asked = RouteRequest;
    type Answered = RouteReply;
    const NAME: &'static str = "remove_rule";

    fn request(message: &RemoveRule::Request, _now: Wall) -> Result<RouteRequest, AdminError> {
        Ok(RouteRequest::RemoveRule(RuleId(message.id)))
    }

    fn response(outcome: Result<RouteReply, AdminError>) -> RemoveRule::Response {
        match outcome {
            Ok(RouteReply::Removed(rule)) => {
                RemoveRule::Response { success: true, message: String::new(), rule: convert::text(&rule) }
            }
            other => RemoveRule::Response { message: why_not(other), ..RemoveRule::Response::default() },
        }
    }

    fn reply(response: RemoveRule::Response) -> Result<Result<RouteReply, AdminError>, RosError> {
        Ok(if response.success { Ok(RouteReply::Removed(response.rule)) } else { Err(AdminError(response.message)) })
    }
}

impl DeskService for ReleaseTopic::Service {
    type Asked = RouteRequest;
    type Answered = RouteReply;
    const NAME: &'static str = "release_topic";

    fn request(message: &ReleaseTopic::Request, _now: Wall) -> Result<RouteRequest, AdminError> {
        Ok(RouteRequest::Release(message.topic.clone()))
    }

    fn response(outcome: Result<RouteReply, AdminError>) -> ReleaseTopic::Response {
        match outcome {
            Ok(RouteReply::Released(holder)) => {
                ReleaseTopic::Response { success: true, message: String::new(), holder: holder.as_str().to_owned() }
            }
            other => ReleaseTopic::Response { message: why_not(other), ..ReleaseTopic::Response::default() },
        }
    }

    fn reply(response: ReleaseTopic::Response) -> Result<Result<RouteReply, AdminError>, RosError> {
        if !response.success {
            return Ok(Err(AdminError(response.message)));
        }
        let holder = ClientId::new(&response.holder).map_err(|error| RosError::Message(error.to_string()))?;
        Ok(Ok(RouteReply::Released(holder)))
    }
}

/// The words of a refusal. A reply to another request would be a fault of the program; it is said, not hidden.
fn why_not(outcome: Result<RouteReply, AdminError>) -> String {
    match outcome {
        Ok(reply) => convert::text(&format!("the client answered something else: {reply:?}")),
        Err(AdminError(words)) => convert::text(&words),
    }
}

const KINDS: [(RouteKind, u8); 2] =
    [(RouteKind::Topic, msg::Route::KIND_TOPIC as u8), (RouteKind::Service, msg::Route::KIND_SERVICE as u8)];
const DIRECTIONS: [(Direction, u8); 2] =
    [(Direction::Out, msg::Route::DIRECTION_OUT as u8), (Direction::In, msg::Route::DIRECTION_IN as u8)];
const STATES: [(RouteState, u8); 4] = [
    (RouteState::Closed, msg::Route::STATE_CLOSED as u8),
    (RouteState::Idle, msg::Route::STATE_IDLE as u8),
    (RouteState::Open, msg::Route::STATE_OPEN as u8),
    (RouteState::Held, msg::Route::STATE_HELD as u8),
];

fn number_of<T: Copy + PartialEq>(table: &[(T, u8)], value: T) -> u8 {
    table.iter().find(|(candidate, _)| *candidate == value).map_or(u8::MAX, |(_, number)| *number)
}

fn value_of<T: Copy>(table: &[(T, u8)], what: &str, number: u8) -> Result<T, RosError> {
    table.iter().find(|(_, candidate)| *candidate == number).map(|(value, _)| *value).ok_or_else(|| {
        RosError::Message(format!("the {what} of a route is {number}, which this version does not know"))
    })
}

fn route_message(route: &RouteStatus) -> msg::Route {
    msg::Route {
        kind: number_of(&KINDS, route.kind),
        direction: number_of(&DIRECTIONS, route.direction),
        state: number_of(&STATES, route.state),
        reason: convert::text(&route.reason),
        local_name: convert::text(&route.local_name),
        exchange_name: convert::text(&route.exchange_name),
        type_name: convert::text(&route.type_name),
        type_hash: convert::text(&route.type_hash),
        peer: route.peer.as_ref().map(|peer| peer.as_str().to_owned()).unwrap_or_default(),
        graph_qos: convert::text(&route.graph_qos),
        own_qos: convert::text(&route.own_qos),
        rule: convert::text(&route.rule),
        rate: route.rate,
        messages: route.messages,
        dropped: route.dropped,
    }
}

fn route_status(message: &msg::Route) -> Result<RouteStatus, RosError> {
    let peer = match message.peer.as_str() {
        "" => None,
        id => Some(ClientId::new(id).map_err(|error| RosError::Message(error.to_string()))?),
    };
    Ok(RouteStatus {
        kind: value_of(&KINDS, "kind", message.kind)?,
        direction: value_of(&DIRECTIONS, "direction", message.direction)?,
        state: value_of(&STATES, "state", message.state)?,
        reason: message.reason.clone(),
        local_name: message.local_name.clone(),
        exchange_name: message.exchange_name.clone(),
        type_name: message.type_name.clone(),
        type_hash: message.type_hash.clone(),
        peer,
        graph_qos: message.graph_qos.clone(),
        own_qos: message.own_qos.clone(),
        rule: message.rule.clone(),
        rate: message.rate,
        messages: message.messages,
        dropped: message.dropped,
    })
}

fn rule_message(rule: &RuleStatus) -> msg::Rule {
    msg::Rule { id: rule.id.0, section: rule.section.as_str().to_owned(), rule: convert::text(&rule.rule) }
}

fn rule_status(message: &msg::Rule) -> Result<RuleStatus, RosError> {
    let section: Section = message.section.parse().map_err(|error| RosError::Message(format!("section: {error}")))?;
    Ok(RuleStatus { id: RuleId(message.id), section, rule: message.rule.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_route(state: RouteState) -> RouteStatus {
        RouteStatus {
            kind: RouteKind::Service,
            direction: Direction::In,
            state,
            reason: "why".to_owned(),
            local_name: "/r1/set_mode".to_owned(),
            exchange_name: "/r1/mode".to_owned(),
            type_name: "std_srvs/srv/SetBool".to_owned(),
            type_hash: "RIHS01_x".to_owned(),
            peer: ClientId::new("r1").ok(),
            graph_qos: "reliable".to_owned(),
            own_qos: "best_effort".to_owned(),
            rule: "{service: /**}".to_owned(),
            rate: 2.5,
            messages: 7,
            dropped: 1,
        }
    }

    #[test]
    fn replies_are_the_same_after_there_and_back() {
        let list = RouteReply::Listed(RouteList {
            routes: STATES.map(|(state, _)| a_route(state)).to_vec(),
            rules: Section::ALL.map(|section| RuleStatus { id: RuleId(3), section, rule: "{}".to_owned() }).to_vec(),
        });
        assert_eq!(ListRoutes::Service::reply(ListRoutes::Service::response(Ok(list.clone()))).unwrap(), Ok(list));
        let added = RouteReply::Added(RuleId(9));
        assert_eq!(AddRule::Service::reply(AddRule::Service::response(Ok(added.clone()))).unwrap(), Ok(added));
        let removed = RouteReply::Removed("{topic: /odom}".to_owned());
        let response = RemoveRule::Service::response(Ok(removed.clone()));
        assert_eq!(RemoveRule::Service::reply(response).unwrap(), Ok(removed));
        let released = RouteReply::Released(ClientId::new("alice").unwrap());
        let response = ReleaseTopic::Service::response(Ok(released.clone()));
        assert_eq!(ReleaseTopic::Service::reply(response).unwrap(), Ok(released));
        let refused = AdminError("there is no rule 7".to_owned());
        let response = RemoveRule::Service::response(Err(refused.clone()));
        assert_eq!(RemoveRule::Service::reply(response).unwrap(), Err(refused));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_words() {
        let request = AddRule::Request { section: "ofer".to_owned(), ..AddRule::Request::default() };
        let words = AddRule::Service::request(&request, Wall(0)).unwrap_err().0;
        assert_eq!(words, "section: \"ofer\" is no section of the rules; use offer, want or accept");
        let message = msg::Route { state: 9, ..route_message(&a_route(RouteState::Open)) };
        assert!(route_status(&message).unwrap_err().to_string().contains("the state of a route is 9"));
    }
}
