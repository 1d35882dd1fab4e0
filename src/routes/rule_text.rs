//! A rule as it stands in a rules file, on one line of YAML.

use std::{fmt::Write as _, time::Duration};

use super::{QosOverride, Rule};
use crate::model::{Durability, Reliability};

/// The text of `rule`, such as `{topic: /odom, rate: 10}`.
pub(super) fn of(rule: &Rule) -> String {
    let mut text = Text(format!("{{{}: {}", rule.subject.as_str(), scalar(rule.name.as_str())));
    if rule.never {
        text.key("never", "true");
    }
    if let Some(type_name) = &rule.type_name {
        text.key("type", &scalar(type_name.as_str()));
    }
    if let Some(node) = &rule.node {
        text.key("node", &scalar(node.as_str()));
    }
    if let Some(rate) = rule.max_rate {
        text.key("rate", &rate.to_string());
    }
    if rule.latest_only {
        text.key("latest_only", "true");
    }
    if let Some(rename) = &rule.rename {
        text.key("as", &scalar(&rename.target()));
    }
    if rule.qos != QosOverride::default() {
        text.key("qos", &qos(&rule.qos));
    }
    text.seconds("max_age", rule.max_age);
    if let Some(prefix) = rule.prefix_frames {
        text.key("prefix_frames", &prefix.to_string());
    }
    if rule.stop {
        text.key("stop", "zero");
    }
    text.seconds("exclusive", rule.exclusive);
    text.seconds("timeout", rule.timeout);
    text.0 + "}"
}

struct Text(String);

impl Text {
    fn key(&mut self, key: &str, value: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, ", {key}: {value}");
    }

    fn seconds(&mut self, key: &str, time: Option<Duration>) {
        if let Some(time) = time {
            self.key(key, &time.as_secs_f64().to_string());
        }
    }
}

fn qos(qos: &QosOverride) -> String {
    let mut parts = Vec::new();
    if let Some(reliability) = qos.reliability {
        let word = match reliability {
            Reliability::Reliable => "reliable",
            Reliability::BestEffort => "best_effort",
        };
        parts.push(format!("reliability: {word}"));
    }
    if let Some(durability) = qos.durability {
        let word = match durability {
            Durability::TransientLocal => "transient_local",
            Durability::Volatile => "volatile",
        };
        parts.push(format!("durability: {word}"));
    }
    if let Some(depth) = qos.depth {
        parts.push(format!("depth: {depth}"));
    }
    format!("{{{}}}", parts.join(", "))
}

/// Names as YAML takes them: what begins with a wildcard, or has braces or commas, means something else without quotes.
fn scalar(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c == '/' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '*'));
    if is_plain { name.to_owned() } else { format!("'{name}'") }
}
