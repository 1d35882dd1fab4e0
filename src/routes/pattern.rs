//! Glob patterns on ROS names.
//!
//! Patterns come from rules files and from remote peers, and the exchange holds a pattern per interest of every client.
//! A pattern is therefore matched as text, in its own few hundred bytes, and not compiled into an automaton.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::defaults;

/// A glob on ROS topic or type names, segment by segment.
///
/// | in a pattern | matches |
/// |---|---|
/// | `*` | any characters within one segment, none included |
/// | `?` | one character within a segment |
/// | `**` | as a whole segment: any number of segments; at the end of a pattern at least one |
/// | `{a,b}` | `a` or `b`; braces do not nest |
///
/// Segments that start with an underscore (hidden names in ROS) and the segments `rosout` and `parameter_events` are
/// matched only where the pattern spells them out: `/**` and `/*` pass over `/rosout` and `/_hidden/odom`, while
/// `/*/rosout` matches `/r1/rosout` and `/_*` matches `/_hidden`.
///
/// A pattern is at most [`defaults::NAME_MAX`] bytes long and stands for at most
/// [`defaults::PATTERN_ALTERNATIVES_MAX`] names once its braces are written out.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: Arc<str>,
    /// The text with its braces written out; empty if it has none.
    alternatives: Arc<[Box<str>]>,
}

/// Why a string is not a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern {given:?} {fault}")]
pub struct InvalidPattern {
    given: String,
    fault: Fault,
}

