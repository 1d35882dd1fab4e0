//! Which commands of others are let through, and when a robot has to be told to stop.

use std::{collections::BTreeMap, time::Duration};

use super::Rule;
use crate::{
    defaults,
    ids::{ClientId, FeedId},
    time::Mono,
};

/// The commanders of the local topics.
///
/// Contract: every command that comes is shown to [`Gate::judge`], the end of every command feed is told to
/// [`Gate::close`]. A topic has one *last word*: the command that was let through last. When the feed that had it ends,
/// what it said is taken back; when another feed ends, the robot follows somebody who is still there.
#[derive(Debug, Default)]
pub(super) struct Gate {
    topics: BTreeMap<String, Commanded>,
    /// Whether who is kept out has changed.
    changed: bool,
}

/// A local topic that somebody commands.
#[derive(Debug, Default)]
struct Commanded {
    /// Whose command was let through last, until that feed ends.
    last_word: Option<FeedId>,
    holder: Option<Holder>,
    /// Whose commands the holder keeps out.
    refused: BTreeMap<ClientId, FeedId>,
}

/// Who commands an exclusive topic.
#[derive(Debug)]
struct Holder {
    client: ClientId,
    feed: FeedId,
    heard: Mono,
}

/// A command that came.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    /// The topic in the local graph.
    pub(super) topic: &'a str,
    pub(super) type_name: &'a str,
    pub(super) from: &'a ClientId,
    pub(super) feed: FeedId,
    /// The accept rule that lets it in.
    pub(super) rule: &'a Rule,
    /// `None` while the clock of the other end is not known: then it counts from its arrival, which is now.
    pub(super) age: Option<Duration>,
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is published.
    Passes,
    /// It is too old.
    Late,
    /// Somebody else holds the topic.
    Refused,
}

impl Gate {
    /// Decides on a command, and takes note of it if it passes.
    pub(super) fn judge(&mut self, attempt: &Attempt<'_>, now: Mono) -> Verdict {
        if is_late(max_age_of_commands(attempt.rule, attempt.type_name), attempt.age) {
            return Verdict::Late;
        }
        let topic = match self.topics.get_mut(attempt.topic) {
            Some(topic) => topic,
            None => self.topics.entry(attempt.topic.to_owned()).or_default(),
        };
        if let Some(silence) = attempt.rule.exclusive {
            match &mut topic.holder {
                Some(holder) if holder.client == *attempt.from => {
                    (holder.feed, holder.heard) = (attempt.feed, now);
                }
                Some(holder) if now.since(holder.heard) < silence => {
                    self.changed |= topic.refused.insert(attempt.from.clone(), attempt.feed).is_none();
                    return Verdict::Refused;
                }
                holder => {
                    *holder = Some(Holder { client: attempt.from.clone(), feed: attempt.feed, heard: now });
                    self.changed |= !std::mem::take(&mut topic.refused).is_empty();
                }
            }
        }
        topic.last_word = Some(attempt.feed);
        Verdict::Passes
    }

    /// A command feed into `topic` has ended. Returns whether it had the last word.
    pub(super) fn close(&mut self, topic: &str, feed: FeedId) -> bool {
        let Some(state) = self.topics.get_mut(topic) else { return false };
        let had_last_word = state.last_word.take_if(|last| *last == feed).is_some();
        let refused = state.refused.len();
        state.refused.retain(|_, refused| *refused != feed);
        if state.holder.take_if(|holder| holder.feed == feed).is_some() {
            state.refused.clear();
        }
        self.changed |= state.refused.len() != refused;
        if state.last_word.is_none() && state.holder.is_none() {
            self.topics.remove(topic);
        }
        had_last_word
    }

    /// Lets go of a topic that one client commands alone. Returns who held it.
    ///
    /// # Errors
    /// In words, if nobody does.
    pub(super) fn release(&mut self, topic: &str) -> Result<ClientId, String> {
        let held = self.topics.get_mut(topic).and_then(|state| Some((state.holder.take()?, &mut state.refused)));
        if let Some((holder, refused)) = held {
            self.changed |= !std::mem::take(refused).is_empty();
            return Ok(holder.client);
        }
        let held: Vec<&str> =
            self.topics.iter().filter(|(_, state)| state.holder.is_some()).map(|(name, _)| name.as_str()).collect();
        let which = if held.is_empty() { "no topic".to_owned() } else { held.join(", ") };
        Err(format!("nobody holds {topic:?}; held now: {which} (only topics of rules with \"exclusive\" are held)"))
    }

