//! Shows every rule something that breaks it, and something next to it that does not.

use super::{
    Broken, directions, places,
    scan::{code_of, functions_of, tokens_of},
    tree::SourceFile,
    words,
};

type Rule = fn(&SourceFile) -> Vec<Broken>;

#[track_caller]
fn bites(rule: Rule, path: &str, text: &str) {
    let broken = rule(&SourceFile::new(path, text));
    assert!(!broken.is_empty(), "the rule lets this pass in {path}:\n{text}");
}

#[track_caller]
fn passes(rule: Rule, path: &str, text: &str) {
    let broken = rule(&SourceFile::new(path, text));
    assert!(broken.is_empty(), "the rule refuses this in {path}:\n{text}\n{broken:?}");
}

#[test]
fn a_long_file_is_refused() {
    bites(words::file_length, "raft-actor/src/core/long.rs", &"//\n".repeat(501));
    passes(words::file_length, "raft-actor/src/core/long.rs", &"//\n".repeat(500));
    passes(words::file_length, "docs/src/long.md", &"-\n".repeat(501));
}

#[test]
fn a_long_function_is_refused_even_if_strings_and_comments_hold_braces() {
    let of = |lines: usize| {
        let inside = ["let text = \"}\";", "// }", "let quote = '}';", "let raw = r#\"}\"}\"#;"];
        let body: Vec<&str> = (0..lines - 2).map(|line| inside[line % inside.len()]).collect();
        format!("fn long(of: [u8; 4])\n-> u8 {{\n{}\n}}\n", body[1..].join("\n"))
    };
    assert_eq!(functions_of(&tokens_of(&code_of(&of(71))))[0].lines, 71);
    bites(words::function_length, "docs/tests/long.rs", &of(71));
    passes(words::function_length, "docs/tests/long.rs", &of(70));
}

#[test]
fn a_wide_line_is_refused_unless_it_holds_a_link() {
    bites(words::line_width, "example-app/src/main.rs", &"x".repeat(111));
    passes(words::line_width, "example-app/src/main.rs", &"x".repeat(110));
    passes(words::line_width, "example-app/src/main.rs", &format!("// https://{}", "x".repeat(111)));
    passes(words::line_width, "README.md", &"x".repeat(111));
}

#[test]
fn the_core_is_refused_everything_but_words_and_plain_data() {
    let core = "raft-actor/src/core/election.rs";
    bites(directions::module_directions, core, "use crate::runtime::Runtime;");
    bites(directions::module_directions, core, "use crate::{types::Term, storage::LogStorage};");
    bites(directions::module_directions, core, "use super::super::transport::Inbox;");
    bites(directions::module_directions, core, "fn go() { crate::actors::consensus::go() }");
    passes(
        directions::module_directions,
        core,
        "use crate::{types::Term, message::Message, config::Config};",
    );
    passes(directions::module_directions, core, "use super::log::Log; use std::collections::BTreeMap;");
    passes(directions::module_directions, core, "//! See [`crate::runtime::Runtime`].");
    bites(directions::confined_paths, core, "use tracing::info;");
    bites(directions::confined_paths, core, "use std::sync::Mutex;");
    passes(
        directions::confined_paths,
        core,
        "use bytes::Bytes; use serde::Serialize; use std::time::Duration;",
    );
}

#[test]
fn seams_are_refused_the_core_and_each_other() {
    bites(directions::module_directions, "raft-actor/src/storage.rs", "use crate::core::Effect;");
    bites(directions::module_directions, "raft-actor/src/storage.rs", "use crate::transport::Inbox;");
    bites(
        directions::module_directions,
        "raft-actor/src/runtime/actor.rs",
        "use crate::storage::LogStorage;",
    );
    passes(
        directions::module_directions,
        "raft-actor/src/transport.rs",
        "use crate::{message::Envelope, types::NodeId};",
    );
    bites(directions::module_directions, "raft-actor/src/types.rs", "use crate::runtime::Runtime;");
}

#[test]
fn only_the_node_may_name_the_actors() {
    bites(directions::module_directions, "raft-actor/src/client/mod.rs", "use crate::actors::Consensus;");
    bites(
        directions::module_directions,
        "raft-actor/src/testkit/cluster.rs",
        "use crate::actors::Consensus;",
    );
    passes(directions::module_directions, "raft-actor/src/node.rs", "use crate::actors::Consensus;");
    bites(
        directions::actors_are_named_by_the_node_alone,
        "example-app/src/node.rs",
        "use raft_actor::actors::Consensus;",
    );
}