impl Pattern {
    /// Checks and wraps `text`.
    ///
    /// # Errors
    /// [`InvalidPattern`] names the pattern, what is wrong with it and what to write.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        // A hostile peer chooses this string: only its head goes into messages and logs.
        let invalid = |fault| InvalidPattern { given: text.chars().take(defaults::CLIENT_ID_MAX).collect(), fault };
        check_characters(text).map_err(invalid)?;
        let alternatives = if text.contains('{') { expand(text).map_err(invalid)? } else { Vec::new() };
        for plain in
            alternatives.iter().map(|alternative| &**alternative).chain(alternatives.is_empty().then_some(text))
        {
            check_segments(plain).map_err(invalid)?;
        }
        Ok(Self { text: text.into(), alternatives: alternatives.into() })
    }

    /// Whether `name`, a fully qualified topic name or a full type name, is one that the pattern stands for.
    pub fn matches(&self, name: &str) -> bool {
        if self.alternatives.is_empty() {
            plain_matches(&self.text, name)
        } else {
            self.alternatives.iter().any(|alternative| plain_matches(alternative, name))
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl std::hash::Hash for Pattern {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        Self::new(text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        Self::new(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text.as_ref().to_owned()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Empty,
    TooLong,
    Character(char),
    EmptySegment,
    MixedDoubleStar,
    Unbalanced,
    Nested,
    TooManyAlternatives,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Empty => f.write_str("is empty; write a name or a glob, such as \"/odom\" or \"/camera/**\""),
            Fault::TooLong => write!(f, "is longer than {} characters; shorten it with * or **", defaults::NAME_MAX),
            Fault::Character(c) => write!(
                f,
                "has the character {c:?}, which ROS names do not have; use letters, digits, _ and /, and the wildcards * ** ? {{a,b}}"
            ),
            Fault::EmptySegment => f.write_str("has an empty segment; write one / between segments and none at the end"),
            Fault::MixedDoubleStar => f.write_str(
                "has ** beside other characters; ** stands alone between slashes, as in \"/arm/**\", and * matches within a segment",
            ),
            Fault::Unbalanced => f.write_str("has a brace without its other half; write alternatives as {a,b}"),
            Fault::Nested => f.write_str("has braces inside braces; write the alternatives side by side, as in {a,b,c}"),
            Fault::TooManyAlternatives => write!(
                f,
                "stands for more than {} alternatives; use a wildcard or several rules",
                defaults::PATTERN_ALTERNATIVES_MAX
            ),
        }
    }
}

fn check_characters(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    if text.len() > defaults::NAME_MAX {
        return Err(Fault::TooLong);
    }
    let known = |c: char| c.is_ascii_alphanumeric() || "_/*?{},".contains(c);
    let mut in_braces = false;
    for c in text.chars() {
        match c {
            _ if !known(c) => return Err(Fault::Character(c)),
            '{' if in_braces => return Err(Fault::Nested),
            '{' => in_braces = true,
            '}' if !in_braces => return Err(Fault::Unbalanced),
            '}' => in_braces = false,
            ',' if !in_braces => return Err(Fault::Character(c)),
            _ => {}
        }
    }
    if in_braces { Err(Fault::Unbalanced) } else { Ok(()) }
}

/// Writes balanced, unnested braces out, from left to right.
fn expand(text: &str) -> Result<Vec<Box<str>>, Fault> {
    let mut heads = vec![String::new()];
    let mut rest = text;
    while let Some((before, (inside, after))) =
        rest.split_once('{').and_then(|(before, tail)| Some((before, tail.split_once('}')?)))
    {
        if heads.len() * inside.split(',').count() > defaults::PATTERN_ALTERNATIVES_MAX {
            return Err(Fault::TooManyAlternatives);
        }
        heads = heads.iter().flat_map(|head| inside.split(',').map(move |a| format!("{head}{before}{a}"))).collect();
        rest = after;
    }
    Ok(heads.into_iter().map(|head| (head + rest).into()).collect())
}

fn check_segments(plain: &str) -> Result<(), Fault> {
    let relative = plain.strip_prefix('/').unwrap_or(plain);
    for segment in relative.split('/') {
        if segment.is_empty() {
            return Err(Fault::EmptySegment);
        }
        if segment.contains("**") && segment != "**" {
            return Err(Fault::MixedDoubleStar);
        }
    }
    Ok(())
}

/// Matches a pattern without braces. When segments differ, the last `**` takes one segment more and matching goes on
/// from there. Earlier `**` need no second try: what a run of segments after a `**` matches first leaves the most to
/// the rest of the pattern, and whether a segment may be passed over is settled by the segment alone.
fn plain_matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.split('/'), name.split('/'));
    let mut last_double_star = None;
    loop {
        match pattern.next() {
            Some("**") if pattern.clone().next().is_none() => {
                return name.clone().next().is_some() && name.all(may_be_passed_over);
            }
            Some("**") => {
                last_double_star = Some((pattern.clone(), name.clone()));
                continue;
            }
            Some(wanted) => match name.next() {
                None => return false,
                Some(segment) if segment_matches(wanted, segment) => continue,
                Some(_) => {}
            },
            None if name.next().is_none() => return true,
            None => {}
        }
        let Some((after_double_star, from)) = &mut last_double_star else { return false };
        if !from.next().is_some_and(may_be_passed_over) {
            return false;
        }
        (pattern, name) = (after_double_star.clone(), from.clone());
    }
}

/// Whether a wildcard may stand for this segment.
fn may_be_passed_over(segment: &str) -> bool {
    !segment.starts_with('_') && !matches!(segment, "rosout" | "parameter_events")
}

fn segment_matches(pattern: &str, segment: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return pattern == segment;
    }
    let spelled_out = pattern.starts_with('_') || may_be_passed_over(segment);
    spelled_out && !segment.is_empty() && glob_matches(pattern.as_bytes(), segment.as_bytes())
}

