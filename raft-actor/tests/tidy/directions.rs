//! Who may import whom: the tables, and the checks that read them.

use super::{Broken, tree::SourceFile};

/// A top-level module of raft-actor, and the other modules that it may name.
struct Direction {
    module: &'static str,
    sees: &'static [&'static str],
    because: &'static str,
}

const WORDS: &str = "the words know nothing of actors, storage or time-outs";
const SEAM: &str = "a seam sees the words, and neither the core nor another seam";

const DIRECTIONS: &[Direction] = &[
    Direction { module: "types", sees: &["membership"], because: WORDS },
    Direction { module: "membership", sees: &["types", "mutants"], because: WORDS },
    Direction { module: "mutants", sees: &[], because: "a bug is put back where it belongs, by name" },
    Direction { module: "message", sees: &["types", "membership", "error"], because: WORDS },
    Direction { module: "config", sees: &[], because: "settings are plain data" },
    Direction { module: "status", sees: &["types", "membership"], because: "a status is plain data" },
    Direction {
        module: "error",
        sees: &["types", "membership", "config", "storage", "state_machine"],
        because: "an error carries its source, and nothing else",
    },
    Direction {
        module: "core",
        sees: &["types", "membership", "message", "config", "status", "mutants"],
        because: "the core decides: it sees words and std collections, nothing else",
    },
    Direction { module: "observer", sees: &["types", "core"], because: "an observer is shown the core" },
    Direction {
        module: "notation",
        sees: &["types", "membership", "message", "core"],
        because: "the notation is how people read the core",
    },
    Direction {
        module: "trace",
        sees: &["types", "membership", "message", "core", "observer", "notation", "error"],
        because: "a trace is what an observer wrote down",
    },
    Direction { module: "storage", sees: &["types", "membership"], because: SEAM },
    Direction { module: "state_machine", sees: &["types"], because: SEAM },
    Direction { module: "transport", sees: &["types", "message"], because: SEAM },
    Direction { module: "runtime", sees: &["types"], because: SEAM },
    Direction {
        module: "lifecycle",
        sees: &["types", "status"],
        because: "how a node ends is shared by actors and handles, and names neither",
    },
    Direction {
        module: "events",
        sees: &["types", "membership", "status", "runtime", "lifecycle"],
        because: "events are words for those who listen to a node",
    },
    Direction { module: "actors", sees: BELOW_ACTORS, because: "actors see the core and the seams" },
    Direction {
        module: "client",
        sees: BELOW_CLIENT,
        because: "a client sees the node's handle, not its actors",
    },
    Direction {
        module: "actix",
        sees: BELOW_CLIENT,
        because: "the face for actix users wraps the node's handle",
    },
    Direction {
        module: "testkit",
        sees: BELOW_TESTKIT,
        because: "the test kit uses public items, as a user would",
    },
];

const BELOW_ACTORS: &[&str] = &[
    "lifecycle",
    "mutants",
    "events",
    "types",
    "membership",
    "message",
    "config",
    "status",
    "error",
    "core",
    "observer",
    "storage",
    "state_machine",
    "transport",
    "runtime",
];

const BELOW_CLIENT: &[&str] = &[
    "mutants",
    "types",
    "membership",
    "message",
    "config",
    "status",
    "error",
    "storage",
    "state_machine",
    "transport",
    "runtime",
    "events",
    "node",
];

const BELOW_TESTKIT: &[&str] = &[
    "mutants",
    "types",
    "membership",
    "message",
    "config",
    "status",
    "error",
    "core",
    "observer",
    "notation",
    "trace",
    "storage",
    "state_machine",
    "transport",
    "runtime",
    "events",
    "node",
    "client",
];

/// Modules that tie the rest together and may name anything.
const COMPOSERS: &[&str] = &["node"];

const FRAMEWORK: &str = "raft-actor/src/";

/// raft-actor's modules name only those that stand below them.
pub(super) fn module_directions(file: &SourceFile) -> Vec<Broken> {
    let Some(area) = file.area().filter(|_| file.path.starts_with(FRAMEWORK)) else { return Vec::new() };
    if COMPOSERS.contains(&area) {
        return Vec::new();
    }
    let Some(direction) = DIRECTIONS.iter().find(|direction| direction.module == area) else {
        let what = format!("the module `{area}` has no row in DIRECTIONS");
        return vec![Broken::new(
            file,
            1,
            what,
            "say in tests/tidy/directions.rs what it may import, and why",
        )];
    };
    let named = file.paths.iter().filter_map(|path| {
        let module = *file.within_crate(path)?.first()?;
        let known = COMPOSERS.contains(&module) || DIRECTIONS.iter().any(|other| other.module == module);
        let forbidden = known && module != area && !direction.sees.contains(&module);
        forbidden.then(|| {
            let what = format!("`{area}` imports `{module}`: {}", direction.because);
            Broken::new(file, path.line, what, "move the code to where it may see what it needs")
        })
    });
    named.collect()
}

