//! Rules files: YAML in, [`Rules`] out.
//!
//! ```yaml
//! offer:
//!   - topic: /camera/**                        # local names
//!     type: sensor_msgs/msg/CompressedImage    # optional
//!     rate: 10                                 # optional [Hz], keeps the freshest
//!   - /tf                                      # short for "topic: /tf"
//!   - never: /camera/private/**                # wins over every other line of its section
//! want:
//!   - /*/odom                                  # names on the exchange: /ID/topic
//! accept:
//!   - topic: /cmd_vel                          # local names
//!     type: geometry_msgs/msg/Twist
//! ```
//!
//! The file is read into a tree that knows its line numbers, and the tree into rules, so that every complaint names the
//! line and the key.

use std::{
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Spanned, UserMessageFormatter};

use crate::{
    defaults,
    model::ClientKind,
    routes::{Pattern, Rule, Rules, Section, Subject},
};

/// Why a rules file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesFileError {
    /// It cannot be read.
    #[error(
        "cannot read the rules file {}: {fault}; give the path of a YAML file with the sections offer, want and accept",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        fault: String,
    },
    /// It is not the YAML that it should be.
    #[error("{file}:{line}: {}{fault}", key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
    Wrong {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// The key, such as `offer[2].rate`; `None` for the file as a whole.
        key: Option<String>,
        /// The value, what is wrong with it and what to write instead.
        fault: String,
    },
}

/// Reads and checks the rules file `path`, at most [`defaults::RULES_FILE_MAX`] bytes.
///
/// # Errors
/// [`RulesFileError`] names the file, the line, the key and the cure.
pub fn read(path: &Path) -> Result<Rules, RulesFileError> {
    let unreadable = |fault: String| RulesFileError::Unreadable { path: path.to_owned(), fault };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(defaults::RULES_FILE_MAX + 1).read_to_string(&mut text))
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > defaults::RULES_FILE_MAX {
        return Err(unreadable(format!("it is larger than {} KiB", defaults::RULES_FILE_MAX / 1024)));
    }
    parse(&path.display().to_string(), &text)
}

/// The rules of a client that was given none: the files `config/robot_rules.yaml` and `config/operator_rules.yaml` as they
/// were when the program was built.
///
/// # Errors
/// As [`read`]; the tests hold that there are none.
pub fn built_in(kind: ClientKind) -> Result<Rules, RulesFileError> {
    match kind {
        ClientKind::Robot => parse("robot_rules.yaml", include_str!("../../config/robot_rules.yaml")),
        ClientKind::Operator => parse("operator_rules.yaml", include_str!("../../config/operator_rules.yaml")),
        // Somebody who only looks offers nothing.
        ClientKind::Observer => {
            let mut rules = built_in(ClientKind::Operator)?;
            rules.offer.clear();
            Ok(rules)
        }
    }
}

/// Checks `text`, the contents of the rules file that messages call `file`.
///
/// # Errors
/// [`RulesFileError::Wrong`] names the file, the line, the key and the cure.
pub fn parse(file: &str, text: &str) -> Result<Rules, RulesFileError> {
    let options = serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: defaults::RULES_FILE_ALIASES_MAX },
    };
    let tree =
        serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options).map_err(|error| not_yaml(file, &error))?;
    let root = Node { file, key: String::new(), line: line_of(&tree), value: &tree.value };
    let mut rules = Rules::default();
    for (name, section) in root.entries("sections")? {
        match name {
            "offer" => {
                for (rule, _) in section.rules(&["topic", "type", "rate"], "local name, such as /odom")? {
                    add(&mut rules, Section::Offer, rule, &root)?;
                }
            }
            "want" => {
                for (rule, line) in
                    section.rules(&["topic", "type", "rate"], "name on the exchange, such as /*/odom")?
                {
                    if !rule.never {
                        check_exchange_name(&rule.name, &Node { line, ..section.clone() })?;
                    }
                    add(&mut rules, Section::Want, rule, &root)?;
                }
            }
            "accept" => {
                for (rule, _) in section.rules(&["topic", "type"], "local name, such as /cmd_vel")? {
                    add(&mut rules, Section::Accept, rule, &root)?;
                }
            }
            _ => return Err(section.wrong("unknown section; use offer, want and accept")),
        }
    }
    Ok(rules)
}

