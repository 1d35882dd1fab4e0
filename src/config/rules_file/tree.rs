//! YAML as a tree that knows its line numbers, so that every complaint names the line and the key.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Spanned, UserMessageFormatter};

use super::RulesFileError;
use crate::defaults;

/// Where a text comes from, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source<'a> {
    /// A file of this name: messages name the line.
    File(&'a str),
    /// One rule by itself.
    Rule,
}

impl Source<'_> {
    /// What is wrong at `line` and `key`; an empty key stands for the whole.
    pub(super) fn wrong(self, line: u64, key: &str, fault: String) -> RulesFileError {
        let key = (!key.is_empty()).then(|| key.to_owned());
        match self {
            Source::File(file) => RulesFileError::Wrong { file: file.to_owned(), line, key, fault },
            Source::Rule => RulesFileError::WrongRule { key, fault },
        }
    }
}

/// Reads `text` into a tree and hands its root to `judge`.
pub(super) fn with_root<T>(
    source: Source<'_>,
    text: &str,
    judge: impl FnOnce(&Node<'_>) -> Result<T, RulesFileError>,
) -> Result<T, RulesFileError> {
    let options = serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: defaults::RULES_FILE_ALIASES_MAX },
    };
    let tree = serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options)
        .map_err(|error| not_yaml(source, &error))?;
    judge(&Node { source, key: String::new(), line: line_of(&tree), value: &tree.value })
}

fn not_yaml(source: Source<'_>, error: &serde_saphyr::Error) -> RulesFileError {
    let line = error.location().map_or(1, |location| location.line());
    let words = error.without_snippet().render_with_formatter(&UserMessageFormatter);
    // Its second half repeats the place.
    let words = words.split(" at line ").next().unwrap_or_default();
    let fault =
        format!("not valid YAML: {words}; check the indentation, and put text that begins with *, & or ! into quotes");
    source.wrong(line, "", fault)
}

/// A place in the tree.
#[derive(Clone)]
pub(super) struct Node<'a> {
    source: Source<'a>,
    /// Path from the top, such as `offer[2].rate`; empty at the top.
    key: String,
    line: u64,
    pub(super) value: &'a Value,
}

impl<'a> Node<'a> {
    pub(super) fn wrong(&self, fault: impl Into<String>) -> RulesFileError {
        self.source.wrong(self.line, &self.key, fault.into())
    }

    /// The entries of a map, in order; none if there is nothing.
    pub(super) fn entries(&self, of_what: &str) -> Result<Vec<(&'a str, Node<'a>)>, RulesFileError> {
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

    /// The items of a list, at most `max`; none if there is nothing.
    pub(super) fn items(&self, max: usize) -> Result<Vec<Node<'a>>, RulesFileError> {
        let items = match self.value {
            Value::Nothing => return Ok(Vec::new()),
            Value::List(items) => items,
            other => {
                return Err(
                    self.wrong(format!("{} stands where a list belongs; begin each rule with \"- \"", other.sort()))
                );
            }
        };
        if items.len() > max {
            return Err(self.wrong(format!("{} rules are too many; use at most {max}, with wildcards", items.len())));
        }
        let item = |(index, item): (usize, &'a Spanned<Value>)| Node {
            key: format!("{}[{index}]", self.key),
            line: line_of(item),
            value: &item.value,
            ..self.clone()
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// A text; `form` says what belongs here.
    pub(super) fn text(&self, form: &str) -> Result<&'a str, RulesFileError> {
        match self.value {
            Value::Text(text) => Ok(text),
            other => Err(self.wrong(format!("{} stands where a {form} belongs", other.sort()))),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Result<bool, RulesFileError> {
        match self.value {
            Value::Boolean(flag) => Ok(*flag),
            other => Err(self.wrong(format!("{} is neither true nor false", other.sort()))),
        }
    }
}

/// A YAML value with the places of its parts.
#[derive(Debug)]
pub(super) enum Value {
    Nothing,
    Text(String),
    Number(f64),
    Boolean(bool),
    List(Vec<Spanned<Value>>),
    Map(Vec<(Spanned<String>, Spanned<Value>)>),
}

impl Value {
    /// The value in a few words, for messages.
    pub(super) fn sort(&self) -> String {
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
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