#[test]
fn a_module_without_a_row_is_refused() {
    bites(directions::module_directions, "raft-actor/src/surprise.rs", "");
    passes(directions::module_directions, "raft-actor/src/lib.rs", "pub mod surprise;");
}

#[test]
fn other_crates_are_refused_away_from_their_home() {
    let bite = |path, text| bites(directions::confined_paths, path, text);
    let pass = |path, text| passes(directions::confined_paths, path, text);
    bite("raft-actor/src/node.rs", "use actix::Addr;");
    pass("raft-actor/src/runtime/actix.rs", "use actix_rt::Arbiter;");
    pass("raft-actor/src/actix/mod.rs", "use actix::prelude::Addr;");
    pass("raft-actor/src/node.rs", "use crate::runtime::actix::ActixRuntime;");
    pass("raft-actor/src/runtime/mod.rs", "mod actix; fn of() -> Host { actix::ActixRuntime::new(1) }");
    bite("raft-actor/src/runtime/sim.rs", "use tokio::runtime::Handle;");
    pass("raft-actor/src/runtime/tokio.rs", "use tokio::runtime::Handle;");
    bite("raft-actor/src/actors/applier.rs", "async fn go() { tokio::select! {} }");
    bite("raft-actor/src/actors/applier.rs", "fn go() { tokio::spawn(async {}); }");
    bite("raft-storage-file/src/lib.rs", "use raft_net_http::HttpTransport;");
    bite("raft-net-http/src/lib.rs", "use std::{env, time::Duration};");
    bite("raft-net-http/src/lib.rs", "fn read() -> Config { config::Config::builder() }");
    pass("raft-storage-file/src/disk.rs", "use std::fs::File;");
}

#[test]
fn packages_are_refused_dependencies_that_point_the_wrong_way() {
    let bite = |path, text| bites(directions::package_directions, path, text);
    let pass = |path, text| passes(directions::package_directions, path, text);
    bite("raft-storage-file/Cargo.toml", "[dependencies]\nraft-net-http.workspace = true\n");
    bite("raft-actor/Cargo.toml", "[dev-dependencies]\nraft-storage-file.workspace = true\n");
    bite("raft-net-http/Cargo.toml", "[dependencies]\nconfig.workspace = true\n");
    bite(
        "raft-net-http/Cargo.toml",
        "[dependencies]\nraft-actor = { workspace = true, features = [\"actix\"] }\n",
    );
    pass("raft-net-http/Cargo.toml", "[dependencies]\nraft-actor.workspace = true\n");
    pass(
        "raft-net-http/Cargo.toml",
        "[dev-dependencies]\nraft-actor = { workspace = true, features = [\"tokio\"] }\n",
    );
    pass("example-app/Cargo.toml", "[dependencies]\nconfig.workspace = true\n");
}

#[test]
fn unfinished_work_and_paths_of_machines_are_refused() {
    // Escapes keep this file from breaking the rule itself.
    for text in ["// FIX\u{4d}E later", "/* TO\u{44}O */", "// XX\u{58}", "a HAC\u{4b} here"] {
        bites(words::banned_texts, "raft-actor/src/node.rs", text);
    }
    bites(words::banned_texts, "README.md", "cd /ho\u{6d}e/someone/raft");
    bites(words::banned_texts, "README.md", "https://arti\u{66}actory.example");
    passes(words::banned_texts, "README.md", "the HACKERS of XXIX");
}

#[test]
fn banned_words_are_refused_in_code_and_allowed_in_prose() {
    let core = "raft-actor/src/core/log.rs";
    for code in ["fn f() { todo ! () }", "fn f() { unimplemented ! () }", "fn f() { dbg!(1); }"] {
        bites(words::banned_words, "docs/tests/book.rs", code);
    }
    for code in ["use std::time::Instant;", "use std::collections::HashMap;", "fn f() { SystemTime::now(); }"]
    {
        bites(words::banned_words, core, code);
        passes(words::banned_words, "example-app/src/main.rs", code);
    }
    bites(words::banned_words, core, "#[test]\n# [ignore]\nfn f() {}");
    bites(words::banned_words, core, "# [ignore = \"slow\"]\nfn f() {}");
    passes(words::banned_words, core, "// No HashMap: its order differs.\nconst WHY: &str = \"Instant\";");
}

