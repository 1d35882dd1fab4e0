//! What a client offers, wants and accepts.
//!
//! The rules of a section are tried in their order: the first that matches decides. Those that say `never` win over every
//! other of their section, wherever they stand.

use std::time::Duration;

pub use super::pattern::{InvalidPattern, Pattern};
use super::{names, rename::Rename, rule_text};
use crate::{
    defaults,
    ids::RuleId,
    model::{Durability, Qos, Reliability},
};

/// What a rule decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// What others may have of the local graph: topics by their local names, services and actions that they may call.
    Offer,
    /// What is brought in from others, by its name on the exchange, such as `/r1/odom` or `/*/odom`.
    Want,
    /// Topics of the local graph that others may publish to, by their local names; others know `/cmd_vel` as `/r1/cmd_vel`.
    Accept,
}

impl Section {
    /// Every section, in the order of a rules file.
    pub const ALL: [Section; 3] = [Section::Offer, Section::Want, Section::Accept];

    /// As it is called in a rules file.
    pub fn as_str(self) -> &'static str {
        match self {
            Section::Offer => "offer",
            Section::Want => "want",
            Section::Accept => "accept",
        }
    }
}

impl std::str::FromStr for Section {
    type Err = UnknownSection;

    fn from_str(word: &str) -> Result<Self, UnknownSection> {
        let found = Section::ALL.into_iter().find(|section| section.as_str() == word);
        found.ok_or_else(|| UnknownSection(word.chars().take(40).collect()))
    }
}

/// A word that is no [`Section`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no section of the rules; use offer, want or accept")]
pub struct UnknownSection(String);

/// The sort of thing that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A topic.
    Topic,
    /// A service.
    Service,
    /// An action: its three services and two topics together.
    Action,
}

impl Subject {
    /// As it is called in a rules file.
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Topic => "topic",
            Subject::Service => "service",
            Subject::Action => "action",
        }
    }
}

/// One rule. What does not apply to its section or subject is at its default.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its number while the program runs.
    pub id: RuleId,
    /// What it is about.
    pub subject: Subject,
    /// Names.
    pub name: Pattern,
    /// Whether what it matches is out of the question, whatever other rules say.
    pub never: bool,
    /// Only these types; `None`: any.
    pub type_name: Option<Pattern>,
    /// (offer) Only what these nodes publish or serve; `None`: any.
    pub node: Option<Pattern>,
    /// (topics) Most messages per second, in Hz; the freshest are kept. `None`: all.
    pub max_rate: Option<f64>,
    /// (topics) Whether only the newest message waits where there is a queue.
    pub latest_only: bool,
    /// What it is called on the other side; `None`: as it is.
    pub rename: Option<Rename>,
    /// (topics) What replaces the QoS that was found.
    pub qos: QosOverride,
    /// (topics) Age over which a message is dropped, clock offset applied; `None`: no limit, but
    /// [`defaults::COMMAND_MAX_AGE`] for commands that make something move.
    pub max_age: Option<Duration>,
    /// (accept) Whether a message of zeros is published once when the commander or the line goes.
    pub stop: bool,
    /// (accept) How long the one client that commands has to be silent before another may; `None`: all may at any time.
    pub exclusive: Option<Duration>,
    /// (want) Whether frame ids in TF messages get the client's id in front; `None`: they do.
    pub prefix_frames: Option<bool>,
    /// (want, services) How long an answer may take; `None`: [`defaults::CALL_TIMEOUT`].
    pub timeout: Option<Duration>,
    /// The rule as it stands in a rules file, on one line.
    pub text: String,
}

/// What replaces the QoS that was found in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QosOverride {
    /// DDS RELIABILITY.
    pub reliability: Option<Reliability>,
    /// DDS DURABILITY.
    pub durability: Option<Durability>,
    /// Depth; of transient_local topics for each publisher.
    pub depth: Option<u32>,
}

impl QosOverride {
    /// `found` with what is to be replaced.
    pub fn apply(&self, found: Qos) -> Qos {
        Qos {
            reliability: self.reliability.unwrap_or(found.reliability),
            durability: self.durability.unwrap_or(found.durability),
            depth: self.depth.unwrap_or(found.depth),
            ..found
        }
    }
}

