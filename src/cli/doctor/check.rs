//! A check of the doctor, and how it is shown.

use crate::cli::table::{Paint, cut, harmless};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Ok,
    /// It may work, but not as it should, or not for everybody.
    Warn,
    /// It cannot work.
    Fail,
}

/// A check and what came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) verdict: Verdict,
    pub(super) finding: String,
    /// What to do; empty if all is well.
    pub(super) cure: String,
}

const WHAT_WIDTH: usize = 16;

impl Check {
    pub(super) fn ok(what: &'static str, finding: impl Into<String>) -> Self {
        Check { what, verdict: Verdict::Ok, finding: finding.into(), cure: String::new() }
    }

    pub(super) fn warn(what: &'static str, finding: impl Into<String>, cure: impl Into<String>) -> Self {
        Check { what, verdict: Verdict::Warn, finding: finding.into(), cure: cure.into() }
    }

    pub(super) fn fail(what: &'static str, finding: impl Into<String>, cure: impl Into<String>) -> Self {
        Check { what, verdict: Verdict::Fail, finding: finding.into(), cure: cure.into() }
    }

    /// The check as one line, and its cure as lines below it, wrapped for a terminal of `width` columns.
    pub(super) fn render(&self, width: usize, colour: bool) -> String {
        let (word, paint) = match self.verdict {
            Verdict::Ok => ("ok  ", Paint::Good),
            Verdict::Warn => ("warn", Paint::Doubtful),
            Verdict::Fail => ("FAIL", Paint::Bad),
        };
        let indent = word.len() + 2 + WHAT_WIDTH + 2;
        let room = width.saturating_sub(indent).max(30);
        let mut text = format!("{}  {:WHAT_WIDTH$}  ", paint.apply(word, colour), self.what);
        let cure = if self.cure.is_empty() { String::new() } else { format!("→ {}", self.cure) };
        let findings = wrapped(&harmless(&self.finding), room);
        for (number, line) in findings.into_iter().chain(wrapped(&harmless(&cure), room)).enumerate() {
            if number > 0 {
                text.push_str(&" ".repeat(indent));
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// How it came out altogether.
pub(super) fn verdict_line(checks: &[Check]) -> String {
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let of = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    match (count(Verdict::Fail), count(Verdict::Warn)) {
        (0, 0) => "everything is well".to_owned(),
        (0, warnings) => format!("nothing fails; {}", of(warnings, "warning")),
        (failures, warnings) => format!("{}, {}", of(failures, "failure"), of(warnings, "warning")),
    }
}

/// `text` in lines of at most `width` columns, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word, width.max(word.len()))),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_what_was_found_and_what_to_do() {
        let check =
            Check::fail("middleware", "it is not installed, so nothing can be said", "install it, and start again");
        assert_eq!(
            check.render(60, false),
            "FAIL  middleware        it is not installed, so nothing can\n                        be said\n                        → install it, and start again\n"
        );
        assert_eq!(Check::ok("clock", "fine").render(80, true), "\x1b[32mok  \x1b[0m  clock             fine\n");
    }

    #[test]
    fn the_last_line_counts() {
        let (ok, warn, fail) = (Check::ok("a", ""), Check::warn("b", "", ""), Check::fail("c", "", ""));
        assert_eq!(verdict_line(std::slice::from_ref(&ok)), "everything is well");
        assert_eq!(verdict_line(&[ok.clone(), warn.clone()]), "nothing fails; 1 warning");
        assert_eq!(verdict_line(&[ok, warn.clone(), warn, fail]), "1 failure, 2 warnings");
    }
}
