//! What stands where: the top of the repository, the READMEs, the dependencies and their table.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, directions::dependencies_of, tree::SourceFile};

const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "docs",
    "example-app",
    "raft-actor",
    "raft-net-http",
    "raft-storage-file",
    "rust-toolchain.toml",
    "rustfmt.toml",
];

/// The crates that readers of docs see; `docs` itself is a package of tests only.
const CRATES: &[(&str, &str)] = &[
    ("raft-actor", "src/lib.rs"),
    ("raft-storage-file", "src/lib.rs"),
    ("raft-net-http", "src/lib.rs"),
    ("example-app", "src/lib.rs"),
];

const README_AS_DOC: &str = "#![doc = include_str!(\"../README.md\")]";

/// The top of the repository is a short list.
pub(super) fn top_level(names: &[String]) -> Vec<Broken> {
    let strangers = names.iter().filter(|name| !TOP_LEVEL.contains(&name.as_str()));
    let missing =
        TOP_LEVEL.iter().filter(|name| **name != ".git" && !names.iter().any(|other| other == *name));
    let told = |name: &str, what: &str, mend: &str| Broken {
        path: name.to_owned(),
        line: 1,
        what: what.to_owned(),
        mend: mend.to_owned(),
    };
    let mend = "move it into a package or a folder that fits, or have .gitignore leave it out";
    let strange = strangers.map(|name| told(name, "the top of the repository does not list this", mend));
    let absent = missing.map(|name| told(name, "it is missing from the top", "put it back"));
    strange.chain(absent).collect()
}

/// Each crate's README is its documentation too, so that the two cannot differ.
pub(super) fn readmes(files: &[SourceFile]) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (package, source) in CRATES {
        let find = |path: String| files.iter().find(move |file| file.path == path);
        let Some(source) = find(format!("{package}/{source}")) else { continue };
        if find(format!("{package}/README.md")).is_none_or(|readme| readme.text.trim().is_empty()) {
            broken.push(Broken::new(
                source,
                1,
                format!("{package} has no README.md"),
                "write what it is for",
            ));
        }
        if !source.text.lines().any(|line| line == README_AS_DOC) {
            let what = format!("{package}'s documentation is not its README");
            broken.push(Broken::new(source, 1, what, &format!("write `{README_AS_DOC}` at the top")));
        }
    }
    broken
}

/// The table in CONTRIBUTING.md names each outside dependency, the packages that use it, and why.
pub(super) fn dependency_table(files: &[SourceFile]) -> Vec<Broken> {
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let (Some(manifest), Some(page)) = (find("Cargo.toml"), find("CONTRIBUTING.md")) else {
        let what = "Cargo.toml or CONTRIBUTING.md is missing".to_owned();
        return vec![Broken { path: "CONTRIBUTING.md".into(), line: 1, what, mend: "put it back".into() }];
    };
    let listed = rows_of(&page.text);
    let homes = homes_of(files);
    let mut broken = Vec::new();
    for dependency in dependencies_of(&manifest.text).iter().filter(|one| !one.rest.contains("path =")) {
        let used: BTreeSet<String> = homes.get(&dependency.name).cloned().unwrap_or_default();
        match listed.get(&dependency.name) {
            None => {
                let what = format!("`{}` is not in CONTRIBUTING.md's table of dependencies", dependency.name);
                broken.push(Broken::new(
                    manifest,
                    dependency.line,
                    what,
                    "add a row: its home, and the reason",
                ));
            }
            Some(row) if row.homes != used => {
                let what =
                    format!("`{}` is used by {used:?}, the table says {:?}", dependency.name, row.homes);
                broken.push(Broken::new(page, row.line, what, "correct the row, or the manifests"));
            }
            Some(row) if row.reason.len() < 10 => {
                let what = format!("`{}` has no reason", dependency.name);
                broken.push(Broken::new(page, row.line, what, "say what it is for and why not less"));
            }
            Some(_) => {}
        }
        if used.is_empty() {
            let what = format!("`{}` is used by no package", dependency.name);
            broken.push(Broken::new(manifest, dependency.line, what, "take it out"));
        }
    }
    let known: BTreeSet<String> = dependencies_of(&manifest.text).into_iter().map(|one| one.name).collect();
    for (name, row) in listed.iter().filter(|(name, _)| !known.contains(*name)) {
        let what = format!("`{name}` is in the table, and not in Cargo.toml");
        broken.push(Broken::new(page, row.line, what, "take the row out"));
    }
    broken
}

/// One row of the table: `` | `name` | homes | reason | ``.
struct Row {
    homes: BTreeSet<String>,
    reason: String,
    line: usize,
}

fn rows_of(page: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for (number, line) in page.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", name, homes, reason, ""] = cells.as_slice() {
            let name = name.trim_matches('`').to_owned();
            let homes = homes.split(',').map(|home| home.trim().to_owned()).collect();
            if name != "crate" && !name.starts_with("--") {
                rows.insert(name, Row { homes, reason: (*reason).to_owned(), line: number + 1 });
            }
        }
    }
    rows
}

/// Which packages name each dependency, tests included.
fn homes_of(files: &[SourceFile]) -> BTreeMap<String, BTreeSet<String>> {
    let mut homes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        if let Some((package, "Cargo.toml")) = file.path.split_once('/') {
            for dependency in dependencies_of(&file.text) {
                homes.entry(dependency.name).or_default().insert(package.to_owned());
            }
        }
    }
    homes
}

/// In pieces, since no other file may name a registry.
pub(super) const PUBLIC_REGISTRY: &str =
    concat!("source = \"registry+https://github.com/rust-lang/", "crates", ".io-index\"");

/// A fresh clone builds anywhere: nothing is locked to a private registry or a fork.
pub(super) fn lock_sources(files: &[SourceFile]) -> Vec<Broken> {
    let mut broken = Vec::new();
    for lock in files.iter().filter(|file| file.path.ends_with("Cargo.lock")) {
        for (number, line) in lock.text.lines().enumerate() {
            if line.starts_with("source =") && line != PUBLIC_REGISTRY {
                let what = format!("a locked package does not come from the public registry: {line}");
                broken.push(Broken::new(lock, number + 1, what, "lock it again with the default registry"));
            }
        }
    }
    broken
}

/// Counts that another compiler made are held against nothing, so the record goes with the toolchain.
pub(super) fn counts_of_this_toolchain(files: &[SourceFile]) -> Vec<Broken> {
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let quoted =
        |line: &str| line.strip_prefix("channel = ").map(|channel| channel.trim_matches('"').to_owned());
    let channel = find("rust-toolchain.toml").and_then(|file| file.text.lines().find_map(quoted));
    let Some((record, channel)) = find("example-app/benches/counts/recorded.txt").zip(channel) else {
        let what = "recorded.txt is missing, or the channel of rust-toolchain.toml".to_owned();
        return vec![Broken {
            path: "example-app/benches/counts".into(),
            line: 1,
            what,
            mend: "put it back".into(),
        }];
    };
    if record.text.lines().any(|line| line.starts_with(&format!("built by rustc {channel} "))) {
        return Vec::new();
    }
    let what = format!("what is recorded here was not counted with rustc {channel}");
    vec![Broken::new(record, 1, what, "count and record again, as docs/src/reference/benchmarks.md says")]
}