impl Rule {
    /// A rule that lets the things of that name pass as they are.
    pub fn new(subject: Subject, name: Pattern) -> Rule {
        let rule = Rule {
            id: RuleId(0),
            subject,
            text: String::new(),
            name,
            never: false,
            type_name: None,
            node: None,
            max_rate: None,
            latest_only: false,
            rename: None,
            qos: QosOverride::default(),
            max_age: None,
            stop: false,
            exclusive: None,
            prefix_frames: None,
            timeout: None,
        };
        rule.with_text()
    }

    /// The same with the text that says what it is now.
    pub fn with_text(self) -> Rule {
        Rule { text: rule_text::of(&self), ..self }
    }

    /// What `name` is called on the other side.
    pub fn renamed(&self, name: &str) -> String {
        self.rename.as_ref().map_or_else(|| name.to_owned(), |rename| rename.apply(name))
    }

    /// The patterns on topics that it stands for.
    pub fn topic_patterns(&self) -> Vec<String> {
        match self.subject {
            Subject::Topic => vec![self.name.to_string()],
            Subject::Service => Vec::new(),
            Subject::Action => names::action_patterns(&self.name, "{feedback,status}"),
        }
    }

    /// The patterns on services that it stands for.
    pub fn service_patterns(&self) -> Vec<String> {
        match self.subject {
            Subject::Topic => Vec::new(),
            Subject::Service => vec![self.name.to_string()],
            Subject::Action => names::action_patterns(&self.name, "{send_goal,cancel_goal,get_result}"),
        }
    }

    /// How many patterns it stands for at the exchange.
    fn weight(&self) -> usize {
        if self.subject == Subject::Action { 2 } else { 1 }
    }

    fn covers(&self, thing: &Thing<'_>) -> bool {
        let (name, type_name) = match (self.subject, thing.subject) {
            (mine, theirs) if mine == theirs => (thing.name, Some(thing.type_name)),
            (Subject::Action, _) => match names::action_of(thing.name) {
                Some(action) => (action, names::action_type_of(thing.type_name)),
                None => return false,
            },
            _ => return false,
        };
        self.name.matches(name)
            && self.type_name.as_ref().is_none_or(|types| type_name.is_none_or(|name| types.matches(name)))
            && self.node.as_ref().is_none_or(|nodes| thing.node.is_some_and(|node| nodes.matches(node)))
    }
}

/// Something that rules are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Thing<'a> {
    /// [`Subject::Topic`] or [`Subject::Service`]: the parts of an action are asked about one by one.
    pub subject: Subject,
    /// Its name as the section has it: on the exchange for wants, local otherwise.
    pub name: &'a str,
    /// Its full type name.
    pub type_name: &'a str,
    /// (offer) The node that it belongs to.
    pub node: Option<&'a str>,
}

impl<'a> Thing<'a> {
    /// A topic of no node in particular.
    pub fn topic(name: &'a str, type_name: &'a str) -> Self {
        Thing { subject: Subject::Topic, name, type_name, node: None }
    }

    /// A service of no node in particular.
    pub fn service(name: &'a str, type_name: &'a str) -> Self {
        Thing { subject: Subject::Service, name, type_name, node: None }
    }

    /// The same, of `node`.
    pub fn of_node(self, node: &'a str) -> Self {
        Thing { node: Some(node), ..self }
    }
}

/// Everything that a client offers, wants and accepts. Without a rule nothing is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// What others may have of the local graph.
    pub offer: Vec<Rule>,
    /// What is brought in from others.
    pub want: Vec<Rule>,
    /// What others may publish into the local graph.
    pub accept: Vec<Rule>,
    next: u32,
}

/// Why a rule is not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} rules are in force, the most that the exchange takes; remove some first, or use wildcards",
    defaults::INTERESTS_MAX
)]
pub struct TooManyRules;

impl Rules {
    /// The rules of one section, in the order in which they are tried.
    pub fn section(&self, section: Section) -> &[Rule] {
        match section {
            Section::Offer => &self.offer,
            Section::Want => &self.want,
            Section::Accept => &self.accept,
        }
    }

