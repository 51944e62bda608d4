//! What no file may hold: sizes beyond the limits, and words of unfinished, unclear or unrepeatable work.

use super::{
    Broken,
    scan::{Token, functions_of},
    tree::SourceFile,
};

pub(super) const FILE_LINES_MAX: usize = 500;
pub(super) const FUNCTION_LINES_MAX: usize = 70;
pub(super) const COLUMNS_MAX: usize = 110;

/// A source file is short enough to be read in one sitting.
pub(super) fn file_length(file: &SourceFile) -> Vec<Broken> {
    let lines = file.text.lines().count();
    if !file.is_rust() || lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    let what = format!("the file has {lines} lines, more than {FILE_LINES_MAX}");
    vec![Broken::new(file, FILE_LINES_MAX + 1, what, "split it by what its parts are about")]
}

/// A function fits on a screen.
pub(super) fn function_length(file: &SourceFile) -> Vec<Broken> {
    let long = functions_of(&file.tokens).into_iter().filter(|found| found.lines > FUNCTION_LINES_MAX);
    let told = long.map(|found| {
        let what = format!("`{}` has {} lines, more than {FUNCTION_LINES_MAX}", found.name, found.lines);
        Broken::new(file, found.line, what, "give its steps names of their own")
    });
    told.collect()
}

/// A line of source fits beside another. Tables and links of pages may be longer.
pub(super) fn line_width(file: &SourceFile) -> Vec<Broken> {
    let measured = file.is_rust() || file.path.starts_with(".ci/");
    let long = file
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| measured && line.chars().count() > COLUMNS_MAX && !line.contains("://"));
    let told = long.map(|(number, line)| {
        let what = format!("the line has {} columns, more than {COLUMNS_MAX}", line.chars().count());
        Broken::new(file, number + 1, what, "run `cargo fmt`; break comments and strings by hand")
    });
    told.collect()
}

/// A text that may stand nowhere in some files.
struct BannedText {
    text: &'static str,
    because: &'static str,
    mend: &'static str,
}

const LEFT_OVER: &str = "it marks work that is not done";
const DO_OR_FILE: &str = "do it, or file an issue and say nothing here";
const NOT_HERE: &str = "it names a place that only one machine or company has";

/// The texts are put together here so that this file does not break its own rule.
const BANNED_TEXTS: &[BannedText] = &[
    BannedText { text: concat!("FIX", "ME"), because: LEFT_OVER, mend: DO_OR_FILE },
    BannedText { text: concat!("TO", "DO"), because: LEFT_OVER, mend: DO_OR_FILE },
    BannedText { text: concat!("XX", "X"), because: LEFT_OVER, mend: DO_OR_FILE },
    BannedText { text: concat!("HA", "CK"), because: LEFT_OVER, mend: DO_OR_FILE },
    BannedText { text: concat!("arti", "factory"), because: NOT_HERE, mend: "use the registry's own name" },
    BannedText { text: concat!("crates", ".io"), because: NOT_HERE, mend: "say the public registry" },
    BannedText { text: concat!("/ho", "me/"), because: NOT_HERE, mend: "use a relative path" },
    BannedText { text: concat!("/ro", "ot/"), because: NOT_HERE, mend: "use a relative path" },
    BannedText { text: concat!("/Us", "ers/"), because: NOT_HERE, mend: "use a relative path" },
    BannedText { text: concat!("/wo", "rk/"), because: NOT_HERE, mend: "use a relative path" },
    BannedText { text: concat!("/fa", "rm/"), because: NOT_HERE, mend: "use a relative path" },
];

/// No file holds a note of unfinished work, or a path of somebody's machine.
pub(super) fn banned_texts(file: &SourceFile) -> Vec<Broken> {
    let mut broken = Vec::new();
    // A lock file names the registry of each package; `lock_sources` holds it to the public one.
    let lines = file.text.lines().enumerate().filter(|_| !file.path.ends_with("Cargo.lock"));
    for (number, line) in lines {
        for banned in BANNED_TEXTS.iter().filter(|banned| stands_in(line, banned.text)) {
            let what = format!("`{}` stands here: {}", banned.text, banned.because);
            broken.push(Broken::new(file, number + 1, what, banned.mend));
        }
    }
    broken
}

/// Whether `text` stands in `line` with no letter or digit on either side of it.
fn stands_in(line: &str, text: &str) -> bool {
    let free = |beside: Option<char>| beside.is_none_or(|c| !c.is_alphanumeric());
    line.match_indices(text).any(|(at, _)| {
        let before = free(line[..at].chars().next_back()) || !text.starts_with(char::is_alphanumeric);
        let after = free(line[at + text.len()..].chars().next()) || !text.ends_with(char::is_alphanumeric);
        before && after
    })
}

