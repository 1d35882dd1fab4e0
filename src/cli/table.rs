//! Tables of text for terminals: columns are as wide as their content, and as many as fit.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Between two columns.
const GAP: &str = "  ";
/// Narrowest that a column is cut to before columns are dropped.
const CUT_MIN: usize = 8;

/// A column of a [`Table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) align: Align,
    /// Dropped in this order when the terminal is too narrow, 1 first; 0 is never dropped.
    pub(super) drop: u8,
    /// Cut in the middle of a terminal that is too narrow, before any column is dropped.
    pub(super) flexible: bool,
}

/// On which side the content of a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

impl Column {
    pub(super) const fn new(title: &'static str, align: Align, drop: u8) -> Self {
        Column { title, align, drop, flexible: false }
    }

    pub(super) const fn flexible(self) -> Self {
        Column { flexible: true, ..self }
    }
}

/// What a cell says, and how it is coloured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cell {
    text: String,
    paint: Paint,
}

/// A colour, by what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Paint {
    #[default]
    Plain,
    Good,
    Doubtful,
    Bad,
    Faint,
    Strong,
}

impl Paint {
    /// `text` in this colour, if colours are wanted.
    pub(super) fn apply(self, text: &str, colour: bool) -> String {
        let code = match self {
            Paint::Plain => return text.to_owned(),
            Paint::Good => "32",
            Paint::Doubtful => "33",
            Paint::Bad => "31",
            Paint::Faint => "2",
            Paint::Strong => "1",
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Cell {
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        Cell { text: harmless(text.as_ref()), paint: Paint::Plain }
    }

    pub(super) fn painted(text: impl AsRef<str>, paint: Paint) -> Self {
        Cell { paint, ..Cell::new(text) }
    }
}

/// A table. Every row has a cell for each column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Table { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row; cells that are missing are empty, surplus ones are left out.
    pub(super) fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = row.into_iter().collect();
        row.resize(self.columns.len(), Cell::default());
        self.rows.push(row);
    }

    /// The table as lines of at most `width` columns of the terminal, if that is possible with the columns that are
    /// never dropped.
    pub(super) fn render(&self, width: usize, colour: bool) -> String {
        let layout = self.layout(width);
        let mut lines = String::new();
        let titles: Vec<Cell> = self.columns.iter().map(|column| Cell::painted(column.title, Paint::Strong)).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let last = layout.last().map(|&(index, _)| index);
            let mut line = String::new();
            for &(index, width) in &layout {
                if !line.is_empty() {
                    line.push_str(GAP);
                }
                let padded = pad(&row[index].text, width, self.columns[index].align, Some(index) == last);
                line.push_str(&row[index].paint.apply(&padded, colour));
            }
            lines.push_str(line.trim_end());
            lines.push('\n');
        }
        lines
    }

    /// The columns that are shown, with their widths.
    fn layout(&self, width: usize) -> Vec<(usize, usize)> {
        let mut layout: Vec<(usize, usize)> =
            (0..self.columns.len()).map(|index| (index, self.natural(index))).collect();
        loop {
            let total =
                layout.iter().map(|&(_, width)| width).sum::<usize>() + GAP.len() * layout.len().saturating_sub(1);
            let Some(surplus) = total.checked_sub(width).filter(|&surplus| surplus > 0) else { return layout };
            let widest_flexible = layout
                .iter_mut()
                .filter(|(index, width)| self.columns[*index].flexible && *width > CUT_MIN)
                .max_by_key(|(_, width)| *width);
            if let Some((_, width)) = widest_flexible {
                *width -= surplus.min(*width - CUT_MIN);
                continue;
            }
            let next = layout
                .iter()
                .enumerate()
                .filter(|(_, (index, _))| self.columns[*index].drop > 0)
                .min_by_key(|(_, (index, _))| self.columns[*index].drop)
                .map(|(position, _)| position);
            let Some(position) = next else { return layout };
            layout.remove(position);
            // There is more room now: what was cut may become wider again.
            for (index, width) in &mut layout {
                *width = self.natural(*index);
            }
        }
    }

    fn natural(&self, index: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[index].text.width());
        cells.chain([self.columns[index].title.width()]).max().unwrap_or_default()
    }
}