    /// Puts `rule` behind the others of its section, or in front of them, and gives it a number.
    ///
    /// # Errors
    /// [`TooManyRules`]
    pub fn add(&mut self, section: Section, mut rule: Rule, first: bool) -> Result<RuleId, TooManyRules> {
        let in_force = match section {
            Section::Offer => self.offer.len(),
            // The exchange holds these together, as interests.
            Section::Want | Section::Accept => self.want.iter().chain(&self.accept).map(Rule::weight).sum(),
        };
        let weight = if section == Section::Offer { 1 } else { rule.weight() };
        if in_force + weight > defaults::INTERESTS_MAX {
            return Err(TooManyRules);
        }
        let id = RuleId(self.next);
        self.next += 1;
        rule.id = id;
        let rules = self.section_mut(section);
        rules.insert(if first { 0 } else { rules.len() }, rule);
        Ok(id)
    }

    /// Takes a rule away; `None` if there is no such one.
    pub fn remove(&mut self, id: RuleId) -> Option<(Section, Rule)> {
        Section::ALL.into_iter().find_map(|section| {
            let rules = self.section_mut(section);
            let index = rules.iter().position(|rule| rule.id == id)?;
            Some((section, rules.remove(index)))
        })
    }

    /// The rule of `section` that lets `thing` pass, if one does.
    pub fn find(&self, section: Section, thing: &Thing<'_>) -> Option<&Rule> {
        let rules = self.section(section);
        if rules.iter().any(|rule| rule.never && rule.covers(thing)) {
            return None;
        }
        rules.iter().find(|rule| !rule.never && rule.covers(thing))
    }

    fn section_mut(&mut self, section: Section) -> &mut Vec<Rule> {
        match section {
            Section::Offer => &mut self.offer,
            Section::Want => &mut self.want,
            Section::Accept => &mut self.accept,
        }
    }
}

