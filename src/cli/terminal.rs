//! The terminal: how wide it is, whether it has colours, and text that is drawn over itself.

use std::io::{self, IsTerminal as _, Write as _};

/// Columns that are assumed where there is no terminal.
const WIDTH: usize = 80;
const HEIGHT: usize = 24;
/// Columns for output that goes into a file or a pipe: nothing is cut that a program could need.
const PIPE_WIDTH: usize = 10_000;

/// Standard output, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terminal {
    pub(super) is_terminal: bool,
    /// Columns.
    pub(super) width: usize,
    /// Lines.
    pub(super) height: usize,
    pub(super) colour: bool,
}

impl Terminal {
    /// Looks at standard output and the environment.
    pub(super) fn of_this_process() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let size = if is_terminal { rustix::termios::tcgetwinsize(&stdout).ok() } else { None };
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let columns = variable("COLUMNS").and_then(|columns| columns.parse().ok());
        let fallback = if is_terminal { WIDTH } else { PIPE_WIDTH };
        Terminal {
            is_terminal,
            width: size.map(|size| usize::from(size.ws_col)).filter(|&width| width > 0).or(columns).unwrap_or(fallback),
            height: size.map(|size| usize::from(size.ws_row)).filter(|&height| height > 0).unwrap_or(HEIGHT),
            colour: wants_colour(is_terminal, variable("NO_COLOR").as_deref(), variable("TERM").as_deref()),
        }
    }
}

/// Colours are for people at terminals that have them and who did not say no (<https://no-color.org>).
fn wants_colour(is_terminal: bool, no_color: Option<&str>, term: Option<&str>) -> bool {
    is_terminal && no_color.is_none() && term != Some("dumb")
}

/// Writes `text` and what is buffered to standard output.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes `text` and a line break to standard output.
pub(super) fn print_line(text: &str) -> io::Result<()> {
    print(&format!("{text}\n"))
}

/// Text at the end of a terminal that is drawn over itself.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// Lines of what was drawn last.
    drawn: usize,
}

impl Screen {
    /// Draws `text` where the last text was. Its lines must not be wider than the terminal; lines that do not fit its
    /// height are left out, from the end.
    pub(super) fn draw(&mut self, text: &str, terminal: Terminal) -> io::Result<()> {
        let (frame, lines) = frame(text, self.drawn, terminal.height);
        self.drawn = lines;
        print(&frame)
    }
}

fn frame(text: &str, drawn: usize, height: usize) -> (String, usize) {
    let room = height.saturating_sub(1).max(1);
    let all = text.lines().count();
    let shown = if all > room { room - 1 } else { all };
    let mut frame = String::new();
    if drawn > 0 {
        frame.push_str(&format!("\x1b[{drawn}A"));
    }
    // To the end of the screen: the last text may have been longer.
    frame.push_str("\r\x1b[J");
    for line in text.lines().take(shown) {
        frame.push_str(line);
        frame.push('\n');
    }
    if all > shown {
        frame.push_str(&format!("… {} more lines\n", all - shown));
        return (frame, shown + 1);
    }
    (frame, shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_of_people_who_did_not_say_no() {
        assert!(wants_colour(true, None, Some("xterm")));
        assert!(!wants_colour(false, None, Some("xterm")));
        assert!(!wants_colour(true, Some("1"), Some("xterm")));
        assert!(!wants_colour(true, None, Some("dumb")));
    }

    #[test]
    fn a_frame_is_drawn_over_the_last_one() {
        assert_eq!(frame("a\nb\n", 0, 24), ("\r\x1b[Ja\nb\n".to_owned(), 2));
        assert_eq!(frame("c\n", 2, 24), ("\x1b[2A\r\x1b[Jc\n".to_owned(), 1));
    }

    #[test]
    fn a_low_terminal_says_that_there_is_more() {
        assert_eq!(frame("a\nb\nc\nd\n", 3, 4), ("\x1b[3A\r\x1b[Ja\nb\n… 2 more lines\n".to_owned(), 3));
    }
}