/// A path of another crate that may be named only in some files.
struct Confined {
    path: &'static [&'static str],
    within: &'static [&'static str],
    only: &'static [&'static str],
    because: &'static str,
}

const ACTIX: &str = "actix is one of three hosts: the rest of raft-actor must not know it";
const DECIDES: &str =
    "the core decides and the actors wait: what they need comes as an input or from the runtime";
const PURE: &[&str] = &["raft-actor/src/core"];
const DETERMINED: &[&str] = &[
    "raft-actor/src/core",
    "raft-actor/src/actors",
    "raft-actor/src/node",
    "raft-actor/src/client",
    "raft-actor/src/testkit",
];
const LIBRARIES: &[&str] = &["raft-actor/src/", "raft-storage-file/src/", "raft-net-http/src/"];
const ACTIX_HOMES: &[&str] = &["raft-actor/src/runtime/actix", "raft-actor/src/actix"];
const SIMULATED: &str = "a simulator must own time and tasks, or a seed would not repeat a run";
const READS_NOTHING: &str = "a library reads no file and no environment variable that it was not given";

const CONFINED: &[Confined] = &[
    Confined { path: &["actix"], within: &[FRAMEWORK], only: ACTIX_HOMES, because: ACTIX },
    Confined { path: &["actix_rt"], within: &[FRAMEWORK], only: ACTIX_HOMES, because: ACTIX },
    Confined { path: &["actix_web"], within: &[FRAMEWORK], only: &[], because: ACTIX },
    Confined {
        path: &["tokio", "runtime"],
        within: &[FRAMEWORK],
        only: &["raft-actor/src/runtime/tokio"],
        because: "tokio is one of three hosts",
    },
    Confined { path: &["tokio", "select"], within: DETERMINED, only: &[], because: SIMULATED },
    Confined { path: &["tokio", "spawn"], within: DETERMINED, only: &[], because: SIMULATED },
    Confined { path: &["tokio", "task"], within: DETERMINED, only: &[], because: SIMULATED },
    Confined { path: &["tokio", "time"], within: DETERMINED, only: &[], because: SIMULATED },
    // The suites wake tasks from other threads, which is what a runtime must bear.
    Confined {
        path: &["std", "thread"],
        within: DETERMINED,
        only: &["raft-actor/src/testkit/suite/"],
        because: SIMULATED,
    },
    Confined { path: &["std", "env"], within: LIBRARIES, only: &[], because: READS_NOTHING },
    Confined {
        path: &["std", "fs"],
        within: &[FRAMEWORK, "raft-net-http/src/"],
        only: &[],
        because: READS_NOTHING,
    },
    Confined { path: &["std", "io"], within: PURE, only: &[], because: DECIDES },
    Confined { path: &["std", "net"], within: PURE, only: &[], because: DECIDES },
    Confined { path: &["std", "process"], within: PURE, only: &[], because: DECIDES },
    Confined { path: &["std", "sync"], within: PURE, only: &[], because: DECIDES },
    Confined { path: &["std", "future"], within: PURE, only: &[], because: DECIDES },
    Confined { path: &["tokio"], within: PURE, only: &[], because: DECIDES },
    Confined { path: &["tracing"], within: PURE, only: &[], because: DECIDES },
    Confined { path: &["fastrand"], within: PURE, only: &[], because: DECIDES },
    Confined { path: &["postcard"], within: PURE, only: &[], because: DECIDES },
    Confined { path: &["async_trait"], within: PURE, only: &[], because: DECIDES },
    Confined {
        path: &["config"],
        within: LIBRARIES,
        only: &[],
        because: "the crate `config` belongs to the application: a library is given its settings",
    },
    Confined {
        path: &["raft_net_http"],
        within: &["raft-storage-file/", "raft-actor/"],
        only: &[],
        because: "parts that can be swapped never know each other",
    },
    Confined {
        path: &["raft_storage_file"],
        within: &["raft-net-http/", "raft-actor/"],
        only: &[],
        because: "parts that can be swapped never know each other",
    },
];

