//! Carries every script of `tests/scripts` out, and compares what comes of it with what stands there.
//! `UPDATE=1` writes what came of it instead; read it before you commit it.

use std::{fs, path::PathBuf};

use raft_actor::testkit::script::run;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../raft-actor/tests/scripts")
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

#[cfg_attr(test, test)]
pub(crate) fn every_script_comes_to_what_stands_in_it() {
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

#[test]
fn a_script_that_is_wrong_is_told_by_file_and_line() {
    for (text, told) in [
        ("# A comment.\n> status\n", "x.txt:2: a script begins with `cluster`"),
        ("> cluster 3\n> dance n1\n", "x.txt:2: `dance` is no command"),
        ("> cluster 3\n> campaign n7\n", "x.txt:2: there is no n7 in this cluster"),
        ("> cluster 3\n> campaign 1\n", "x.txt:2: `1` is no node; write n1"),
        ("> cluster 3\n\n> deliver n1>n2\n", "x.txt:3: nothing is on its way from n1 to n2"),
        ("> cluster 3 speed=9\n", "x.txt:1: `speed` is no setting of a cluster"),
        ("> cluster 0,1\n", "x.txt:1: node id 0 is reserved; number nodes from 1"),
        ("> cluster 1,2!256\n", "x.txt:1: `256` is no priority from 0 to 255"),
        ("> cluster 1w,2w\n", "x.txt:1: no voter could lead: all are witnesses, or have priority 0"),
        ("> cluster 3\n> crash n1\n> campaign n1\n", "x.txt:3: n1 does not run"),
        ("> cluster 3\n> receive n2@1 n1 TimeoutNow\n", "x.txt:2: a message is `n2@3 -> n1 Name ...`"),
        ("> cluster 3\n> receive n2@1 -> n1 Shout\n", "x.txt:2: `Shout` is no message"),
        (
            "> cluster 3\n> receive n2@1 -> n1 TimeoutNow loud\n",
            "x.txt:2: `loud` does not belong to TimeoutNow",
        ),
        ("> cluster 3\n> receive n2@1 -> n1 RequestVote\n", "x.txt:2: `last=index@term` is missing"),
        (
            "> cluster 3\n> disk n1 log 4\n",
            "x.txt:2: the log is of term 4, and the disk of term 0: say `term=4`",
        ),
        ("> cluster 3\n> pass soon\n", "x.txt:2: `soon` is no time; write 300ms or 2s"),
        ("said by nobody\n", "x.txt:1: `said by nobody` is neither a comment, a command nor below a command"),
    ] {
        let error = run("x.txt", text).expect_err(text);
        assert_eq!(error.to_string(), told);
    }
}

#[test]
fn a_script_that_breaks_an_invariant_ends_with_its_name() {
    let elected = "> cluster 3\n> campaign n1\n> settle\n";
    for (lie, told) in [
        // A commit that no quorum has.
        (
            "> receive n2@5 -> n3 AppendEntries prev=1@1 [2@5:lie] commit=2",
            "Committed is on a quorum is broken",
        ),
        // An entry that is two.
        (
            "> propose n1 x; receive n1@1 -> n3 AppendEntries prev=1@1 [2@1:lie] commit=0",
            "Log Matching is broken",
        ),
        // A match that no disk holds.
        (
            "> propose n1 x; flush n1; receive n2@1 -> n1 AppendEntriesReply match=2",
            "Committed is on a quorum is broken",
        ),
        // Votes that nobody gave, for a second leader of term 1.
        (
            "> crash n2; disk n2; wait 310ms; receive n3@0 -> n2 TimeoutNow; flush n2; \
             receive n3@1 -> n2 RequestVoteReply granted",
            "One vote a term is broken",
        ),
    ] {
        let error = run("x.txt", &format!("{elected}{lie}\n")).expect_err(lie).to_string();
        assert!(error.starts_with(&format!("x.txt:4: {told}")), "{error}");
    }
}
