//! Reads Rust well enough to hold it to rules: blanks comments and literals, measures functions, and lists
//! the identifiers and paths that a file names. No parser: what it does not understand, it lets pass.

/// A word or a mark of blanked code, and the line it stands on (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

impl Token {
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first == '_' || first.is_alphabetic())
    }
}

/// A function: its name, where it begins, and how many lines it takes up to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) lines: usize,
}

/// A path such as `crate::types::Term`, cut into its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) parts: Vec<String>,
    pub(super) line: usize,
}

/// The source with every comment and literal blanked; lines and columns stay where they were.
pub(super) fn code_of(source: &str) -> String {
    let source: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < source.len() {
        let end = literal_or_comment(&source, at);
        if end > at {
            code.extend(source[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            code.push(source[at]);
            at += 1;
        }
    }
    code
}

/// Where the literal or comment that begins at `at` ends; `at` itself where none begins.
fn literal_or_comment(source: &[char], at: usize) -> usize {
    let next = |offset: usize| source.get(at + offset).copied().unwrap_or('\0');
    match (source[at], next(1)) {
        ('/', '/') => position(source, at, |c| c == '\n'),
        ('/', '*') => end_of_block_comment(source, at),
        ('"', _) => end_of_string(source, at + 1),
        ('r' | 'b' | 'c', _) if at == 0 || !is_word_character(source[at - 1]) => {
            end_of_raw_string(source, at)
        }
        ('\'', '\\') => position(source, at + 3, |c| c == '\'') + 1,
        ('\'', _) if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn position(source: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..source.len()).find(|at| wanted(source[*at])).unwrap_or(source.len())
}

fn end_of_block_comment(source: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut here = at;
    while here + 1 < source.len() {
        match (source[here], source[here + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                here += 1;
                continue;
            }
        }
        here += 2;
        if depth == 0 {
            return here;
        }
    }
    source.len()
}

fn end_of_string(source: &[char], from: usize) -> usize {
    let mut here = from;
    while here < source.len() {
        match source[here] {
            '"' => return here + 1,
            '\\' => here += 2,
            _ => here += 1,
        }
    }
    source.len()
}

/// For `r"..."`, `r#"..."#`, and the same with `b` or `c` in front; `at` itself for a plain word.
fn end_of_raw_string(source: &[char], at: usize) -> usize {
    let raw = if source[at] == 'r' { at } else { at + 1 };
    if source.get(raw) != Some(&'r') {
        return at;
    }
    let quote = position(source, raw + 1, |c| c != '#');
    if source.get(quote) != Some(&'"') {
        return at;
    }
    let hashes = quote - raw - 1;
    let closes = |end: &usize| {
        let after = source.get(end + 1..end + 1 + hashes);
        source[*end] == '"' && after.is_some_and(|after| after.iter().all(|c| *c == '#'))
    };
    (quote + 1..source.len()).find(closes).map_or(source.len(), |end| end + 1 + hashes)
}

fn is_word_character(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The words and marks of blanked code. `::` is one mark; a number is a word of digits.
pub(super) fn tokens_of(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, text) in code.lines().enumerate() {
        let text: Vec<char> = text.chars().collect();
        let mut at = 0;
        while at < text.len() {
            let end = match text[at] {
                c if c.is_whitespace() => {
                    at += 1;
                    continue;
                }
                c if is_word_character(c) => position(&text, at, |c| !is_word_character(c)),
                ':' if text.get(at + 1) == Some(&':') => at + 2,
                _ => at + 1,
            };
            tokens.push(Token { text: text[at..end].iter().collect(), line: number + 1 });
            at = end;
        }
    }
    tokens
}

/// Every function with a body.
pub(super) fn functions_of(tokens: &[Token]) -> Vec<Function> {
    let named = |at: &usize| tokens[*at].text == "fn" && tokens.get(at + 1).is_some_and(Token::is_word);
    let found = (0..tokens.len()).filter(named).filter_map(|at| {
        let open = body(tokens, at + 2)?;
        let close = closing_brace(tokens, open)?;
        let lines = tokens[close].line - tokens[at].line + 1;
        Some(Function { name: tokens[at + 1].text.clone(), line: tokens[at].line, lines })
    });
    found.collect()
}

/// The brace that opens the body; none where the function is only declared.
fn body(tokens: &[Token], from: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            ";" if depth == 0 => return None,
            "{" if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

fn closing_brace(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Every path of two parts or more, `use` trees taken apart; in a `use`, single names too.
pub(super) fn paths_of(tokens: &[Token]) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let follows = tokens.get(at + 1);
        if tokens[at].text == "use" && follows.is_some_and(|next| next.text != "<") {
            at = use_tree(tokens, at + 1, &[], &mut paths);
        } else if tokens[at].is_word() && follows.is_some_and(|next| next.text == "::") {
            at = plain_path(tokens, at, &mut paths);
        } else {
            at += 1;
        }
    }
    paths
}

fn plain_path(tokens: &[Token], from: usize, paths: &mut Vec<Path>) -> usize {
    let mut parts = vec![tokens[from].text.clone()];
    let mut at = from + 1;
    while at + 1 < tokens.len() && tokens[at].text == "::" && tokens[at + 1].is_word() {
        parts.push(tokens[at + 1].text.clone());
        at += 2;
    }
    paths.push(Path { parts, line: tokens[from].line });
    at
}

/// Takes one branch of a `use` tree apart, and its sisters; returns where it ends.
fn use_tree(tokens: &[Token], from: usize, before: &[String], paths: &mut Vec<Path>) -> usize {
    let mut parts = before.to_vec();
    let mut at = from;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => {
                at = use_tree(tokens, at + 1, &parts, paths);
                parts.truncate(before.len());
                continue;
            }
            end @ ("," | "}" | ";") => {
                if parts.len() > before.len() {
                    let line = tokens[at - 1].line;
                    paths.push(Path { parts: std::mem::take(&mut parts), line });
                }
                if end != "," {
                    return at + 1;
                }
                parts = before.to_vec();
            }
            "as" => at += 1,
            "::" => {}
            word => parts.push(word.to_owned()),
        }
        at += 1;
    }
    at
}
