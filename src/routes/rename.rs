//! What something is called on the other side of a route.

use super::{Pattern, names};
use crate::wire::is_topic_name;

/// A rule's `as`: one name for another, or one tree of names for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The name, or what stands before the `**`, slash included.
    from: String,
    to: String,
    tree: bool,
}

/// Why something cannot be renamed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRename {
    /// The rule stands for several names, and the new name for one.
    #[error(
        "{to:?} is one name for everything that {from} stands for; rename one name, such as /odom, or a tree, such as /front/** as /camera/**"
    )]
    Ambiguous {
        /// The rule's pattern.
        from: String,
        /// The new name.
        to: String,
    },
    /// The new name is none.
    #[error(
        "{0:?} is not a full topic or service name; use segments of letters, digits and underscores, such as /leader/odom"
    )]
    Name(String),
}

impl Rename {
    /// What is called `from` becomes `to`: either both plain names, or both a tree (`/front/**` as `/camera/**`).
    ///
    /// # Errors
    /// [`InvalidRename`] names the value and the cure.
    pub fn new(from: &Pattern, to: &str) -> Result<Rename, InvalidRename> {
        let plain = |text: &str| is_topic_name(text);
        let ambiguous = || InvalidRename::Ambiguous { from: from.to_string(), to: to.to_owned() };
        match (tree_of(from.as_str()), tree_of(to)) {
            (Some(from), Some(to))
                if (from == "/" || plain(from.trim_end_matches('/')))
                    && (to == "/" || plain(to.trim_end_matches('/'))) =>
            {
                Ok(Rename { from: from.to_owned(), to: to.to_owned(), tree: true })
            }
            (None, None) if plain(from.as_str()) && plain(to) => {
                Ok(Rename { from: from.to_string(), to: to.to_owned(), tree: false })
            }
            (_, None) if !plain(to) => Err(InvalidRename::Name(to.to_owned())),
            _ => Err(ambiguous()),
        }
    }

    /// What stands after `as` in the rule.
    pub fn target(&self) -> String {
        if self.tree { format!("{}**", self.to) } else { self.to.clone() }
    }

    /// The new name of `name`; the parts of an action follow their action. Other names stay as they are.
    pub fn apply(&self, name: &str) -> String {
        if self.tree {
            return name.strip_prefix(&self.from).map_or_else(|| name.to_owned(), |rest| format!("{}{rest}", self.to));
        }
        match names::action_of(name) {
            Some(action) if action == self.from => format!("{}{}", self.to, &name[action.len()..]),
            _ if name == self.from => self.to.clone(),
            _ => name.to_owned(),
        }
    }
}

/// `/a/` of `/a/**`.
fn tree_of(text: &str) -> Option<&str> {
    text.strip_suffix("**").filter(|rest| rest.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(from: &str, to: &str) -> Result<Rename, InvalidRename> {
        Rename::new(&Pattern::new(from).unwrap(), to)
    }

    #[test]
    fn names_trees_and_actions_are_renamed() {
        assert_eq!(rename("/odom", "/base/odom").unwrap().apply("/odom"), "/base/odom");
        let tree = rename("/front/**", "/camera/**").unwrap();
        assert_eq!(tree.apply("/front/image/compressed"), "/camera/image/compressed");
        assert_eq!(tree.apply("/rear/image"), "/rear/image");
        assert_eq!(rename("/r1/**", "/**").unwrap().apply("/r1/odom"), "/odom");
        assert_eq!(rename("/spin", "/turn").unwrap().apply("/spin/_action/status"), "/turn/_action/status");
    }

    #[test]
    fn what_cannot_be_is_said_with_the_cure() {
        for (from, to, words) in [
            ("/*/odom", "/odom", "one name for everything"),
            ("/odom", "odom", "not a full topic"),
            ("/odom", "/a/**", "one name for everything"),
            ("/*/a/**", "/b/**", "one name for everything"),
        ] {
            let message = rename(from, to).unwrap_err().to_string();
            assert!(message.contains(words), "{from} as {to}: {message}");
        }
    }
}
