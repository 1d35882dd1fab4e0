//! One rule: which keys it may have, and what they may say.

use std::time::Duration;

use super::{
    RulesFileError,
    tree::{Node, Value, shown},
};
use crate::{
    defaults,
    model::{Durability, Reliability},
    routes::{Pattern, QosOverride, Rename, Rule, Section, Subject},
};

/// A key of a rule beside its name, and where it may stand.
pub(super) struct Key {
    pub(super) name: &'static str,
    subjects: &'static [Subject],
    sections: &'static [Section],
    read: fn(&Node<'_>, &mut Rule) -> Result<(), RulesFileError>,
}

const TOPICS: &[Subject] = &[Subject::Topic];
const CALLED: &[Subject] = &[Subject::Service, Subject::Action];
const ANYTHING: &[Subject] = &[Subject::Topic, Subject::Service, Subject::Action];
const EVERYWHERE: &[Section] = &Section::ALL;

/// In the order in which messages list them.
pub(super) const KEYS: &[Key] = &[
    Key { name: "type", subjects: ANYTHING, sections: EVERYWHERE, read: read_type },
    Key { name: "node", subjects: ANYTHING, sections: &[Section::Offer], read: read_node },
    Key { name: "rate", subjects: TOPICS, sections: &[Section::Offer, Section::Want], read: read_rate },
    Key { name: "latest_only", subjects: TOPICS, sections: &[Section::Offer, Section::Want], read: read_latest_only },
    Key { name: "as", subjects: ANYTHING, sections: EVERYWHERE, read: read_rename },
    Key { name: "qos", subjects: TOPICS, sections: EVERYWHERE, read: read_qos },
    Key { name: "max_age", subjects: TOPICS, sections: &[Section::Want, Section::Accept], read: read_max_age },
    Key { name: "prefix_frames", subjects: TOPICS, sections: &[Section::Want], read: read_prefix_frames },
    Key { name: "stop", subjects: TOPICS, sections: &[Section::Accept], read: read_stop },
    Key { name: "exclusive", subjects: TOPICS, sections: &[Section::Accept], read: read_exclusive },
    Key { name: "timeout", subjects: CALLED, sections: &[Section::Want], read: read_timeout },
];

const SUBJECTS: [Subject; 3] = [Subject::Topic, Subject::Service, Subject::Action];

/// The rule at `node`.
pub(super) fn parse(section: Section, node: &Node<'_>) -> Result<Rule, RulesFileError> {
    let rule = match node.value {
        Value::Text(_) => Rule::new(Subject::Topic, read_name(section, Subject::Topic, node)?),
        Value::Nothing => {
            return Err(node.wrong(format!("the rule is empty; write a {}", name_form(section, Subject::Topic))));
        }
        _ => from_keys(section, node)?,
    };
    if section == Section::Want && !rule.never {
        check_exchange_name(&rule.name, node)?;
    }
    Ok(rule.with_text())
}

fn from_keys(section: Section, node: &Node<'_>) -> Result<Rule, RulesFileError> {
    let entries = node.entries("the keys of a rule")?;
    let never = never_of(section, &entries)?;
    if let Never::Name(rule) = never {
        return Ok(*rule);
    }
    let named: Vec<(Subject, &Node<'_>)> = entries
        .iter()
        .filter_map(|(key, value)| Some((SUBJECTS.into_iter().find(|subject| subject.as_str() == *key)?, value)))
        .collect();
    let (subject, name) = match named[..] {
        [one] => one,
        [] => {
            let form = name_form(section, Subject::Topic);
            let others = if section == Section::Accept { "" } else { ", \"service:\" or \"action:\"" };
            return Err(node.wrong(format!("the rule has no name; add \"topic:\" with a {form}{others}")));
        }
        [_, (second, value), ..] => {
            return Err(value.wrong(format!(
                "a rule has one name, and this one has another already; write a rule of its own for the {}",
                second.as_str()
            )));
        }
    };
    if section == Section::Accept && subject != Subject::Topic {
        return Err(name.wrong(format!(
            "a {0} is not accepted but offered: write the rule into the section offer, and others may call it",
            subject.as_str()
        )));
    }
    let mut rule = Rule::new(subject, read_name(section, subject, name)?);
    rule.never = matches!(never, Never::True);
    for (name, value) in &entries {
        if *name == subject.as_str() || *name == "never" {
            continue;
        }
        let fits = |key: &Key| key.subjects.contains(&subject) && key.sections.contains(&section);
        let key = KEYS.iter().find(|key| key.name == *name);
        match key {
            Some(key) if fits(key) && (!rule.never || matches!(key.name, "type" | "node")) => {
                (key.read)(value, &mut rule)?;
            }
            _ => {
                let fault = match key {
                    None => "unknown key".to_owned(),
                    Some(_) if rule.never => {
                        "a rule that says never lets nothing pass, so this means nothing".to_owned()
                    }
                    Some(_) => format!("this key is not for a {} in {}", subject.as_str(), section.as_str()),
                };
                let fitting =
                    KEYS.iter().filter(|key| fits(key) && (!rule.never || matches!(key.name, "type" | "node")));
                let fitting: Vec<&str> = fitting.map(|key| key.name).collect();
                return Err(value.wrong(format!("{fault}; use {}, or never", fitting.join(", "))));
            }
        }
    }
    Ok(rule)
}

enum Never {
    No,
    /// `never: true` beside a name.
    True,
    /// `never: /name`, short for a topic.
    Name(Box<Rule>),
}

fn never_of(section: Section, entries: &[(&str, Node<'_>)]) -> Result<Never, RulesFileError> {
    let Some((_, value)) = entries.iter().find(|(name, _)| *name == "never") else { return Ok(Never::No) };
    match value.value {
        Value::Boolean(true) => Ok(Never::True),
        Value::Boolean(false) => Ok(Never::No),
        _ if entries.len() == 1 => {
            let name = read_name(section, Subject::Topic, value)?;
            Ok(Never::Name(Box::new(Rule { never: true, ..Rule::new(Subject::Topic, name) })))
        }
        _ => Err(value.wrong(
            "\"never\" with a name stands alone in its rule; beside other keys write \"never: true\", and the name \
             after topic, service or action",
        )),
    }
}

/// Names on the exchange have at least two segments, and a pattern of one would silently match nothing.
fn check_exchange_name(name: &Pattern, rule: &Node<'_>) -> Result<(), RulesFileError> {
    let inside = name.as_str().trim_start_matches('/');
    if inside.contains('/') || inside == "**" {
        return Ok(());
    }
    Err(rule.wrong(format!(
        "\"{name}\" is a name of one segment, and names on the exchange have the client's id in front; \
         use \"/*{name}\" for all clients or \"/r1{name}\" for one"
    )))
}

fn name_form(section: Section, subject: Subject) -> &'static str {
    match (section, subject) {
        (Section::Offer, Subject::Topic) => "local name, such as /odom",
        (Section::Offer, _) => "local name, such as /set_mode",
        (Section::Want, Subject::Topic) => "name on the exchange, such as /*/odom",
        (Section::Want, _) => "name on the exchange, such as /*/set_mode",
        (Section::Accept, _) => "local name, such as /cmd_vel",
    }
}

fn read_name(section: Section, subject: Subject, node: &Node<'_>) -> Result<Pattern, RulesFileError> {
    full_name(node, name_form(section, subject))
}

fn full_name(node: &Node<'_>, form: &str) -> Result<Pattern, RulesFileError> {
    let pattern = pattern(node, form)?;
    if pattern.as_str().starts_with('/') {
        Ok(pattern)
    } else {
        Err(node.wrong(format!("\"{pattern}\" does not begin with a slash; write the full {form}")))
    }
}

fn pattern(node: &Node<'_>, form: &str) -> Result<Pattern, RulesFileError> {
    Pattern::new(node.text(form)?).map_err(|invalid| node.wrong(invalid.to_string()))
}

fn read_type(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    let (form, example) = match rule.subject {
        Subject::Topic => ("package/msg/Type", "nav_msgs/msg/Odometry"),
        Subject::Service => ("package/srv/Type", "std_srvs/srv/SetBool"),
        Subject::Action => ("package/action/Type", "nav2_msgs/action/Spin"),
    };
    let pattern = pattern(node, &format!("full type name, such as {example}"))?;
    if pattern.as_str().starts_with('/') || !pattern.as_str().contains(['/', '*']) {
        return Err(node.wrong(format!("\"{pattern}\" is not a full type name; write it as {form}, such as {example}")));
    }
    rule.type_name = Some(pattern);
    Ok(())
}

fn read_node(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    rule.node = Some(full_name(node, "name of a node, such as /camera/driver")?);
    Ok(())
}

fn read_rate(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    match node.value {
        Value::Number(rate) if (defaults::RATE_MIN..=defaults::RATE_MAX).contains(rate) => {
            rule.max_rate = Some(*rate);
            Ok(())
        }
        other => Err(node.wrong(format!(
            "{} is not a rate; use {} to {} messages per second, or leave it out for every message",
            other.sort(),
            defaults::RATE_MIN,
            defaults::RATE_MAX
        ))),
    }
}

fn read_latest_only(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    rule.latest_only = node.flag()?;
    Ok(())
}

fn read_prefix_frames(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    rule.prefix_frames = Some(node.flag()?);
    Ok(())
}

fn read_rename(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    let to = node.text("name, such as /leader/odom")?;
    rule.rename = Some(Rename::new(&rule.name, to).map_err(|invalid| node.wrong(invalid.to_string()))?);
    Ok(())
}

fn read_max_age(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    rule.max_age = Some(seconds(node, "an age", defaults::PERIOD_MAX, "messages of any age")?);
    Ok(())
}

fn read_exclusive(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    rule.exclusive = Some(seconds(node, "a silence", defaults::PERIOD_MAX, "commands of everybody at any time")?);
    Ok(())
}

fn read_timeout(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    rule.timeout = Some(seconds(node, "a time limit", defaults::CALL_TIMEOUT_MAX, "the usual limit")?);
    Ok(())
}

fn seconds(node: &Node<'_>, what: &str, max: Duration, left_out: &str) -> Result<Duration, RulesFileError> {
    let given = match node.value {
        Value::Number(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        _ => None,
    };
    given.filter(|time| (defaults::PERIOD_MIN..=max).contains(time)).ok_or_else(|| {
        node.wrong(format!(
            "{} is not {what}; use {} to {} seconds, or leave it out for {left_out}",
            node.value.sort(),
            defaults::PERIOD_MIN.as_secs_f64(),
            max.as_secs()
        ))
    })
}

fn read_stop(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    match node.value {
        Value::Text(word) if word == "zero" => {
            rule.stop = true;
            Ok(())
        }
        other => Err(node.wrong(format!(
            "{} is not a stop; use \"zero\" for one message of zeros when the commander or the line goes, or leave it out",
            other.sort()
        ))),
    }
}

fn read_qos(node: &Node<'_>, rule: &mut Rule) -> Result<(), RulesFileError> {
    const FORM: &str = "use reliability (reliable, best_effort), durability (transient_local, volatile) and depth";
    let mut qos = QosOverride::default();
    for (name, value) in node.entries("reliability, durability and depth")? {
        match name {
            "reliability" => {
                qos.reliability = Some(word(
                    &value,
                    &[("reliable", Reliability::Reliable), ("best_effort", Reliability::BestEffort)],
                )?);
            }
            "durability" => {
                let words = [("transient_local", Durability::TransientLocal), ("volatile", Durability::Volatile)];
                qos.durability = Some(word(&value, &words)?);
            }
            "depth" => qos.depth = Some(depth(&value)?),
            _ => return Err(value.wrong(format!("unknown key; {FORM}"))),
        }
    }
    if qos == QosOverride::default() {
        return Err(node.wrong(format!("nothing is named that should be replaced; {FORM}")));
    }
    rule.qos = qos;
    Ok(())
}

fn word<T: Copy>(node: &Node<'_>, words: &[(&str, T)]) -> Result<T, RulesFileError> {
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let given = node.text(&format!("word ({})", known.join(" or ")))?;
    let found = words.iter().find(|(word, _)| *word == given).map(|(_, value)| *value);
    found.ok_or_else(|| node.wrong(format!("{:?} is unknown; use {}", shown(given), known.join(" or "))))
}

fn depth(node: &Node<'_>) -> Result<u32, RulesFileError> {
    match node.value {
        Value::Number(depth) if depth.fract() == 0.0 && (1.0..=f64::from(defaults::DEPTH_MAX)).contains(depth) => {
            Ok(*depth as u32)
        }
        other => Err(node.wrong(format!(
            "{} is not a depth; use 1 to {} messages, or leave it out for what the publishers have",
            other.sort(),
            defaults::DEPTH_MAX
        ))),
    }
}
