//! Reads pages and sources as the checks need them: includes, anchors, links, headings, fences, names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A text file, with its path from the root of the workspace.
pub(super) struct Page {
    pub(super) path: String,
    pub(super) text: String,
}

impl Page {
    /// The path from the root of something that this page names relative to itself.
    pub(super) fn beside(&self, relative: &str) -> String {
        let mut parts: Vec<&str> = self.path.split('/').collect();
        parts.pop();
        for part in relative.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                name => parts.push(name),
            }
        }
        parts.join("/")
    }
}

/// Something found in a page, and the line it stands on.
pub(super) struct Include {
    pub(super) file: String,
    pub(super) anchor: Option<String>,
    pub(super) line: usize,
}

pub(super) struct Link {
    pub(super) target: String,
    pub(super) line: usize,
}

pub(super) struct Fence {
    pub(super) language: String,
    pub(super) text: String,
    pub(super) line: usize,
}

pub(super) struct Name {
    pub(super) text: String,
    pub(super) line: usize,
}

pub(super) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("a package of the workspace lies one folder below its root").to_owned()
}

pub(super) fn read(path: &str) -> Page {
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Page { path: path.to_owned(), text }
}

/// The pages of the book.
pub(super) fn book() -> Vec<Page> {
    walk("docs/src", &["md"])
}

/// Every page there is: the book, the READMEs, and what stands at the root.
pub(super) fn all() -> Vec<Page> {
    let mut pages = walk("", &["md"]);
    pages.retain(|page| !page.path.contains("/tests/"));
    pages
}

pub(super) fn pictures() -> Vec<Page> {
    walk("docs/src", &["svg"])
}

/// Every file that a page may show a part of.
pub(super) fn sources() -> Vec<Page> {
    walk("", &["rs", "toml"])
}

fn walk(folder: &str, endings: &[&str]) -> Vec<Page> {
    let mut pages = Vec::new();
    gather(&root().join(folder), endings, &mut pages);
    pages.sort_by(|one, other| one.path.cmp(&other.path));
    pages
}

fn gather(folder: &Path, endings: &[&str], pages: &mut Vec<Page>) {
    for entry in std::fs::read_dir(folder).expect("every folder of the workspace can be listed") {
        let path = entry.expect("every folder of the workspace can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".git") {
                gather(&path, endings, pages);
            }
        } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
            let text = std::fs::read_to_string(&path).expect("pages and sources are UTF-8");
            let inside = path.strip_prefix(root()).expect("the walk stays below its root");
            pages.push(Page { path: inside.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

/// `{{#include file:anchor}}`, one a line.
pub(super) fn includes_of(text: &str) -> Vec<Include> {
    let mut includes = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some(inside) = line.trim().strip_prefix("{{#include ") else { continue };
        let inside = inside.trim_end_matches("}}").trim();
        let (file, anchor) = match inside.split_once(':') {
            Some((file, anchor)) => (file, Some(anchor.to_owned())),
            None => (inside, None),
        };
        includes.push(Include { file: file.to_owned(), anchor, line: number + 1 });
    }
    includes
}

/// What stands between `ANCHOR: name` and `ANCHOR_END: name`, by name, without the marks of other anchors.
pub(super) fn anchors_of(source: &str) -> BTreeMap<String, String> {
    let mut anchors = BTreeMap::new();
    let mark = |line: &str, mark: &str| {
        let comment = line.trim().strip_prefix("//").or_else(|| line.trim().strip_prefix('#'))?;
        comment.trim().strip_prefix(mark).map(|name| name.trim().to_owned())
    };
    for (number, line) in source.lines().enumerate() {
        let Some(name) = mark(line, "ANCHOR:") else { continue };
        let inside = source
            .lines()
            .skip(number + 1)
            .take_while(|line| mark(line, "ANCHOR_END:").as_ref() != Some(&name));
        let inside =
            inside.filter(|line| mark(line, "ANCHOR:").is_none() && mark(line, "ANCHOR_END:").is_none());
        let ends = source.lines().any(|line| mark(line, "ANCHOR_END:").as_ref() == Some(&name));
        let inside: Vec<&str> = inside.collect();
        let part = if ends { inside.join("\n") } else { String::new() };
        anchors.insert(name, part);
    }
    anchors
}

/// The lines of a page outside its code fences, with their numbers.
fn prose_of(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut prose = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose.push((number + 1, line));
        }
    }
    prose
}

