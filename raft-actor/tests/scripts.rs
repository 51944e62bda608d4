//! Carries every script of `tests/scripts` out, and compares what comes of it with what stands there.
//! `UPDATE=1` writes what came of it instead; read it before you commit it.

use std::{fs, path::PathBuf};

use raft_actor::testkit::script::run;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// Every script: its name without the ending, and its text. Sorted by name.
fn scripts() -> Vec<(String, String)> {
    let files = fs::read_dir(folder()).expect("the folder of scripts is there");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a folder that can be read").path()).collect();
    paths.sort();
    let read = paths.into_iter().map(|path| {
        assert_eq!(path.extension().and_then(|end| end.to_str()), Some("txt"), "{}", path.display());
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name").to_owned();
        (name, fs::read_to_string(&path).expect("a text"))
    });
    read.collect()
}

/// Where two texts part, with a little of what stands around.
fn difference(expected: &str, came: &str) -> String {
    let same = expected.lines().zip(came.lines()).take_while(|(one, other)| one == other).count();
    let from = |text: &str| text.lines().skip(same).take(8).collect::<Vec<_>>().join("\n    ");
    format!("line {}\n  stands there:\n    {}\n  came of it:\n    {}", same + 1, from(expected), from(came))
}

#[test]
fn every_script_comes_to_what_stands_in_it() {
    let update = std::env::var_os("UPDATE").is_some_and(|update| update == "1");
    let mut wrong = Vec::new();
    for (name, text) in scripts() {
        let file = format!("tests/scripts/{name}.txt");
        match run(&file, &text) {
            Err(error) => wrong.push(error.to_string()),
            Ok(came) if came == text => {}
            Ok(came) if update => fs::write(folder().join(format!("{name}.txt")), came).expect("written"),
            Ok(came) => wrong.push(format!("{file}, {}", difference(&text, &came))),
        }
    }
    assert!(wrong.is_empty(), "{} script(s) differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_script_says_what_it_shows_and_where_it_comes_from() {
    let mut wrong = Vec::new();
    let scripts = scripts();
    for (name, text) in &scripts {
        let comment: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        if !comment.contains("Source: ") || comment.len() < 60 {
            wrong.push(format!("{name}: begins with no comment that says what it shows and its `Source: `"));
        }
        if !text.lines().any(|line| line.starts_with("> ")) {
            wrong.push(format!("{name}: has no command"));
        }
    }
    println!("{} scripts", scripts.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
