//! Names of the parts of actions (`rcl_action_get_*_name`, design.ros2.org/articles/actions.html).

use super::Pattern;

/// What stands between the name of an action and those of its parts.
const INFIX: &str = "/_action/";

/// The action that a topic or service of this name belongs to: `/spin` for `/spin/_action/send_goal`.
pub fn action_of(name: &str) -> Option<&str> {
    name.split_once(INFIX).map(|(action, _)| action)
}

/// Whether a service of this name gives the result of a goal.
pub fn is_get_result(service: &str) -> bool {
    service.ends_with("/_action/get_result")
}

/// The type of the action that a part of this type belongs to: `nav2_msgs/action/Spin` for `nav2_msgs/action/Spin_SendGoal`.
/// `None` for the parts that every action has in common.
pub fn action_type_of(type_name: &str) -> Option<&str> {
    if !type_name.contains("/action/") {
        return None;
    }
    ["_SendGoal", "_GetResult", "_FeedbackMessage"].iter().find_map(|suffix| type_name.strip_suffix(suffix))
}

/// Patterns that stand for `parts` of the actions of that name. A pattern whose braces would multiply beyond the limit is
/// widened: whoever asks with it applies its rules again.
pub(super) fn action_patterns(name: &Pattern, parts: &str) -> Vec<String> {
    let narrow = format!("{name}{INFIX}{parts}");
    vec![if Pattern::new(&narrow).is_ok() { narrow } else { format!("/**{INFIX}{parts}") }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lead_to_their_action() {
        assert_eq!(action_of("/a/spin/_action/status"), Some("/a/spin"));
        assert_eq!(action_of("/a/spin"), None);
        assert_eq!(action_type_of("p/action/T_FeedbackMessage"), Some("p/action/T"));
        assert_eq!(action_type_of("action_msgs/srv/CancelGoal"), None);
        assert_eq!(action_type_of("p/msg/T_SendGoal"), None);
        assert!(is_get_result("/spin/_action/get_result") && !is_get_result("/get_result"));
    }

    #[test]
    fn a_pattern_with_too_many_braces_is_widened() {
        let wide = Pattern::new("/{a,b,c,d}/{e,f,g,h}").unwrap();
        let patterns = action_patterns(&wide, "{feedback,status}");
        assert_eq!(patterns, ["/**/_action/{feedback,status}"]);
        assert!(Pattern::new(&patterns[0]).unwrap().matches("/a/e/_action/status"));
    }
}