/// Names on the exchange have at least two segments, and a pattern of one would silently match nothing.
fn check_exchange_name(topic: &Pattern, rule: &Node<'_>) -> Result<(), RulesFileError> {
    let inside = topic.as_str().trim_start_matches('/');
    if inside.contains('/') || inside == "**" {
        return Ok(());
    }
    Err(rule.wrong(format!(
        "\"{topic}\" is a name of one segment, and names on the exchange have the client's id in front; \
         use \"/*{topic}\" for all clients or \"/r1{topic}\" for one"
    )))
}

fn not_yaml(file: &str, error: &serde_saphyr::Error) -> RulesFileError {
    let line = error.location().map_or(1, |location| location.line());
    let words = error.without_snippet().render_with_formatter(&UserMessageFormatter);
    // Its second half repeats the place.
    let words = words.split(" at line ").next().unwrap_or_default();
    let fault =
        format!("not valid YAML: {words}; check the indentation, and put text that begins with *, & or ! into quotes");
    RulesFileError::Wrong { file: file.to_owned(), line, key: None, fault }
}

fn add(rules: &mut Rules, section: Section, rule: Rule, root: &Node<'_>) -> Result<(), RulesFileError> {
    rules.add(section, rule, false).map(|_| ()).map_err(|_| {
        root.wrong(format!(
            "the rules in want and accept together are too many for the exchange; use at most {}, with wildcards",
            defaults::INTERESTS_MAX
        ))
    })
}

/// A place in the tree.
#[derive(Clone)]
struct Node<'a> {
    file: &'a str,
    /// Path from the top, such as `offer[2].rate`; empty at the top.
    key: String,
    line: u64,
    value: &'a Value,
}

impl<'a> Node<'a> {
    fn wrong(&self, fault: impl Into<String>) -> RulesFileError {
        RulesFileError::Wrong {
            file: self.file.to_owned(),
            line: self.line,
            key: (!self.key.is_empty()).then(|| self.key.clone()),
            fault: fault.into(),
        }
    }

    /// The entries of a map, in order; none if there is nothing.
    fn entries(&self, of_what: &str) -> Result<Vec<(&'a str, Node<'a>)>, RulesFileError> {
        match self.value {
            Value::Nothing => Ok(Vec::new()),
            Value::Map(entries) => Ok(entries
                .iter()
                .map(|(name, value)| {
                    let key = match self.key.as_str() {
                        "" => shown(&name.value),
                        parent => format!("{parent}.{}", shown(&name.value)),
                    };
                    (name.value.as_str(), Node { key, line: line_of(name), value: &value.value, ..self.clone() })
                })
                .collect()),
            other => {
                Err(self.wrong(format!("{} stands where {of_what} with a colon after each name belong", other.sort())))
            }
        }
    }