/// Paths of other crates stand only where they have their home.
pub(super) fn confined_paths(file: &SourceFile) -> Vec<Broken> {
    let mut broken = Vec::new();
    for path in &file.paths {
        for confined in CONFINED {
            let starts = path.parts.len() >= confined.path.len()
                && path.parts.iter().zip(confined.path).all(|(part, wanted)| part == wanted);
            let homeless = file.is_within(confined.within) && !file.is_within(confined.only);
            if starts && homeless && !declares_module(file, confined.path[0]) {
                let what = format!("`{}` is named here: {}", confined.path.join("::"), confined.because);
                let mend = match confined.only {
                    [] => "take it as an input, or through the runtime or a seam".to_owned(),
                    homes => format!("only {} may name it", homes.join(" and ")),
                };
                broken.push(Broken::new(file, path.line, what, &mend));
            }
        }
    }
    broken
}

/// Whether a path that begins with `name` means a module of this file instead of a crate.
fn declares_module(file: &SourceFile, name: &str) -> bool {
    file.tokens
        .windows(3)
        .any(|three| three[0].text == "mod" && three[1].text == name && three[2].text == ";")
}

/// Only the node names the actors.
pub(super) fn actors_are_named_by_the_node_alone(file: &SourceFile) -> Vec<Broken> {
    let outside = file.path.ends_with(".rs") && !file.path.starts_with("raft-actor/src/");
    let named = file
        .paths
        .iter()
        .filter(|path| outside && path.parts.starts_with(&["raft_actor".into(), "actors".into()]));
    let told =
        |line| Broken::new(file, line, "actors are named outside node.rs".into(), "use the node's handle");
    named.map(|path| told(path.line)).collect()
}

/// A dependency that a package must not have.
struct ForeignDependency {
    package: &'static str,
    dependency: &'static str,
    because: &'static str,
}

const FOREIGN: &[ForeignDependency] = &[
    ForeignDependency { package: "raft-storage-file", dependency: "raft-net-http", because: SWAPPED },
    ForeignDependency { package: "raft-net-http", dependency: "raft-storage-file", because: SWAPPED },
    ForeignDependency { package: "raft-actor", dependency: "raft-net-http", because: SWAPPED },
    ForeignDependency { package: "raft-actor", dependency: "raft-storage-file", because: SWAPPED },
    ForeignDependency { package: "raft-actor", dependency: "config", because: READS_NOTHING },
    ForeignDependency { package: "raft-storage-file", dependency: "config", because: READS_NOTHING },
    ForeignDependency { package: "raft-net-http", dependency: "config", because: READS_NOTHING },
    ForeignDependency { package: "raft-storage-file", dependency: "actix", because: ACTIX },
    ForeignDependency { package: "raft-storage-file", dependency: "actix-web", because: ACTIX },
];

const SWAPPED: &str = "parts that can be swapped never know each other";

/// Packages depend in one direction only, and a library takes raft-actor without its default host.
pub(super) fn package_directions(file: &SourceFile) -> Vec<Broken> {
    let Some((package, "Cargo.toml")) = file.path.split_once('/') else { return Vec::new() };
    let mut broken = Vec::new();
    for dependency in dependencies_of(&file.text) {
        for foreign in FOREIGN {
            if foreign.package == package && foreign.dependency == dependency.name {
                let what = format!("{package} depends on {}: {}", foreign.dependency, foreign.because);
                broken.push(Broken::new(
                    file,
                    dependency.line,
                    what,
                    "take what you need through a trait of raft-actor",
                ));
            }
        }
        let library = matches!(package, "raft-storage-file" | "raft-net-http");
        let chooses = dependency.rest.contains("features") || !dependency.rest.contains("true");
        if library && dependency.section == "dependencies" && dependency.name == "raft-actor" && chooses {
            let what = format!("{package} chooses features of raft-actor; the application does that");
            broken.push(Broken::new(file, dependency.line, what, "write `raft-actor.workspace = true`"));
        }
    }
    broken
}

/// One line of a dependency table.
pub(super) struct Dependency {
    pub(super) section: String,
    pub(super) name: String,
    pub(super) rest: String,
    pub(super) line: usize,
}

/// The dependencies that a manifest lists, one a line.
pub(super) fn dependencies_of(manifest: &str) -> Vec<Dependency> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (number, line) in manifest.lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, rest)) = line.split_once('=').filter(|_| section.ends_with("dependencies")) {
            let name = key.trim().split('.').next().unwrap_or_default().to_owned();
            let rest = rest.trim().to_owned();
            if !name.starts_with('#') {
                found.push(Dependency { section: section.clone(), name, rest, line: number + 1 });
            }
        }
    }
    found
}