#[cfg(test)]
pub(in crate::routes) mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    pub(in crate::routes) fn rule(subject: Subject, name: &str) -> Rule {
        Rule::new(subject, pattern(name))
    }

    fn topic(name: &str, type_name: Option<&str>, max_rate: Option<f64>) -> Rule {
        Rule { type_name: type_name.map(pattern), max_rate, ..rule(Subject::Topic, name) }
    }

    fn of(section: Section, list: Vec<Rule>) -> Rules {
        let mut rules = Rules::default();
        for rule in list {
            rules.add(section, rule, false).unwrap();
        }
        rules
    }

    #[test]
    fn the_first_rule_that_matches_name_and_type_wins() {
        let rules = of(
            Section::Offer,
            vec![
                topic("/camera/**", Some("sensor_msgs/msg/CompressedImage"), Some(5.0)),
                topic("/camera/**", Some("sensor_msgs/msg/CameraInfo"), Some(1.0)),
                topic("/**", None, None),
            ],
        );
        let rate =
            |name, type_name| rules.find(Section::Offer, &Thing::topic(name, type_name)).map(|rule| rule.max_rate);
        assert_eq!(rate("/camera/image", "sensor_msgs/msg/CompressedImage"), Some(Some(5.0)));
        assert_eq!(rate("/camera/info", "sensor_msgs/msg/CameraInfo"), Some(Some(1.0)));
        assert_eq!(rate("/camera/image", "sensor_msgs/msg/Image"), Some(None));
        assert_eq!(rate("/rosout", "rcl_interfaces/msg/Log"), None);
    }

    #[test]
    fn never_wins_over_every_other_rule_of_its_section() {
        let never = |name| Rule { never: true, ..rule(Subject::Topic, name) };
        let mut rules =
            of(Section::Offer, vec![topic("/map", None, None), topic("/**", None, None), never("/{map,secret/**}")]);
        rules.add(Section::Want, topic("/**", None, None), false).unwrap();
        rules.add(Section::Accept, never("/odom"), false).unwrap();
        let passes = |section, name| rules.find(section, &Thing::topic(name, "x/msg/X")).is_some();
        assert!(!passes(Section::Offer, "/map") && !passes(Section::Offer, "/secret/key"));
        assert!(passes(Section::Offer, "/odom") && passes(Section::Want, "/r1/map"));
        assert!(!passes(Section::Accept, "/odom") && !passes(Section::Accept, "/cmd_vel"));
    }

    #[test]
    fn a_rule_for_a_node_holds_for_what_that_node_publishes() {
        let rules = of(Section::Offer, vec![Rule { node: Some(pattern("/nav/*")), ..rule(Subject::Topic, "/**") }]);
        let passes = |thing: Thing<'_>| rules.find(Section::Offer, &thing).is_some();
        let odom = Thing::topic("/odom", "x/msg/X");
        assert!(passes(odom.of_node("/nav/amcl")));
        assert!(!passes(odom.of_node("/camera")) && !passes(odom), "a node that is not known is not that node");
    }

    #[test]
    fn a_rule_for_an_action_covers_its_services_and_topics_and_nothing_else() {
        let of_type = Some(pattern("nav2_msgs/action/Spin"));
        let rules = of(Section::Want, vec![Rule { type_name: of_type, ..rule(Subject::Action, "/*/spin") }]);
        let passes = |thing: Thing<'_>| rules.find(Section::Want, &thing).is_some();
        for (part, type_name) in [
            ("send_goal", "nav2_msgs/action/Spin_SendGoal"),
            ("get_result", "nav2_msgs/action/Spin_GetResult"),
            ("cancel_goal", "action_msgs/srv/CancelGoal"),
        ] {
            assert!(passes(Thing::service(&format!("/r1/spin/_action/{part}"), type_name)), "{part}");
        }
        assert!(passes(Thing::topic("/r1/spin/_action/feedback", "nav2_msgs/action/Spin_FeedbackMessage")));
        assert!(passes(Thing::topic("/r1/spin/_action/status", "action_msgs/msg/GoalStatusArray")));
        assert!(!passes(Thing::service("/r1/spin/_action/send_goal", "nav2_msgs/action/Wait_SendGoal")));
        assert!(!passes(Thing::service("/r1/spin", "std_srvs/srv/SetBool")));
        assert!(!passes(Thing::topic("/r1/spin", "x/msg/X")));
        let everything = of(Section::Want, vec![rule(Subject::Topic, "/**"), rule(Subject::Service, "/**")]);
        let part = Thing::service("/r1/spin/_action/send_goal", "nav2_msgs/action/Spin_SendGoal");
        assert!(everything.find(Section::Want, &part).is_none(), "hidden names are not meant by wildcards");
    }

    #[test]
    fn an_action_is_asked_of_the_exchange_by_its_parts() {
        let action = rule(Subject::Action, "/*/spin");
        assert_eq!(action.topic_patterns(), ["/*/spin/_action/{feedback,status}"]);
        assert_eq!(action.service_patterns(), ["/*/spin/_action/{send_goal,cancel_goal,get_result}"]);
        for text in action.topic_patterns().iter().chain(&action.service_patterns()) {
            Pattern::new(text).unwrap();
        }
    }

    #[test]
    fn rules_come_and_go_by_number_and_stay_bounded() {
        let mut rules = of(Section::Offer, vec![topic("/a", None, None), topic("/b", None, None)]);
        let first = rules.add(Section::Offer, topic("/c", None, None), true).unwrap();
        assert_eq!(rules.section(Section::Offer)[0].id, first);
        assert_eq!(
            rules.remove(first).map(|(section, rule)| (section, rule.name)),
            Some((Section::Offer, pattern("/c")))
        );
        assert_eq!(rules.remove(first), None);
        let again = rules.add(Section::Want, topic("/**", None, None), false).unwrap();
        assert_ne!(again, first, "numbers are not used again");
        while rules.add(Section::Accept, topic("/x", None, None), false).is_ok() {}
        assert_eq!(rules.want.len() + rules.accept.len(), defaults::INTERESTS_MAX);
    }

    #[test]
    fn rules_for_actions_count_twice_since_the_exchange_is_asked_for_topics_and_services() {
        let mut rules = Rules::default();
        while rules.add(Section::Want, rule(Subject::Action, "/*/spin"), false).is_ok() {}
        let patterns = |of: fn(&Rule) -> Vec<String>| rules.want.iter().flat_map(of).count();
        assert_eq!(patterns(Rule::topic_patterns) + patterns(Rule::service_patterns), defaults::INTERESTS_MAX);
    }

    #[test]
    fn an_override_replaces_only_what_it_names() {
        let depth = QosOverride { depth: Some(1), ..QosOverride::default() };
        assert_eq!(depth.apply(Qos::default()), Qos { depth: 1, ..Qos::default() });
    }
}
