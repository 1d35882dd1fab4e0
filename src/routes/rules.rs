//! What a client offers, wants and accepts.
//!
//! Rules are pairs of globs on a topic's name and type ([`Pattern`]), tried in the order in which they are written: the
//! first that matches both decides. Topics that must never leave or never arrive are listed apart and win over every
//! rule, wherever they stand.

pub use super::pattern::{InvalidPattern, Pattern};

/// Topics of the local graph that the exchange may have.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferRule {
    /// Local topic names, such as `/odom`.
    pub topic: Pattern,
    /// Only topics of these types; `None`: of any type.
    pub type_name: Option<Pattern>,
    /// Most messages per second that are sent, in Hz; the freshest are kept. `None`: all.
    pub max_rate: Option<f64>,
}

/// Topics of others that are brought into the local graph.
#[derive(Debug, Clone, PartialEq)]
pub struct WantRule {
    /// Names on the exchange, such as `/r1/odom` or `/*/odom`.
    pub topic: Pattern,
    /// Only topics of these types; `None`: of any type.
    pub type_name: Option<Pattern>,
    /// Most messages per second that are received, in Hz; the freshest are kept. `None`: all.
    pub max_rate: Option<f64>,
}

/// Topics of the local graph that others may publish to.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptRule {
    /// Local topic names, such as `/cmd_vel`, which others know as `/r1/cmd_vel`.
    pub topic: Pattern,
    /// Only topics of these types; `None`: of any type.
    pub type_name: Option<Pattern>,
}

/// Everything that a client offers, wants and accepts. Without a rule nothing is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// What others may have of the local graph; the first match wins.
    pub offer: Vec<OfferRule>,
    /// What they may never have, whatever `offer` says.
    pub never_offer: Vec<Pattern>,
    /// What is brought in from others; the first match wins.
    pub want: Vec<WantRule>,
    /// What is never brought in, whatever `want` says.
    pub never_want: Vec<Pattern>,
    /// What others may publish into the local graph; the first match wins.
    pub accept: Vec<AcceptRule>,
    /// What they may never publish to, whatever `accept` says.
    pub never_accept: Vec<Pattern>,
}

impl Rules {
    /// The rule under which the local topic `topic` is offered, if it is.
    pub fn offers(&self, topic: &str, type_name: &str) -> Option<&OfferRule> {
        if self.never_offer.iter().any(|never| never.matches(topic)) {
            return None;
        }
        self.offer.iter().find(|rule| covers(&rule.topic, rule.type_name.as_ref(), topic, type_name))
    }

    /// The rule under which the topic that others know as `exchange_name` is wanted, if it is.
    pub fn wants(&self, exchange_name: &str, type_name: &str) -> Option<&WantRule> {
        if self.never_want.iter().any(|never| never.matches(exchange_name)) {
            return None;
        }
        self.want.iter().find(|rule| covers(&rule.topic, rule.type_name.as_ref(), exchange_name, type_name))
    }

    /// The rule under which others may publish to the local topic `topic`, if they may.
    pub fn accepts(&self, topic: &str, type_name: &str) -> Option<&AcceptRule> {
        if self.never_accept.iter().any(|never| never.matches(topic)) {
            return None;
        }
        self.accept.iter().find(|rule| covers(&rule.topic, rule.type_name.as_ref(), topic, type_name))
    }
}

fn covers(topics: &Pattern, types: Option<&Pattern>, topic: &str, type_name: &str) -> bool {
    topics.matches(topic) && types.is_none_or(|types| types.matches(type_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    fn offer(topic: &str, type_name: Option<&str>, max_rate: Option<f64>) -> OfferRule {
        OfferRule { topic: pattern(topic), type_name: type_name.map(pattern), max_rate }
    }

    #[test]
    fn the_first_rule_that_matches_name_and_type_wins() {
        let rules = Rules {
            offer: vec![
                offer("/camera/**", Some("sensor_msgs/msg/CompressedImage"), Some(5.0)),
                offer("/camera/**", Some("sensor_msgs/msg/CameraInfo"), Some(1.0)),
                offer("/**", None, None),
            ],
            ..Rules::default()
        };
        let rate = |topic, type_name| rules.offers(topic, type_name).map(|rule| rule.max_rate);
        assert_eq!(rate("/camera/image", "sensor_msgs/msg/CompressedImage"), Some(Some(5.0)));
        assert_eq!(rate("/camera/info", "sensor_msgs/msg/CameraInfo"), Some(Some(1.0)));
        assert_eq!(rate("/camera/image", "sensor_msgs/msg/Image"), Some(None));
        assert_eq!(rate("/rosout", "rcl_interfaces/msg/Log"), None);
    }

    #[test]
    fn never_wins_over_every_other_rule() {
        let rules = Rules {
            offer: vec![offer("/map", None, None), offer("/**", None, None)],
            never_offer: vec![pattern("/{map,secret/**}")],
            want: vec![WantRule { topic: pattern("/**"), type_name: None, max_rate: None }],
            never_want: vec![pattern("/*/map")],
            accept: vec![AcceptRule { topic: pattern("/**"), type_name: None }],
            never_accept: vec![pattern("/odom")],
        };
        assert!(rules.offers("/map", "nav_msgs/msg/OccupancyGrid").is_none());
        assert!(rules.offers("/secret/key", "std_msgs/msg/String").is_none());
        assert!(rules.offers("/odom", "nav_msgs/msg/Odometry").is_some());
        assert!(rules.wants("/r1/map", "nav_msgs/msg/OccupancyGrid").is_none());
        assert!(rules.wants("/r1/odom", "nav_msgs/msg/Odometry").is_some());
        assert!(rules.accepts("/odom", "nav_msgs/msg/Odometry").is_none());
        assert!(rules.accepts("/cmd_vel", "geometry_msgs/msg/Twist").is_some());
    }

    #[test]
    fn acceptance_holds_the_type_too() {
        let rules = Rules {
            accept: vec![AcceptRule {
                topic: pattern("/cmd_vel"),
                type_name: Some(pattern("geometry_msgs/msg/Twist")),
            }],
            ..Rules::default()
        };
        assert!(rules.accepts("/cmd_vel", "geometry_msgs/msg/Twist").is_some());
        assert!(rules.accepts("/cmd_vel", "geometry_msgs/msg/TwistStamped").is_none());
        assert!(rules.accepts("/r1/cmd_vel", "geometry_msgs/msg/Twist").is_none());
    }

    #[test]
    fn wants_are_on_names_of_the_exchange() {
        let rules = Rules {
            want: vec![WantRule { topic: pattern("/*/odom"), type_name: None, max_rate: Some(2.0) }],
            ..Rules::default()
        };
        assert_eq!(rules.wants("/r1/odom", "nav_msgs/msg/Odometry").unwrap().max_rate, Some(2.0));
        assert!(rules.wants("/odom", "nav_msgs/msg/Odometry").is_none());
    }

    #[test]
    fn without_rules_nothing_passes() {
        let rules = Rules::default();
        assert!(rules.offers("/odom", "x/msg/X").is_none());
        assert!(rules.wants("/r1/odom", "x/msg/X").is_none());
        assert!(rules.accepts("/cmd_vel", "x/msg/X").is_none());
    }
}