    /// Who is kept out of what, in words.
    pub(super) fn problems(&self) -> Vec<String> {
        let words = self.topics.iter().filter_map(|(name, state)| {
            let holder = &state.holder.as_ref()?.client;
            let mut refused: Vec<&str> = state.refused.keys().map(ClientId::as_str).take(REFUSED_NAMED).collect();
            let more = format!("{} more", state.refused.len().saturating_sub(REFUSED_NAMED));
            if state.refused.len() > REFUSED_NAMED {
                refused.push(&more);
            }
            let refused = refused.join(", ");
            (!refused.is_empty()).then(|| {
                format!(
                    "{name}: commands of {refused} are refused, {holder} commands it alone; \"switchboard release {name}\" \
                     lets go of it"
                )
            })
        });
        words.collect()
    }

    /// Whether who is kept out has changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

/// Clients that one problem names: more do not fit a line.
const REFUSED_NAMED: usize = 4;

/// Whether a message of that age is over the limit. One whose age is not known is new.
pub(super) fn is_late(max_age: Option<Duration>, age: Option<Duration>) -> bool {
    max_age.zip(age).is_some_and(|(max_age, age)| age > max_age)
}

/// The age over which commands are dropped. Without a word in the rule, only what makes something move has one.
fn max_age_of_commands(rule: &Rule, type_name: &str) -> Option<Duration> {
    let moves = rule.stop || matches!(type_name, "geometry_msgs/msg/Twist" | "geometry_msgs/msg/TwistStamped");
    rule.max_age.or(moves.then_some(defaults::COMMAND_MAX_AGE))
}

#[cfg(test)]
mod tests {
    use super::{super::rules::tests::rule, *};
    use crate::routes::Subject;

    const TWIST: &str = "geometry_msgs/msg/Twist";
    const ALICE: FeedId = FeedId(1);
    const BOB: FeedId = FeedId(2);

    fn plain() -> Rule {
        rule(Subject::Topic, "/cmd_vel")
    }

    fn exclusive(seconds: u64) -> Rule {
        Rule { exclusive: Some(Duration::from_secs(seconds)), ..plain() }
    }

    fn at(millis: u64) -> Mono {
        Mono(Duration::from_millis(millis))
    }

    fn id(text: &str) -> ClientId {
        ClientId::new(text).unwrap()
    }

    fn attempt<'a>(from: &'a ClientId, feed: FeedId, rule: &'a Rule) -> Attempt<'a> {
        Attempt { topic: "/cmd_vel", type_name: TWIST, from, feed, rule, age: None }
    }

    #[test]
    fn a_command_over_its_age_is_late_and_one_of_unknown_age_is_new() {
        let mut gate = Gate::default();
        let alice = id("alice");
        let mut judge = |rule: &Rule, type_name, age: Option<u64>| {
            let age = age.map(Duration::from_millis);
            gate.judge(&Attempt { type_name, age, ..attempt(&alice, ALICE, rule) }, at(0))
        };
        let strict = Rule { max_age: Some(Duration::from_millis(100)), ..plain() };
        assert_eq!(judge(&strict, TWIST, Some(101)), Verdict::Late);
        assert_eq!(judge(&strict, TWIST, Some(100)), Verdict::Passes);
        assert_eq!(judge(&strict, TWIST, None), Verdict::Passes);
        // Without a limit in the rule, what moves something has one and the rest has not.
        let default = defaults::COMMAND_MAX_AGE.as_millis() as u64;
        assert_eq!(judge(&plain(), TWIST, Some(default + 1)), Verdict::Late);
        assert_eq!(judge(&plain(), "geometry_msgs/msg/TwistStamped", Some(default + 1)), Verdict::Late);
        assert_eq!(judge(&plain(), "std_msgs/msg/String", Some(3_600_000)), Verdict::Passes);
        assert_eq!(judge(&Rule { stop: true, ..plain() }, "x_msgs/msg/Legs", Some(default + 1)), Verdict::Late);
        let patient = Rule { max_age: Some(Duration::from_secs(9)), ..plain() };
        assert_eq!(judge(&patient, TWIST, Some(default + 1)), Verdict::Passes, "the rule's word counts");
    }