/// A word that may not be a whole identifier of code, in some places.
struct BannedWord {
    word: &'static str,
    within: &'static [&'static str],
    because: &'static str,
    mend: &'static str,
}

const EVERYWHERE: &[&str] = &[""];
const DETERMINED: &[&str] = &[
    "raft-actor/src/core",
    "raft-actor/src/actors",
    "raft-actor/src/node",
    "raft-actor/src/client",
    "raft-actor/src/testkit",
];
const CLOCK: &str = "the time comes in as an input, or from the runtime";
const CHANCE: &str = "chance comes in as an input, or from the runtime";
const ORDER: &str = "its order differs from run to run";

const BANNED_WORDS: &[BannedWord] = &[
    BannedWord { word: "todo", within: EVERYWHERE, because: LEFT_OVER, mend: DO_OR_FILE },
    BannedWord { word: "unimplemented", within: EVERYWHERE, because: LEFT_OVER, mend: DO_OR_FILE },
    BannedWord { word: "dbg", within: EVERYWHERE, because: LEFT_OVER, mend: "use tracing, or nothing" },
    BannedWord { word: "Instant", within: DETERMINED, because: CLOCK, mend: "use `Runtime::now`" },
    BannedWord { word: "SystemTime", within: DETERMINED, because: CLOCK, mend: "use `Runtime::now`" },
    BannedWord { word: "thread_rng", within: DETERMINED, because: CHANCE, mend: "use `Runtime::random`" },
    BannedWord { word: "RandomState", within: DETERMINED, because: CHANCE, mend: "use a BTreeMap" },
    BannedWord { word: "HashMap", within: DETERMINED, because: ORDER, mend: "use a BTreeMap" },
    BannedWord { word: "HashSet", within: DETERMINED, because: ORDER, mend: "use a BTreeSet" },
];

/// Code holds no banned word, and no test that is never run.
pub(super) fn banned_words(file: &SourceFile) -> Vec<Broken> {
    let mut broken = Vec::new();
    for token in &file.tokens {
        let banned =
            BANNED_WORDS.iter().find(|banned| banned.word == token.text && file.is_within(banned.within));
        if let Some(banned) = banned {
            let what = format!("`{}` stands here: {}", banned.word, banned.because);
            broken.push(Broken::new(file, token.line, what, banned.mend));
        }
    }
    for three in file.tokens.windows(3) {
        if three[0].text == "#" && three[1].text == "[" && three[2].text == "ignore" {
            let what = "a test is ignored: nobody will know when it breaks".to_owned();
            broken.push(Broken::new(file, three[2].line, what, "make it fast enough to run, or take it out"));
        }
    }
    broken
}

/// Abbreviations of words that the paper and this house spell out.
const ABBREVIATIONS: &[(&str, &str)] = &[
    ("msg", "message"),
    ("msgs", "messages"),
    ("req", "request"),
    ("reqs", "requests"),
    ("resp", "reply"),
    ("idx", "index"),
    ("cfg", "config"),
    ("ctx", "context"),
];

/// Identifiers are whole words.
pub(super) fn abbreviations(file: &SourceFile) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (at, token) in file.tokens.iter().enumerate().filter(|(_, token)| token.is_word()) {
        if matches!(token.text.as_str(), "cfg" | "cfg_attr") && is_the_attribute(&file.tokens, at) {
            continue;
        }
        for (short, whole) in
            ABBREVIATIONS.iter().filter(|(short, _)| words_of(&token.text).any(|word| word == *short))
        {
            let what = format!("`{}` says `{short}`", token.text);
            broken.push(Broken::new(file, token.line, what, &format!("spell it out: `{whole}`")));
        }
    }
    broken
}

/// `cfg` as the language's own word: in an attribute, or as a macro.
fn is_the_attribute(tokens: &[Token], at: usize) -> bool {
    tokens.get(at + 1).is_some_and(|next| matches!(next.text.as_str(), "(" | "!"))
}

/// The words of an identifier in snake or camel case, in lower case.
fn words_of(identifier: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut before = '_';
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && !before.is_uppercase()) {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().expect("there is always a word").extend(c.to_lowercase());
        }
        before = c;
    }
    words.into_iter()
}

const VAGUE_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// A file's name says what is in it.
pub(super) fn file_names(file: &SourceFile) -> Vec<Broken> {
    let vague = file.path.trim_end_matches(".rs").split('/').any(|part| VAGUE_NAMES.contains(&part));
    if !vague || !file.is_rust() {
        return Vec::new();
    }
    vec![Broken::new(
        file,
        1,
        "the file's name could stand for anything".into(),
        "name it after what it holds",
    )]
}