#[test]
fn abbreviated_identifiers_are_refused() {
    for code in ["let msg = 1;", "struct AppendReq;", "fn send_resp() {}", "let lastIdx = 1;", "let ctx = 1;"]
    {
        bites(words::abbreviations, "raft-actor/src/node.rs", code);
    }
    for code in [
        "#[cfg(test)] mod tests {}",
        "let requests = 1;",
        "let on = cfg!(debug_assertions);",
        "let respect = 1;",
    ] {
        passes(words::abbreviations, "raft-actor/src/node.rs", code);
    }
}

#[test]
fn vague_file_names_are_refused() {
    bites(words::file_names, "raft-actor/src/util.rs", "");
    bites(words::file_names, "raft-actor/tests/common/mod.rs", "");
    passes(words::file_names, "raft-actor/src/core/progress.rs", "");
}

#[test]
fn strangers_at_the_top_of_the_repository_are_refused() {
    let broken = places::top_level(&["Makefile".to_owned()]);
    assert!(broken.iter().any(|one| one.path == "Makefile"));
    assert!(broken.iter().any(|one| one.path == "README.md"), "what is missing is told too");
}

#[test]
fn a_crate_without_its_readme_is_refused() {
    let readme = || SourceFile::new("raft-actor/README.md", "# raft-actor");
    let silent = SourceFile::new("raft-actor/src/lib.rs", "//! Something else.");
    let telling = "#![doc = include_str!(\"../README.md\")]\n";
    assert!(!places::readmes(&[readme(), silent]).is_empty());
    assert!(!places::readmes(&[SourceFile::new("raft-actor/src/lib.rs", telling)]).is_empty());
    assert!(places::readmes(&[readme(), SourceFile::new("raft-actor/src/lib.rs", telling)]).is_empty());
}

#[test]
fn a_dependency_without_a_true_row_is_refused() {
    let broken = |row: &str| {
        let manifest = SourceFile::new("Cargo.toml", "[workspace.dependencies]\nbytes = \"1\"\n");
        let user = SourceFile::new("raft-actor/Cargo.toml", "[dependencies]\nbytes.workspace = true\n");
        places::dependency_table(&[manifest, user, SourceFile::new("CONTRIBUTING.md", row)]).len()
    };
    assert_eq!(broken("| `bytes` | raft-actor | shared payloads without copies |"), 0);
    assert_eq!(broken("no table"), 1);
    assert_eq!(broken("| `bytes` | raft-net-http | shared payloads without copies |"), 1);
    assert_eq!(broken("| `bytes` | raft-actor | |"), 1);
    assert_eq!(broken("| `bytes` | raft-actor | shared payloads |\n| `gone` | docs | no longer there |"), 1);
}

#[test]
fn a_locked_package_from_elsewhere_is_refused() {
    let of = |source: &str| places::lock_sources(&[SourceFile::new("Cargo.lock", source)]).len();
    assert_eq!(of(places::PUBLIC_REGISTRY), 0);
    assert_eq!(of("source = \"git+https://github.com/someone/fork\""), 1);
}

#[test]
fn counts_of_another_compiler_are_refused() {
    let broken = |record: &str| {
        let toolchain = SourceFile::new("rust-toolchain.toml", "[toolchain]\nchannel = \"1.95.0\"\n");
        let record = SourceFile::new("example-app/benches/counts/recorded.txt", record);
        places::counts_of_this_toolchain(&[toolchain, record]).len()
    };
    assert_eq!(broken("# Counts.\nbuilt by rustc 1.95.0 (59807616e) for x86_64\nput 2872\n"), 0);
    assert_eq!(broken("# Counts.\nbuilt by rustc 1.94.1 (59807616e) for x86_64\nput 2872\n"), 1);
    assert_eq!(broken("put 2872\n"), 1);
    assert_eq!(places::counts_of_this_toolchain(&[]).len(), 1);
}

#[test]
fn the_walk_finds_the_workspace() {
    let files = super::tree::files();
    for path in ["raft-actor/src/types.rs", "raft-actor/tests/tidy.rs", "docs/lib.rs", ".gitignore"] {
        assert!(files.iter().any(|file| file.path == path), "{path} was not found");
    }
    assert!(files.iter().all(|file| !file.path.starts_with("target/")));
}
