//! Rules files: YAML in, [`Rules`] out.
//!
//! ```yaml
//! offer:
//!   - topic: /camera/**                        # local names
//!     type: sensor_msgs/msg/CompressedImage    # optional
//!     rate: 10                                 # optional [Hz], keeps the freshest
//!   - /tf                                      # short for "topic: /tf"
//!   - service: /set_mode                       # others may call it
//!   - never: /camera/private/**                # wins over every other line of its section
//! want:
//!   - /*/odom                                  # names on the exchange: /ID/topic
//!   - action: /*/dock
//! accept:
//!   - topic: /cmd_vel                          # local names
//!     type: geometry_msgs/msg/Twist
//! ```
//!
//! The file is read into a tree that knows its line numbers (`tree`), and the tree into rules (`rule`).

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::{
    defaults,
    model::ClientKind,
    routes::{Rule, Rules, Section, Subject},
};

mod rule;
#[cfg(test)]
mod tests;
mod tree;

use tree::{Node, Source};

/// Why a rules file, or a rule, cannot be used.
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
    #[error("{file}:{line}: {}{fault}", prefix(key.as_ref()))]
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
    /// A rule by itself is not what it should be.
    #[error("{}{fault}", prefix(key.as_ref()))]
    WrongRule {
        /// The key, such as `rate`; `None` for the rule as a whole.
        key: Option<String>,
        /// The value, what is wrong with it and what to write instead.
        fault: String,
    },
}

fn prefix(key: Option<&String>) -> String {
    key.map(|key| format!("{key}: ")).unwrap_or_default()
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
        ClientKind::Robot => parse("robot_rules.yaml", include_str!("../../../config/robot_rules.yaml")),
        ClientKind::Operator => parse("operator_rules.yaml", include_str!("../../../config/operator_rules.yaml")),
        // Somebody who only looks offers and calls nothing.
        ClientKind::Observer => {
            let mut rules = built_in(ClientKind::Operator)?;
            rules.offer.clear();
            rules.want.retain(|rule| rule.subject == Subject::Topic);
            Ok(rules)
        }
    }
}

/// Checks `text`, the contents of the rules file that messages call `file`.
///
/// # Errors
/// [`RulesFileError::Wrong`] names the file, the line, the key and the cure.
pub fn parse(file: &str, text: &str) -> Result<Rules, RulesFileError> {
    tree::with_root(Source::File(file), text, |root| {
        let mut rules = Rules::default();
        for (name, entry) in root.entries("sections")? {
            let section = Section::ALL.into_iter().find(|section| section.as_str() == name);
            let section = section.ok_or_else(|| entry.wrong("unknown section; use offer, want and accept"))?;
            for item in entry.items(defaults::INTERESTS_MAX)? {
                add(&mut rules, section, rule::parse(section, &item)?, root)?;
            }
        }
        Ok(rules)
    })
}

/// Checks `text`, one rule as it stands in a rules file, on one line: `/odom` or `{topic: /odom, rate: 10}`.
///
/// # Errors
/// [`RulesFileError::WrongRule`] names the key and the cure.
pub fn parse_rule(section: Section, text: &str) -> Result<Rule, RulesFileError> {
    if text.len() > defaults::RULE_MAX {
        let fault = format!("a rule of {} bytes is too long; use at most {}", text.len(), defaults::RULE_MAX);
        return Err(RulesFileError::WrongRule { key: None, fault });
    }
    tree::with_root(Source::Rule, text, |root| rule::parse(section, root))
}

fn add(rules: &mut Rules, section: Section, rule: Rule, root: &Node<'_>) -> Result<(), RulesFileError> {
    rules.add(section, rule, false).map(|_| ()).map_err(|_| {
        root.wrong(format!(
            "the rules in want and accept together are too many for the exchange; use at most {}, with wildcards",
            defaults::INTERESTS_MAX
        ))
    })
}