    /// The rules of a section, with `keys` allowed in each.
    fn rules(&self, keys: &[&str], name_form: &str) -> Result<Vec<(Rule, u64)>, RulesFileError> {
        let items = match self.value {
            Value::Nothing => return Ok(Vec::new()),
            Value::List(items) => items,
            other => {
                return Err(
                    self.wrong(format!("{} stands where a list belongs; begin each rule with \"- \"", other.sort()))
                );
            }
        };
        if items.len() > defaults::INTERESTS_MAX {
            return Err(self.wrong(format!(
                "{} rules are too many; use at most {}, with wildcards",
                items.len(),
                defaults::INTERESTS_MAX
            )));
        }
        items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let key = format!("{}[{index}]", self.key);
                Node { key, line: line_of(item), value: &item.value, ..self.clone() }.rule(keys, name_form)
            })
            .collect()
    }

    fn rule(&self, keys: &[&str], name_form: &str) -> Result<(Rule, u64), RulesFileError> {
        if let Value::Text(_) = self.value {
            let topic = self.topic(name_form)?;
            return Ok((Rule::new(Subject::Topic, topic), self.line));
        }
        let (mut topic, mut type_name, mut rate, mut never) = (None, None, None, None);
        let entries = match self.value {
            Value::Nothing => return Err(self.wrong(format!("the rule is empty; write a {name_form}"))),
            _ => self.entries("the keys of a rule")?,
        };
        for (name, value) in &entries {
            match *name {
                "topic" => topic = Some(value.topic(name_form)?),
                "type" => type_name = Some(value.type_name()?),
                "rate" if keys.contains(&"rate") => rate = Some(value.rate()?),
                "never" if entries.len() == 1 => never = Some(value.topic(name_form)?),
                "never" => {
                    return Err(
                        value.wrong("\"never\" stands alone in its rule; write the other keys as a rule of their own")
                    );
                }
                _ => return Err(value.wrong(format!("unknown key; use {}, or never", keys.join(", ")))),
            }
        }
        match (topic, never) {
            (_, Some(never)) => Ok((Rule { never: true, ..Rule::new(Subject::Topic, never) }, self.line)),
            (Some(topic), None) => {
                Ok((Rule { type_name, max_rate: rate, ..Rule::new(Subject::Topic, topic) }, self.line))
            }
            (None, None) => Err(self.wrong(format!("the rule has no topic; add \"topic:\" with a {name_form}"))),
        }
    }

    fn topic(&self, name_form: &str) -> Result<Pattern, RulesFileError> {
        let pattern = self.pattern(name_form)?;
        if pattern.as_str().starts_with('/') {
            Ok(pattern)
        } else {
            Err(self.wrong(format!("\"{pattern}\" does not begin with a slash; write the full {name_form}")))
        }
    }

    fn type_name(&self) -> Result<Pattern, RulesFileError> {
        let pattern = self.pattern("full type name, such as nav_msgs/msg/Odometry")?;
        if pattern.as_str().starts_with('/') || !pattern.as_str().contains(['/', '*']) {
            return Err(self.wrong(format!(
                "\"{pattern}\" is not a full type name; write it as package/msg/Type, such as nav_msgs/msg/Odometry"
            )));
        }
        Ok(pattern)
    }

    fn pattern(&self, form: &str) -> Result<Pattern, RulesFileError> {
        match self.value {
            Value::Text(text) => Pattern::new(text).map_err(|invalid| self.wrong(invalid.to_string())),
            other => Err(self.wrong(format!("{} stands where a {form} belongs", other.sort()))),
        }
    }

    fn rate(&self) -> Result<f64, RulesFileError> {
        match self.value {
            Value::Number(rate) if (defaults::RATE_MIN..=defaults::RATE_MAX).contains(rate) => Ok(*rate),
            other => Err(self.wrong(format!(
                "{} is not a rate; use {} to {} messages per second, or leave it out for every message",
                other.sort(),
                defaults::RATE_MIN,
                defaults::RATE_MAX
            ))),
        }
    }
}

/// A YAML value with the places of its parts.
#[derive(Debug)]
enum Value {
    Nothing,
    Text(String),
    Number(f64),
    Boolean(bool),
    List(Vec<Spanned<Value>>),
    Map(Vec<(Spanned<String>, Spanned<Value>)>),
}

impl Value {
    /// The value in a few words, for messages.
    fn sort(&self) -> String {
        match self {
            Value::Nothing => "nothing".to_owned(),
            Value::Text(text) => format!("{:?}", shown(text)),
            Value::Number(number) => number.to_string(),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any YAML value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Nothing)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Nothing)
            }

            fn visit_bool<E>(self, boolean: bool) -> Result<Value, E> {
                Ok(Value::Boolean(boolean))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = sequence.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Value::Map(entries))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}

fn line_of<T>(spanned: &Spanned<T>) -> u64 {
    spanned.referenced.line().max(1)
}

