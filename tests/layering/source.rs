//! Just enough of Rust's grammar to find the paths that a file uses.

/// A path and where it begins.
#[derive(Debug, PartialEq)]
pub(crate) struct FoundPath {
    /// Its segments, with the groups of `use` declarations written out.
    pub(crate) path: Vec<String>,
    /// Line, counted from 1.
    pub(crate) line: usize,
}

/// Every path of at least two segments in `text`, and every single name in a `use`, items for tests left out.
pub(crate) fn paths_of(text: &str) -> Vec<FoundPath> {
    let tokens = without_test_items(tokens_of(text));
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let in_use = at > 0 && tokens[at - 1].text == "use";
        let (next, paths) = path_at(&tokens, at);
        if next == at {
            at += 1;
            continue;
        }
        let line = tokens[at].line;
        found.extend(paths.into_iter().filter(|path| in_use || path.len() > 1).map(|path| FoundPath { path, line }));
        at = next;
    }
    found
}

/// The modules that `text` declares at its top level.
pub(crate) fn modules_of(text: &str) -> Vec<String> {
    let tokens = tokens_of(text);
    let mut depth = 0;
    let mut modules = Vec::new();
    for pair in tokens.windows(2) {
        match pair[0].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "mod" if depth == 0 => modules.push(pair[1].text.clone()),
            _ => {}
        }
    }
    modules
}

#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

/// The path that begins at `at` and the index after it: `a::b::{c, d::e}` is `a::b::c` and `a::b::d::e`.
fn path_at(tokens: &[Token], at: usize) -> (usize, Vec<Vec<String>>) {
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    let mut at = at;
    if text(at) == "::" {
        at += 1;
    }
    if !is_name(text(at)) {
        return (at, Vec::new());
    }
    let mut path = vec![text(at).to_owned()];
    at += 1;
    while text(at) == "::" {
        at += 1;
        if text(at) == "{" {
            let mut all = Vec::new();
            at += 1;
            while at < tokens.len() && text(at) != "}" {
                let (next, tails) = path_at(tokens, at);
                all.extend(tails.into_iter().map(|tail| path.iter().cloned().chain(tail).collect()));
                at = next.max(at + usize::from(next == at));
            }
            return (at + 1, all);
        }
        if !is_name(text(at)) {
            break;
        }
        path.push(text(at).to_owned());
        at += 1;
    }
    (at, vec![path])
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && !matches!(
            text,
            "use" | "pub" | "as" | "mod" | "fn" | "impl" | "dyn" | "in" | "for" | "where" | "mut" | "ref"
        )
}

/// Leaves out every item that follows `#[cfg(test)]`.
fn without_test_items(tokens: Vec<Token>) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        kept.push(token);
        let marked = kept.len() >= MARK.len()
            && kept[kept.len() - MARK.len()..].iter().map(|token| token.text.as_str()).eq(MARK);
        if !marked {
            continue;
        }
        kept.truncate(kept.len() - MARK.len());
        // To the end of the item: its block, or its semicolon if it has none.
        let mut depth = 0;
        for token in rest.by_ref() {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                ";" => {}
                _ => continue,
            }
            if depth == 0 {
                break;
            }
        }
    }
    kept
}

/// Names, `::` and single other characters; comments, strings, characters and lifetimes are left out.
fn tokens_of(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
        let start = at;
        match chars[at] {
            '/' if next(1) == '/' => at = end_of_line(&chars, at),
            '/' if next(1) == '*' => at = end_of_comment(&chars, at),
            '"' => at = end_of_string(&chars, at),
            '\'' => at = end_of_character_or_lifetime(&chars, at),
            ':' if next(1) == ':' => {
                tokens.push(Token { text: "::".to_owned(), line });
                at += 2;
            }
            c if c.is_alphanumeric() || c == '_' => {
                while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                    at += 1;
                }
                let word: String = chars[start..at].iter().collect();
                match end_of_raw_string(&chars, at) {
                    Some(end) if matches!(word.as_str(), "r" | "br" | "cr") => at = end,
                    _ if matches!(word.as_str(), "b" | "c") && chars.get(at) == Some(&'"') => {
                        at = end_of_string(&chars, at)
                    }
                    _ => tokens.push(Token { text: word, line }),
                }
            }
            c if c.is_whitespace() => at += 1,
            c => {
                tokens.push(Token { text: c.to_string(), line });
                at += 1;
            }
        }
        line += chars[start..at].iter().filter(|&&c| c == '\n').count();
    }
    tokens
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| at + length)
}

fn end_of_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != '"' {
        at += 1 + usize::from(chars[at] == '\\');
    }
    (at + 1).min(chars.len())
}

/// The end of the raw string whose hashes and quote begin at `at`.
fn end_of_raw_string(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|&&c| c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let mut close = at + hashes + 1;
    while close < chars.len() {
        if chars[close] == '"' && chars[close + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes {
            return Some(close + 1 + hashes);
        }
        close += 1;
    }
    Some(chars.len())
}

fn end_of_character_or_lifetime(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        let close = chars[at + 3..].iter().position(|&c| c == '\'').map_or(chars.len(), |length| at + 3 + length + 1);
        return close.min(chars.len());
    }
    if chars.get(at + 2) == Some(&'\'') {
        return at + 3;
    }
    // A lifetime: its name goes too.
    let mut end = at + 1;
    while end < chars.len() && (chars[end].is_alphanumeric() || chars[end] == '_') {
        end += 1;
    }
    end
}