    #[test]
    fn the_end_of_a_feed_is_a_loss_once_and_only_if_it_had_the_last_word() {
        let (mut gate, alice, bob, rule) = (Gate::default(), id("alice"), id("bob"), plain());
        assert!(!gate.close("/cmd_vel", ALICE), "it never said anything");
        gate.judge(&attempt(&bob, BOB, &rule), at(0));
        gate.judge(&attempt(&alice, ALICE, &rule), at(1));
        assert!(!gate.close("/cmd_vel", BOB), "the robot follows alice");
        assert!(gate.close("/cmd_vel", ALICE));
        assert!(!gate.close("/cmd_vel", ALICE));
        assert!(gate.topics.is_empty());
    }

    #[test]
    fn a_command_that_was_dropped_is_nobodys_last_word() {
        let (mut gate, alice, bob) = (Gate::default(), id("alice"), id("bob"));
        let rule = Rule { max_age: Some(Duration::from_millis(100)), ..exclusive(1) };
        gate.judge(&attempt(&alice, ALICE, &rule), at(0));
        assert!(matches!(gate.judge(&attempt(&bob, BOB, &rule), at(1)), Verdict::Refused));
        let old = Attempt { age: Some(Duration::from_secs(1)), ..attempt(&bob, BOB, &rule) };
        assert_eq!(gate.judge(&old, at(2)), Verdict::Late);
        assert!(!gate.close("/cmd_vel", BOB));
        assert!(gate.close("/cmd_vel", ALICE));
    }

    #[test]
    fn the_first_who_commands_holds_the_topic_until_it_is_silent() {
        let (mut gate, alice, bob, rule) = (Gate::default(), id("alice"), id("bob"), exclusive(2));
        assert_eq!(gate.judge(&attempt(&alice, ALICE, &rule), at(0)), Verdict::Passes);
        assert_eq!(gate.judge(&attempt(&bob, BOB, &rule), at(10)), Verdict::Refused);
        assert!(gate.take_changed());
        let told =
            "commands of bob are refused, alice commands it alone; \"switchboard release /cmd_vel\" lets go of it";
        assert_eq!(gate.problems(), [format!("/cmd_vel: {told}")]);
        assert_eq!(gate.judge(&attempt(&alice, ALICE, &rule), at(1_500)), Verdict::Passes);
        assert_eq!(gate.judge(&attempt(&bob, BOB, &rule), at(3_499)), Verdict::Refused);
        assert!(!gate.take_changed(), "it is told once");
        assert_eq!(gate.judge(&attempt(&bob, BOB, &rule), at(3_500)), Verdict::Passes);
        assert!(gate.take_changed());
        assert_eq!(gate.problems(), [""; 0]);
        assert!(matches!(gate.judge(&attempt(&alice, ALICE, &rule), at(3_600)), Verdict::Refused));
    }

    #[test]
    fn a_topic_is_let_go_by_the_end_of_its_holder_and_on_request() {
        let (mut gate, alice, bob, rule) = (Gate::default(), id("alice"), id("bob"), exclusive(3_600));
        gate.judge(&attempt(&alice, ALICE, &rule), at(0));
        gate.judge(&attempt(&bob, BOB, &rule), at(1));
        let error = gate.release("/arm").unwrap_err();
        assert!(error.contains("\"/arm\"") && error.contains("/cmd_vel"), "{error}");
        assert_eq!(gate.release("/cmd_vel"), Ok(alice.clone()));
        assert_eq!(gate.judge(&attempt(&bob, BOB, &rule), at(2)), Verdict::Passes);
        assert!(matches!(gate.judge(&attempt(&alice, ALICE, &rule), at(3)), Verdict::Refused));
        assert!(gate.close("/cmd_vel", BOB));
        assert_eq!(gate.judge(&attempt(&alice, ALICE, &rule), at(4)), Verdict::Passes);
    }

    #[test]
    fn only_rules_that_say_so_are_exclusive() {
        let (mut gate, alice, bob, rule) = (Gate::default(), id("alice"), id("bob"), plain());
        assert_eq!(gate.judge(&attempt(&alice, ALICE, &rule), at(0)), Verdict::Passes);
        assert_eq!(gate.judge(&attempt(&bob, BOB, &rule), at(1)), Verdict::Passes);
        assert!(gate.release("/cmd_vel").unwrap_err().contains("no topic"));
    }
}