/// Text of a file as messages show it: its head, without control characters.
fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        parse("rules.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn every_form_of_a_rule_is_read() {
        let rules = parse(
            "rules.yaml",
            "
offer:
  - topic: /odom
    type: nav_msgs/msg/Odometry
    rate: 10
  - /tf
  - {topic: /camera/**, rate: 2.5}
  - never: /camera/private/**
want:
  - topic: /*/odom
    rate: 1e1
  - /**
  - never: /*/map
accept:
  - topic: /cmd_vel
    type: '*/msg/Twist'
  - /goal
  - never: /goal/secret
",
        )
        .unwrap();
        let read = |section| -> Vec<_> {
            let rules: &[Rule] = rules.section(section);
            rules
                .iter()
                .map(|rule| {
                    (rule.name.as_str(), rule.type_name.as_ref().map(Pattern::as_str), rule.max_rate, rule.never)
                })
                .collect()
        };
        assert_eq!(
            read(Section::Offer),
            [
                ("/odom", Some("nav_msgs/msg/Odometry"), Some(10.0), false),
                ("/tf", None, None, false),
                ("/camera/**", None, Some(2.5), false),
                ("/camera/private/**", None, None, true),
            ]
        );
        assert_eq!(
            read(Section::Want),
            [("/*/odom", None, Some(10.0), false), ("/**", None, None, false), ("/*/map", None, None, true)]
        );
        assert_eq!(
            read(Section::Accept),
            [
                ("/cmd_vel", Some("*/msg/Twist"), None, false),
                ("/goal", None, None, false),
                ("/goal/secret", None, None, true),
            ]
        );
    }

    #[test]
    fn an_empty_file_and_empty_sections_are_rules_that_let_nothing_pass() {
        for text in ["", "# nothing yet\n", "{}", "offer:\nwant: []\naccept: ~\n"] {
            assert_eq!(parse("rules.yaml", text).unwrap(), Rules::default(), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_line_key_and_cure() {
        for (text, expected) in [
            ("offer:\n  - /odom\nofer:\n  - /tf\n", "rules.yaml:3: ofer: unknown section; use offer, want and accept"),
            ("- /odom\n", "rules.yaml:1: a list stands where sections with a colon after each name belong"),
            (
                "offer: /odom\n",
                r#"rules.yaml:1: offer: "/odom" stands where a list belongs; begin each rule with "- ""#,
            ),
            (
                "offer:\n  - topic: /odom\n    typ: x/msg/Y\n",
                "rules.yaml:3: offer[0].typ: unknown key; use topic, type, rate, or never",
            ),
            (
                "accept:\n  - topic: /cmd_vel\n    rate: 3\n",
                "rules.yaml:3: accept[0].rate: unknown key; use topic, type, or never",
            ),
            (
                "offer:\n  - /a\n  - type: nav_msgs/msg/Odometry\n",
                r#"rules.yaml:3: offer[1]: the rule has no topic; add "topic:" with a local name, such as /odom"#,
            ),
            ("offer:\n  -\n", "rules.yaml:2: offer[0]: the rule is empty; write a local name, such as /odom"),
            (
                "offer:\n  - [/a]\n",
                "rules.yaml:2: offer[0]: a list stands where the keys of a rule with a colon after each name belong",
            ),
            (
                "offer:\n  - topic: 7\n",
                "rules.yaml:2: offer[0].topic: 7 stands where a local name, such as /odom belongs",
            ),
            (
                "offer:\n  - odom\n",
                r#"rules.yaml:2: offer[0]: "odom" does not begin with a slash; write the full local name, such as /odom"#,
            ),
            (
                "offer:\n  - /a[0-9]\n",
                r#"rules.yaml:2: offer[0]: pattern "/a[0-9]" has the character '[', which ROS names do not have; use letters, digits, _ and /, and the wildcards * ** ? {a,b}"#,
            ),
            (
                "offer:\n  - topic: /odom\n    type: Odometry\n",
                r#"rules.yaml:3: offer[0].type: "Odometry" is not a full type name; write it as package/msg/Type, such as nav_msgs/msg/Odometry"#,
            ),
            (
                "offer:\n  - topic: /odom\n    rate: 0\n",
                "rules.yaml:3: offer[0].rate: 0 is not a rate; use 0.001 to 1000000 messages per second, or leave it out for every message",
            ),
            (
                "want:\n  - topic: /*/odom\n    rate: fast\n",
                r#"rules.yaml:3: want[0].rate: "fast" is not a rate; use 0.001 to 1000000 messages per second, or leave it out for every message"#,
            ),
            (
                "offer:\n  - never: /a\n    topic: /b\n",
                r#"rules.yaml:2: offer[0].never: "never" stands alone in its rule; write the other keys as a rule of their own"#,
            ),
            (
                "offer:\n  - topic: /odom\n    rate: 0.0001\n",
                "rules.yaml:3: offer[0].rate: 0.0001 is not a rate; use 0.001 to 1000000 messages per second, or leave it out for every message",
            ),
            (
                "want:\n  - /r1/odom\n  - /odom\n",
                r#"rules.yaml:3: want: "/odom" is a name of one segment, and names on the exchange have the client's id in front; use "/*/odom" for all clients or "/r1/odom" for one"#,
            ),
        ] {
            assert_eq!(fault(text), expected);
        }
    }

    #[test]
    fn broken_yaml_is_named_with_its_line_and_a_hint() {
        for (text, line) in [
            ("offer:\n  - topic: */msg/Twist\n", 2),
            ("offer:\n  - \"/odom\n", 3),
            ("offer: []\noffer: []\n", 2),
            ("offer: []\n---\noffer: []\n", 3),
        ] {
            let message = fault(text);
            assert!(message.starts_with(&format!("rules.yaml:{line}: not valid YAML: ")), "{message}");
            assert!(
                message.ends_with("; check the indentation, and put text that begins with *, & or ! into quotes"),
                "{message}"
            );
            assert!(!message.contains('\n') && !message.contains("at line"), "{message}");
        }
    }

    #[test]
    fn too_many_rules_are_refused() {
        let text = format!("offer:\n{}", "  - /a\n".repeat(defaults::INTERESTS_MAX + 1));
        assert_eq!(fault(&text), "rules.yaml:1: offer: 257 rules are too many; use at most 256, with wildcards");
        let text = format!("want:\n{}accept:\n{}", "  - /*/a\n".repeat(200), "  - /a\n".repeat(100));
        assert_eq!(
            fault(&text),
            "rules.yaml:1: the rules in want and accept together are too many for the exchange; use at most 256, with wildcards"
        );
    }

    #[test]
    fn files_that_are_missing_or_too_large_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.yaml");
        let cure = "give the path of a YAML file with the sections offer, want and accept";
        assert_eq!(
            read(&path).unwrap_err().to_string(),
            format!("cannot read the rules file {}: No such file or directory (os error 2); {cure}", path.display())
        );
        std::fs::write(&path, "# too much\n".repeat(30_000)).unwrap();
        assert_eq!(
            read(&path).unwrap_err().to_string(),
            format!("cannot read the rules file {}: it is larger than 256 KiB; {cure}", path.display())
        );
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(
            read(&path).unwrap_err().to_string(),
            format!("cannot read the rules file {}: stream did not contain valid UTF-8; {cure}", path.display())
        );
        std::fs::write(&path, "offer: [/odom").unwrap();
        assert!(read(&path).unwrap_err().to_string().starts_with(&format!("{}:", path.display())));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_and_a_few_are_taken() {
        let text = "offer:\n  - {topic: /a, type: &odometry nav_msgs/msg/Odometry}\n  - {topic: /b, type: *odometry}\n";
        assert_eq!(
            parse("rules.yaml", text).unwrap().offer[1].type_name,
            Some(Pattern::new("nav_msgs/msg/Odometry").unwrap())
        );
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            text += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
        }
        assert!(parse("rules.yaml", &text).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken_or_refused_without_a_panic(text in "(offer|want|accept|topic|[-:{}\\[\\]*&!/ \n\"a]){0,40}") {
            let _ = parse("rules.yaml", &text);
        }
    }
}