/// The usual matching of `*` and `?`: after a difference, the last `*` takes one byte more.
fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after_star, from)) = &mut last_star else { return false };
                *from += 1;
                (p, t) = (*after_star, *from);
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    #[test]
    fn matches_as_the_table_says() {
        for (glob, yes, no) in [
            ("/odom", vec!["/odom"], vec!["/odom2", "/r1/odom", "odom", ""]),
            ("/*/odom", vec!["/r1/odom"], vec!["/odom", "/a/b/odom", "/r1/odom/x"]),
            ("/arm*/x", vec!["/arm/x", "/arm2/x"], vec!["/ar/x", "/arm/y/x"]),
            ("/joint_?", vec!["/joint_1"], vec!["/joint_", "/joint_12"]),
            ("/**", vec!["/odom", "/a/b/c"], vec!["/rosout"]),
            ("/arm/**", vec!["/arm/x", "/arm/x/y"], vec!["/arm", "/arms/x"]),
            ("/**/image", vec!["/image", "/a/image", "/a/b/image"], vec!["/image/x"]),
            ("/a/**/b/**/c", vec!["/a/b/c", "/a/x/b/y/z/c", "/a/b/b/c"], vec!["/a/c", "/a/b", "/a/x/c"]),
            ("/{odom,tf}", vec!["/odom", "/tf"], vec!["/odom,tf", "/tf_static"]),
            ("/{cam,arm/cam}/{a,b}*", vec!["/cam/a", "/arm/cam/bx"], vec!["/arm/a", "/cam/c"]),
            ("nav_msgs/msg/*", vec!["nav_msgs/msg/Odometry"], vec!["nav_msgs/srv/GetMap"]),
            ("**/msg/Twist", vec!["geometry_msgs/msg/Twist"], vec!["geometry_msgs/msg/TwistStamped"]),
        ] {
            for name in yes {
                assert!(pattern(glob).matches(name), "{glob} should match {name}");
            }
            for name in no {
                assert!(!pattern(glob).matches(name), "{glob} should not match {name}");
            }
        }
    }

    #[test]
    fn wildcards_pass_over_hidden_names_and_the_topics_of_ros_itself() {
        for glob in ["/**", "/*", "/*/*", "/**/*", "/?*", "/*t"] {
            for name in ["/rosout", "/parameter_events", "/r1/rosout", "/_hidden", "/r1/_hidden", "/_action/x"] {
                assert!(!pattern(glob).matches(name), "{glob} should not match {name}");
            }
        }
        for (glob, name) in [
            ("/rosout", "/rosout"),
            ("/*/rosout", "/r1/rosout"),
            ("/**/rosout", "/a/b/rosout"),
            ("/{odom,parameter_events}", "/parameter_events"),
            ("/_*", "/_hidden"),
            ("/*/_action/**", "/fibonacci/_action/feedback"),
        ] {
            assert!(pattern(glob).matches(name), "{glob} should match {name}");
        }
    }

    #[test]
    fn faults_are_named_with_their_cure() {
        for (text, expected) in [
            ("", r#"pattern "" is empty; write a name or a glob, such as "/odom" or "/camera/**""#),
            (
                "/odom\n",
                r#"pattern "/odom\n" has the character '\n', which ROS names do not have; use letters, digits, _ and /, and the wildcards * ** ? {a,b}"#,
            ),
            (
                "/a,b",
                r#"pattern "/a,b" has the character ',', which ROS names do not have; use letters, digits, _ and /, and the wildcards * ** ? {a,b}"#,
            ),
            ("/odom/", r#"pattern "/odom/" has an empty segment; write one / between segments and none at the end"#),
            ("/", r#"pattern "/" has an empty segment; write one / between segments and none at the end"#),
            ("/{a,}/b", r#"pattern "/{a,}/b" has an empty segment; write one / between segments and none at the end"#),
            (
                "/arm**",
                r#"pattern "/arm**" has ** beside other characters; ** stands alone between slashes, as in "/arm/**", and * matches within a segment"#,
            ),
            ("/{a,b", r#"pattern "/{a,b" has a brace without its other half; write alternatives as {a,b}"#),
            ("/a}", r#"pattern "/a}" has a brace without its other half; write alternatives as {a,b}"#),
            (
                "/{a,{b,c}}",
                r#"pattern "/{a,{b,c}}" has braces inside braces; write the alternatives side by side, as in {a,b,c}"#,
            ),
            (
                "/{a,b,c}{a,b,c}{a,b,c}",
                r#"pattern "/{a,b,c}{a,b,c}{a,b,c}" stands for more than 16 alternatives; use a wildcard or several rules"#,
            ),
        ] {
            assert_eq!(Pattern::new(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_hostile_pattern_is_refused_with_a_short_message() {
        let message = Pattern::new(&"/x".repeat(100_000)).unwrap_err().to_string();
        assert!(message.contains("is longer than 256 characters; shorten it with * or **"), "{message}");
        assert!(message.len() < 300, "{}", message.len());
    }

    #[test]
    fn deserialising_checks_too() {
        let there_and_back: Pattern =
            postcard::from_bytes(&postcard::to_stdvec(&pattern("/{a,b}/**")).unwrap()).unwrap();
        assert!(there_and_back.matches("/b/x"));
        assert!(postcard::from_bytes::<Pattern>(&postcard::to_stdvec("/a[0-9]").unwrap()).is_err());
    }

    #[test]
    fn the_worst_pattern_against_the_worst_name_is_decided_in_a_moment() {
        let stars = "/*a".repeat(84);
        let double_stars = format!("/{}b", "**/a/".repeat(50));
        let names = ["/a".repeat(127), format!("/{}", "a".repeat(254))];
        let start = std::time::Instant::now();
        for _ in 0..100 {
            for glob in [&stars, &double_stars] {
                for name in &names {
                    pattern(glob).matches(name);
                }
            }
        }
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }

    /// The definition, tried in every way: exponential, and therefore only for short names.
    fn reference(pattern: &[&str], name: &[&str]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((&"**", rest)) => {
                let fewest = usize::from(rest.is_empty());
                (fewest..=name.len())
                    .any(|n| name[..n].iter().all(|segment| may_be_passed_over(segment)) && reference(rest, &name[n..]))
            }
            Some((wanted, rest)) => name
                .split_first()
                .is_some_and(|(segment, tail)| segment_reference(wanted, segment) && reference(rest, tail)),
        }
    }

    fn segment_reference(pattern: &str, segment: &str) -> bool {
        fn glob(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|n| glob(rest, &text[n..])),
                Some((c, rest)) => {
                    text.split_first().is_some_and(|(t, tail)| (*c == b'?' || c == t) && glob(rest, tail))
                }
            }
        }
        let wild = pattern.contains(['*', '?']);
        let hidden = matches!(segment, "rosout" | "parameter_events") || segment.starts_with('_');
        glob(pattern.as_bytes(), segment.as_bytes())
            && (!wild || !segment.is_empty() && (!hidden || pattern.starts_with('_')))
    }

    proptest! {
        #[test]
        fn matching_follows_the_definition(
            glob in "/?([ab_*?]{1,3}|\\*\\*|rosout)(/([ab_*?]{1,3}|\\*\\*|rosout)){0,5}",
            name in "/?([ab_]{1,3}|rosout)(/([ab_]{1,3}|rosout)){0,5}",
        ) {
            let Ok(pattern) = Pattern::new(&glob) else { return Ok(()) };
            let (segments, names): (Vec<_>, Vec<_>) = (glob.split('/').collect(), name.split('/').collect());
            prop_assert_eq!(pattern.matches(&name), reference(&segments, &names), "{} on {}", glob, name);
        }

        #[test]
        fn any_text_is_taken_or_refused_without_a_panic(text in ".{0,300}", name in ".{0,100}") {
            if let Ok(pattern) = Pattern::new(&text) {
                pattern.matches(&name);
                prop_assert_eq!(pattern.as_str(), text);
            }
        }

        #[test]
        fn alternatives_stay_within_their_bound(text in "[a{},/*]{0,60}") {
            if let Ok(pattern) = Pattern::new(&text) {
                prop_assert!(pattern.alternatives.len() <= defaults::PATTERN_ALTERNATIVES_MAX);
            }
        }
    }
}
