//! Each kind of torture, a few times. The example `torture` does it as often as it is asked to.

use std::{panic::catch_unwind, path::PathBuf};

use raft_actor::mutants::Mutant;

use super::{
    PROGRAM,
    harness::{
        mutated,
        torture::{HEADINGS, Kind, run},
    },
};

/// Tortures a cluster, and demands that nothing is wrong after it. Where the machine lacks a tool for it, the
/// test says so and ends.
fn survives(kind: Kind, times: u64) {
    match run(PathBuf::from(PROGRAM), kind, times, 7, None) {
        Err(why) => println!("{} is skipped: {why}", kind.name()),
        Ok(row) => {
            println!("{HEADINGS}\n{row}");
            assert!(row.is_clean(), "{row:?}");
            assert_eq!(row.not_reached, 0, "the fault was met");
        }
    }
}

#[test]
fn a_node_killed_at_any_moment_loses_nothing() {
    survives(Kind::Kill, 2);
}

#[test]
fn all_nodes_killed_at_once_lose_nothing() {
    survives(Kind::KillAll, 2);
}

#[test]
fn a_node_killed_at_a_write_loses_nothing() {
    survives(Kind::KillAtWrite, 3);
}

#[test]
fn a_node_killed_at_a_flush_loses_nothing() {
    survives(Kind::KillAtFlush, 3);
}

#[test]
fn a_node_killed_at_a_rename_loses_nothing() {
    survives(Kind::KillAtRename, 2);
}

#[test]
fn a_node_whose_flush_fails_stops_and_says_why_and_comes_back() {
    survives(Kind::FlushFails, 2);
}

#[test]
fn a_node_that_finds_no_space_stops_and_says_why_and_comes_back() {
    survives(Kind::NoSpace, 1);
}

#[test]
fn a_node_whose_disk_is_full_stops_and_says_why_and_comes_back() {
    survives(Kind::DiskFull, 1);
}

#[test]
fn a_node_that_stands_still_and_goes_on_tells_nothing_stale() {
    survives(Kind::Freeze, 2);
}

#[test]
fn nodes_that_do_not_hear_each_other_lose_nothing() {
    survives(Kind::Partition, 3);
}

/// Whether a bug is noticed in a few tries. What torture demands of nodes on the way, it demands by a panic.
fn is_noticed(mutant: Mutant) -> bool {
    (0..6).any(|seed| {
        let bitten = || run(PathBuf::from(PROGRAM), Kind::Kill, 4, seed, Some(mutant)).expect("signals do");
        match catch_unwind(bitten) {
            Err(_) => true,
            Ok(row) => {
                println!("{HEADINGS}\n{row}");
                !row.is_clean()
            }
        }
    })
}

/// Nodes with a bug are processes of this very test, which is how it begins then.
#[test]
fn torture_finds_bugs_in_real_processes() {
    if mutated::asked().is_some() {
        return;
    }
    assert!(is_noticed(Mutant::StoresAnAppliedIndexThatLags), "entries that restarts skip");
    assert!(is_noticed(Mutant::ReadsBeforeItHasApplied), "reads that are stale");
}
