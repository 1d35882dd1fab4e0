//! Rules files, from text to rules and to complaints.

use proptest::prelude::*;

use super::*;
use crate::{
    ids::RuleId,
    model::{Durability, Reliability},
    routes::{Pattern, QosOverride, Rename},
};

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
            .map(|rule| (rule.name.as_str(), rule.type_name.as_ref().map(Pattern::as_str), rule.max_rate, rule.never))
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
        ("offer: /odom\n", r#"rules.yaml:1: offer: "/odom" stands where a list belongs; begin each rule with "- ""#),
        (
            "offer:\n  - topic: /odom\n    typ: x/msg/Y\n",
            "rules.yaml:3: offer[0].typ: unknown key; use type, node, rate, latest_only, as, qos, or never",
        ),
        (
            "accept:\n  - topic: /cmd_vel\n    rate: 3\n",
            "rules.yaml:3: accept[0].rate: this key is not for a topic in accept; use type, as, qos, max_age, stop, exclusive, or never",
        ),
        (
            "offer:\n  - /a\n  - type: nav_msgs/msg/Odometry\n",
            r#"rules.yaml:3: offer[1]: the rule has no name; add "topic:" with a local name, such as /odom, "service:" or "action:""#,
        ),
        ("offer:\n  -\n", "rules.yaml:2: offer[0]: the rule is empty; write a local name, such as /odom"),
        (
            "offer:\n  - [/a]\n",
            "rules.yaml:2: offer[0]: a list stands where the keys of a rule with a colon after each name belong",
        ),
        ("offer:\n  - topic: 7\n", "rules.yaml:2: offer[0].topic: 7 stands where a local name, such as /odom belongs"),
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
            r#"rules.yaml:2: offer[0].never: "never" with a name stands alone in its rule; beside other keys write "never: true", and the name after topic, service or action"#,
        ),
        (
            "offer:\n  - topic: /odom\n    rate: 0.0001\n",
            "rules.yaml:3: offer[0].rate: 0.0001 is not a rate; use 0.001 to 1000000 messages per second, or leave it out for every message",
        ),
        (
            "want:\n  - /r1/odom\n  - /odom\n",
            r#"rules.yaml:3: want[1]: "/odom" is a name of one segment, and names on the exchange have the client's id in front; use "/*/odom" for all clients or "/r1/odom" for one"#,
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

#[test]
fn every_key_says_what_it_says() {
    let rules = parse(
        "rules.yaml",
        "
offer:
  - topic: /front/**
    type: sensor_msgs/msg/CompressedImage
    node: /camera/driver
    rate: 10
    latest_only: true
    as: /camera/**
    qos: {reliability: best_effort, durability: volatile, depth: 1}
  - {service: /set_mode, type: std_srvs/srv/SetBool, as: /mode}
  - {action: /dock}
  - {topic: /**, node: /secret/*, never: true}
want:
  - topic: /r1/odom
    as: /leader/odom
    qos: {depth: 5}
    max_age: 0.5
    prefix_frames: false
  - {service: /*/set_mode, timeout: 2.5}
  - {action: /**, type: nav2_msgs/action/*}
accept:
  - {topic: /cmd_vel, max_age: 0.2, stop: zero, exclusive: 3, as: /base/cmd_vel}
",
    )
    .unwrap();
    let named = |subject, name| Rule::new(subject, pattern(name));
    let renamed = |name, to| Rename::new(&pattern(name), to).ok();
    let millis = |millis| Some(std::time::Duration::from_millis(millis));
    let expected = [
        vec![
            Rule {
                type_name: Some(pattern("sensor_msgs/msg/CompressedImage")),
                node: Some(pattern("/camera/driver")),
                max_rate: Some(10.0),
                latest_only: true,
                rename: renamed("/front/**", "/camera/**"),
                qos: QosOverride {
                    reliability: Some(Reliability::BestEffort),
                    durability: Some(Durability::Volatile),
                    depth: Some(1),
                },
                ..named(Subject::Topic, "/front/**")
            },
            Rule {
                type_name: Some(pattern("std_srvs/srv/SetBool")),
                rename: renamed("/set_mode", "/mode"),
                ..named(Subject::Service, "/set_mode")
            },
            named(Subject::Action, "/dock"),
            Rule { node: Some(pattern("/secret/*")), never: true, ..named(Subject::Topic, "/**") },
        ],
        vec![
            Rule {
                rename: renamed("/r1/odom", "/leader/odom"),
                qos: QosOverride { depth: Some(5), ..QosOverride::default() },
                max_age: millis(500),
                prefix_frames: Some(false),
                ..named(Subject::Topic, "/r1/odom")
            },
            Rule { timeout: millis(2_500), ..named(Subject::Service, "/*/set_mode") },
            Rule { type_name: Some(pattern("nav2_msgs/action/*")), ..named(Subject::Action, "/**") },
        ],
        vec![Rule {
            rename: renamed("/cmd_vel", "/base/cmd_vel"),
            max_age: millis(200),
            stop: true,
            exclusive: millis(3_000),
            ..named(Subject::Topic, "/cmd_vel")
        }],
    ];
    for (section, expected) in Section::ALL.into_iter().zip(expected) {
        let read: Vec<Rule> =
            rules.section(section).iter().map(|rule| Rule { id: RuleId(0), ..rule.clone() }).collect();
        assert_eq!(read, expected.into_iter().map(Rule::with_text).collect::<Vec<_>>());
    }
}