/// A line with what stands between backticks taken out.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<&str>>().join("`")
}

/// Every link and picture: `](target)`.
pub(super) fn links_of(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, prose) in prose_of(text) {
        for rest in without_code(prose).split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default().to_owned();
            links.push(Link { target, line });
        }
    }
    links
}

/// The fragments that a page's headings answer to.
pub(super) fn headings_of(text: &str) -> Vec<String> {
    let headings = prose_of(text).into_iter().filter(|(_, line)| line.starts_with('#'));
    let slug = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(|(_, line)| slug(line)).collect()
}

/// The fenced blocks of a page.
pub(super) fn fences_of(text: &str) -> Vec<Fence> {
    let mut fences: Vec<Fence> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(language) => {
                inside = true;
                let language = language.trim().to_owned();
                fences.push(Fence { language, text: String::new(), line: number + 1 });
            }
            None if inside => {
                let fence = fences.last_mut().expect("a fence is open");
                fence.text.push_str(line);
                fence.text.push('\n');
            }
            None => {}
        }
    }
    fences
}

/// What stands between backticks and looks like a name or a path of the source.
pub(super) fn names_of(text: &str) -> Vec<Name> {
    let mut names = Vec::new();
    for (line, prose) in prose_of(text) {
        for name in prose.split('`').skip(1).step_by(2) {
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '/' | '.' | '-' | '(' | ')');
            if !name.is_empty() && name.chars().all(plain) {
                names.push(Name { text: name.to_owned(), line });
            }
        }
    }
    names
}

mod itself {
    use super::*;

    #[test]
    fn anchors_are_read_without_the_marks_of_others() {
        let source =
            "a\n// ANCHOR: one\nb\n// ANCHOR: two\nc\n// ANCHOR_END: two\nd\n// ANCHOR_END: one\ne\n";
        let anchors = anchors_of(source);
        assert_eq!(anchors["one"], "b\nc\nd");
        assert_eq!(anchors["two"], "c");
        assert_eq!(anchors_of("// ANCHOR: open\nx\n")["open"], "", "an anchor without an end is empty");
    }

    #[test]
    fn links_are_found_outside_code_and_headings_become_fragments() {
        let page = "# What *is* it?\n[a](b.md#c) `[no](x)` ![p](q.svg)\n```\n[no](y)\n```\n";
        let targets: Vec<String> = links_of(page).into_iter().map(|link| link.target).collect();
        assert_eq!(targets, ["b.md#c", "q.svg"]);
        assert_eq!(headings_of(page), ["what-is-it"]);
    }

    #[test]
    fn a_path_beside_a_page_is_told_from_the_root() {
        let page = Page { path: "docs/src/start.md".into(), text: String::new() };
        assert_eq!(page.beside("../tests/main.rs"), "docs/tests/main.rs");
        assert_eq!(page.beside("cast.svg"), "docs/src/cast.svg");
    }

    #[test]
    fn includes_fences_and_names_are_read() {
        let page = "`Term` and `a b`\n```rust\n{{#include ../x.rs:open}}\n```\n```rust\nlet own = 1;\n```\n";
        let include = includes_of(page).remove(0);
        assert_eq!(
            (include.file.as_str(), include.anchor.as_deref(), include.line),
            ("../x.rs", Some("open"), 3)
        );
        let fences: Vec<String> = fences_of(page).into_iter().map(|fence| fence.text).collect();
        assert_eq!(fences, ["{{#include ../x.rs:open}}\n", "let own = 1;\n"]);
        let names: Vec<String> = names_of(page).into_iter().map(|name| name.text).collect();
        assert_eq!(names, ["Term"]);
    }
}
