//! The workspace as the rules see it: every text file, with the path from the root.

use std::{
    path::{Path as FilePath, PathBuf},
    sync::LazyLock,
};

use super::scan::{Path, Token, code_of, paths_of, tokens_of};

/// A text file of the workspace.
pub(super) struct SourceFile {
    /// From the root, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// Comments and literals blanked; empty where the file is not Rust.
    pub(super) tokens: Vec<Token>,
    pub(super) paths: Vec<Path>,
}

impl SourceFile {
    pub(super) fn new(path: &str, text: &str) -> SourceFile {
        let tokens = if path.ends_with(".rs") { tokens_of(&code_of(text)) } else { Vec::new() };
        let paths = paths_of(&tokens);
        SourceFile { path: path.to_owned(), text: text.to_owned(), tokens, paths }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(super) fn is_within(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// A path of this file as seen from its crate's root (`crate::`, `self::` and `super::` taken away), or
    /// none where it does not begin with one of the three.
    pub(super) fn within_crate<'a>(&'a self, path: &'a Path) -> Option<Vec<&'a str>> {
        let mut module = self.module()?;
        let mut rest: &[String] = &path.parts;
        match rest.first()?.as_str() {
            "crate" => module.clear(),
            "self" => {}
            "super" => {
                while rest.get(1).is_some_and(|part| part == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
                module.pop();
            }
            _ => return None,
        }
        let known: Vec<&str> = rest[1..].iter().map(String::as_str).collect();
        if module.is_empty() {
            return Some(known);
        }
        // What lies inside the file's own area needs no more than the area's name.
        Some(vec![self.area()?].into_iter().chain(known).collect())
    }

    /// The module that this file is, as parts; empty for `lib.rs`.
    fn module(&self) -> Option<Vec<&str>> {
        let (_, inside) = self.path.split_once("/src/")?;
        let mut parts: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
        if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
            parts.pop();
        }
        Some(parts)
    }

    /// The top-level module of its crate that this file belongs to; none for `lib.rs`.
    pub(super) fn area(&self) -> Option<&str> {
        self.module()?.first().copied()
    }
}

/// The folder that holds the whole workspace.
pub(super) fn root() -> PathBuf {
    let package = FilePath::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("a package of the workspace lies one folder below its root").to_owned()
}

/// Every text file of the workspace, sorted by path. Build products and version control are left out.
pub(super) fn files() -> &'static [SourceFile] {
    static FILES: LazyLock<Vec<SourceFile>> = LazyLock::new(|| {
        let mut files = Vec::new();
        gather(&root(), &root(), &mut files);
        files.sort_by(|one, other| one.path.cmp(&other.path));
        files
    });
    &FILES
}

/// What stands at the top of the workspace, without what `.gitignore` leaves out.
pub(super) fn top_level() -> Vec<String> {
    let ignored = std::fs::read_to_string(root().join(".gitignore")).expect("the root has a .gitignore");
    let entries = std::fs::read_dir(root()).expect("the root can be listed");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the root can be listed").file_name().to_string_lossy().into_owned())
        .filter(|name| !ignored.lines().any(|line| line.trim_matches('/') == name))
        .filter(|name| !name.ends_with(".swp"))
        .collect();
    names.sort();
    names
}

fn gather(root: &FilePath, folder: &FilePath, files: &mut Vec<SourceFile>) {
    let entries = std::fs::read_dir(folder).expect("every folder of the workspace can be listed");
    for entry in entries {
        let path = entry.expect("every folder of the workspace can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == ".git" {
            continue;
        }
        if path.is_dir() {
            if name != "target" {
                gather(root, &path, files);
            }
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            // A file that is no text (a golden log, a picture) is held to no rule of words.
            let inside = path.strip_prefix(root).expect("the walk stays below its root");
            files.push(SourceFile::new(&inside.to_string_lossy().replace('\\', "/"), &text));
        }
    }
}