fn pad(text: &str, width: usize, align: Align, is_last: bool) -> String {
    let text = cut(text, width);
    let fill = " ".repeat(width.saturating_sub(text.width()));
    match align {
        Align::Left if is_last => text,
        Align::Left => text + &fill,
        Align::Right => fill + &text,
    }
}

/// `text`, or its beginning and an ellipsis, in at most `width` columns of the terminal.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shortened = String::new();
    let mut used = 0;
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        shortened.push(character);
    }
    if width > 0 {
        shortened.push('…');
    }
    shortened
}

/// `text` in lines of at most `width` columns of the terminal, broken between words; all but the first are indented.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    const INDENT: &str = "    ";
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let word = cut(word, width.saturating_sub(INDENT.len()));
        if used > 0 && used + 1 + word.width() > width {
            lines.push('\n');
            lines.push_str(INDENT);
            used = INDENT.len();
        } else if used > 0 {
            lines.push(' ');
            used += 1;
        }
        used += word.width();
        lines.push_str(&word);
    }
    lines.push('\n');
    lines
}

/// `text` without anything that would steer the terminal: names and reasons come from remote machines.
pub(super) fn harmless(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([
            Column::new("ID", Align::Left, 0),
            Column::new("STATE", Align::Left, 0),
            Column::new("IN", Align::Right, 2),
            Column::new("ADDRESS", Align::Left, 1),
            Column::new("NOTE", Align::Left, 3).flexible(),
        ]);
        table.push(["r1", "ON", "12.3 kB", "127.0.0.1:40000", "the first robot of two"].map(Cell::new));
        table.push([Cell::new("alice"), Cell::painted("OFF", Paint::Bad), Cell::new("0 B")]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_content() {
        assert_eq!(
            table().render(80, false),
            "ID     STATE       IN  ADDRESS          NOTE\n\
             r1     ON     12.3 kB  127.0.0.1:40000  the first robot of two\n\
             alice  OFF        0 B\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_what_is_flexible_and_then_drops_in_the_stated_order() {
        assert_eq!(
            table().render(55, false),
            "ID     STATE       IN  ADDRESS          NOTE\n\
             r1     ON     12.3 kB  127.0.0.1:40000  the first robo…\n\
             alice  OFF        0 B\n"
        );
        assert_eq!(
            table().render(40, false),
            "ID     STATE       IN  NOTE\n\
             r1     ON     12.3 kB  the first robot …\n\
             alice  OFF        0 B\n"
        );
        assert_eq!(table().render(25, false), "ID     STATE  NOTE\nr1     ON     the first …\nalice  OFF\n");
        assert_eq!(table().render(15, false), "ID     STATE\nr1     ON\nalice  OFF\n");
        assert_eq!(table().render(1, false), "ID     STATE\nr1     ON\nalice  OFF\n");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 12..100 {
            for line in table().render(width, false).lines() {
                assert!(line.width() <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let coloured = table().render(80, true);
        assert!(coloured.contains("\x1b[31mOFF  \x1b[0m"), "{coloured:?}");
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        let trimmed: Vec<&str> = plain.lines().map(str::trim_end).collect();
        assert_eq!(trimmed, table().render(80, false).lines().collect::<Vec<_>>());
    }

    #[test]
    fn what_a_remote_machine_says_cannot_steer_the_terminal() {
        let cell = Cell::new("\x1b[2Jgone\r\n\u{202e}x");
        assert_eq!(cell.text, "\u{fffd}[2Jgone\u{fffd}\u{fffd}\u{fffd}x");
    }

    #[test]
    fn wide_characters_are_counted_as_the_terminal_does() {
        assert_eq!(cut("ロボット", 5), "ロボ…");
        let mut table = Table::new([Column::new("A", Align::Left, 0), Column::new("B", Align::Left, 0)]);
        table.push(["ロボ", "x"].map(Cell::new));
        table.push(["r1", "y"].map(Cell::new));
        assert_eq!(table.render(80, false), "A     B\nロボ  x\nr1    y\n");
    }
}