#[test]
fn a_rule_by_itself_is_judged_without_a_file() {
    assert_eq!(parse_rule(Section::Offer, "/odom").unwrap().text, "{topic: /odom}");
    let rule = parse_rule(Section::Want, "{topic: '/*/{odom,scan}', rate: 10, qos: {depth: 1}}").unwrap();
    assert_eq!(rule.text, "{topic: '/*/{odom,scan}', rate: 10, qos: {depth: 1}}");
    assert_eq!(parse_rule(Section::Accept, "{never: /x}").unwrap().text, "{topic: /x, never: true}");
    let fault = |section, text: &str| parse_rule(section, text).unwrap_err().to_string();
    for (section, text, expected) in [
        (
            Section::Offer,
            "{topic: /odom, rate: often}",
            r#"rate: "often" is not a rate; use 0.001 to 1000000 messages per second, or leave it out for every message"#,
        ),
        (
            Section::Accept,
            "{topic: /x, rate: 1}",
            "rate: this key is not for a topic in accept; use type, as, qos, max_age, stop, exclusive, or never",
        ),
        (
            Section::Want,
            "{topic: /*/x, timeout: 1}",
            "timeout: this key is not for a topic in want; use type, rate, latest_only, as, qos, max_age, prefix_frames, or never",
        ),
        (
            Section::Want,
            "{service: /*/x, rate: 1}",
            "rate: this key is not for a service in want; use type, as, timeout, or never",
        ),
        (
            Section::Offer,
            "{topic: /x, never: true, rate: 1}",
            "rate: a rule that says never lets nothing pass, so this means nothing; use type, node, or never",
        ),
        (
            Section::Accept,
            "{service: /x}",
            "service: a service is not accepted but offered: write the rule into the section offer, and others may call it",
        ),
        (
            Section::Offer,
            "{topic: /x, service: /y}",
            "service: a rule has one name, and this one has another already; write a rule of its own for the service",
        ),
        (
            Section::Offer,
            "{service: /x, type: SetBool}",
            r#"type: "SetBool" is not a full type name; write it as package/srv/Type, such as std_srvs/srv/SetBool"#,
        ),
        (Section::Offer, "{topic: /x, latest_only: 1}", "latest_only: 1 is neither true nor false"),
        (
            Section::Offer,
            "{topic: /x, qos: {reliability: best}}",
            r#"qos.reliability: "best" is unknown; use reliable or best_effort"#,
        ),
        (
            Section::Offer,
            "{topic: /x, qos: {depth: 0}}",
            "qos.depth: 0 is not a depth; use 1 to 1000 messages, or leave it out for what the publishers have",
        ),
        (
            Section::Offer,
            "{topic: /x, qos: {history: all}}",
            "qos.history: unknown key; use reliability (reliable, best_effort), durability (transient_local, volatile) and depth",
        ),
        (
            Section::Offer,
            "{topic: /x, qos: {}}",
            "qos: nothing is named that should be replaced; use reliability (reliable, best_effort), durability (transient_local, volatile) and depth",
        ),
        (
            Section::Accept,
            "{topic: /x, max_age: 0}",
            "max_age: 0 is not an age; use 0.01 to 3600 seconds, or leave it out for messages of any age",
        ),
        (
            Section::Accept,
            "{topic: /x, stop: now}",
            r#"stop: "now" is not a stop; use "zero" for one message of zeros when the commander or the line goes, or leave it out"#,
        ),
        (
            Section::Want,
            "{topic: /*/odom, as: /odom}",
            r#"as: "/odom" is one name for everything that /*/odom stands for; rename one name, such as /odom, or a tree, such as /front/** as /camera/**"#,
        ),
        (Section::Want, "[/a]", "a list stands where the keys of a rule with a colon after each name belong"),
        (Section::Offer, "", "the rule is empty; write a local name, such as /odom"),
    ] {
        assert_eq!(fault(section, text), expected, "{text}");
    }
    let long = fault(Section::Offer, &"/x".repeat(3_000));
    assert_eq!(long, "a rule of 6000 bytes is too long; use at most 4096");
    assert!(fault(Section::Offer, "{topic: /x").starts_with("not valid YAML: "));
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

/// Rules with any keys that their section and subject allow.
fn any_rule() -> impl Strategy<Value = (Section, Rule)> {
    let section = proptest::sample::select(&Section::ALL[..]);
    let subject = proptest::sample::select(&[Subject::Topic, Subject::Service, Subject::Action][..]);
    let name = proptest::sample::select(&["/**", "/*/odom", "/r1/odom", "/r1/front/**", "/{a,b}/c?", "/r1/x_*"][..]);
    let type_name =
        proptest::option::of(proptest::sample::select(&["*/msg/X", "p/msg/{A,B}", "?/m/**", "p/srv/T"][..]));
    let millis = || proptest::option::of((10u64..3_600_000).prop_map(std::time::Duration::from_millis));
    let qos = (
        proptest::option::of(proptest::sample::select(&[Reliability::BestEffort, Reliability::Reliable][..])),
        proptest::option::of(proptest::sample::select(&[Durability::Volatile, Durability::TransientLocal][..])),
        proptest::option::of(1u32..1_000),
    )
        .prop_map(|(reliability, durability, depth)| QosOverride { reliability, durability, depth });
    let flags = proptest::array::uniform5(proptest::bool::ANY);
    let times = (millis(), millis(), millis(), proptest::option::of(0.001f64..1e6));
    (section, subject, name, type_name, qos, flags, times).prop_map(
        |(section, subject, name, type_name, qos, [never, node, latest, rename, stop], times)| {
            let subject = if section == Section::Accept { Subject::Topic } else { subject };
            let named = Rule::new(subject, pattern(name));
            let is = |section_is: bool| !never && subject == Subject::Topic && section_is;
            let rule = Rule {
                never,
                type_name: type_name.map(pattern),
                node: (node && section == Section::Offer).then(|| pattern("/nav/{a,b}*")),
                max_rate: times.3.filter(|_| is(section != Section::Accept)),
                latest_only: latest && is(section != Section::Accept),
                rename: ["/x/y", "/z/**"]
                    .iter()
                    .find_map(|to| Rename::new(&pattern(name), to).ok())
                    .filter(|_| rename && !never),
                qos: if is(true) { qos } else { QosOverride::default() },
                max_age: times.0.filter(|_| is(section != Section::Offer)),
                stop: stop && is(section == Section::Accept),
                exclusive: times.1.filter(|_| is(section == Section::Accept)),
                prefix_frames: Some(stop).filter(|_| latest && is(section == Section::Want)),
                timeout: times.2.filter(|_| !never && section == Section::Want && subject != Subject::Topic),
                ..named
            };
            (section, rule.with_text())
        },
    )
}

#[test]
fn the_example_in_the_readme_is_understood() {
    let readme = include_str!("../../../README.md");
    let examples: Vec<&str> = readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("```")?.0))
        .filter(|example| example.starts_with("offer:"))
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        parse("README.md", example).unwrap();
    }
    // And its table has every key, and the explanation in the built-in rules too.
    let explained = include_str!("../../../config/robot_rules.yaml");
    for key in rule::KEYS {
        assert!(readme.contains(&format!("| `{}", key.name)), "{} is not in the README", key.name);
        assert!(explained.contains(&format!("#   {}: ", key.name)), "{} is not explained", key.name);
    }
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_without_a_panic(text in "(offer|want|accept|topic|[-:{}\\[\\]*&!/ \n\"a]){0,40}") {
        let _ = parse("rules.yaml", &text);
    }

    #[test]
    fn the_text_of_a_rule_is_the_rule((section, rule) in any_rule()) {
        prop_assert!(!rule.text.contains('\n'));
        prop_assert_eq!(parse_rule(section, &rule.text).unwrap(), rule);
    }

    #[test]
    fn any_text_is_one_rule_or_refused_without_a_panic(text in "(topic|service|never|qos|/a|[-:{}\\[\\],*&!/ \n\"a]){0,40}") {
        let _ = parse_rule(Section::Offer, &text);
    }
}
