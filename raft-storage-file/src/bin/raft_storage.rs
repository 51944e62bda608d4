//! The command `raft-storage`: lists, verifies, dumps, repairs and sets aside a node's folder.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use raft_actor::storage::StorageError;
use raft_storage_file::{
    disk::{Disk, RealDisk},
    inspect::{
        Damage, Record, Report, SegmentReport, SnapshotReport, StoreReport, Verdict, dump, inspect, repair,
        set_aside,
    },
};

/// Where nothing could be looked at.
const UNKNOWN: u8 = 3;

fn main() -> ExitCode {
    let matches = command_line().get_matches();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut out = io::stdout().lock();
    let done = match matches.subcommand() {
        Some(("list", flags)) => list(&disk, flags, &mut out),
        Some(("verify", flags)) => verify(&disk, flags, &mut out),
        Some(("dump", flags)) => dump_all(&disk, flags, &mut out),
        Some(("repair", flags)) => repair_one(&disk, flags, &mut out),
        Some(("set-aside", flags)) => set_one_aside(&disk, flags, &mut out),
        _ => Ok(UNKNOWN),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        // Whoever reads has enough: no failure of ours.
        Err(Failed::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failed::Output(error)) => complain(&error),
        Err(Failed::Storage(error)) => complain(&error),
    }
}

fn complain(error: &dyn std::error::Error) -> ExitCode {
    // Where even that cannot be told, the exit code is what is left.
    let _ = writeln!(io::stderr(), "raft-storage: {error}");
    ExitCode::from(UNKNOWN)
}

/// Why a command could not do its work.
enum Failed {
    Storage(StorageError),
    Output(io::Error),
}

impl From<StorageError> for Failed {
    fn from(error: StorageError) -> Failed {
        Failed::Storage(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Output(error)
    }
}

fn command_line() -> Command {
    let of_folder = |command: Command| {
        command.arg(
            Arg::new("folder")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A node's folder, or that of its log or its snapshots"),
        )
    };
    let yes = || Arg::new("yes").long("yes").action(ArgAction::SetTrue).help("Do it, instead of telling");
    let json = || Arg::new("json").long("json").action(ArgAction::SetTrue).help("One JSON value a line");
    Command::new("raft-storage")
        .about(
            "Looks at the folder of a node that is stopped. Nothing but `repair --yes` and `set-aside --yes` \
             changes anything",
        )
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(of_folder(Command::new("list").about("Show every file, and what is in it")).arg(json()))
        .subcommand(
            of_folder(Command::new("verify").about(
                "Read everything and say whether it opens. Exit code 0: yes; 1: yes, leaving out a torn \
                 write; 2: damaged; 3: it could not be looked at",
            ))
            .arg(json()),
        )
        .subcommand(
            of_folder(Command::new("dump").about("Show every frame and entry of the log, as they stand"))
                .arg(json()),
        )
        .subcommand(
            of_folder(Command::new("repair").about(
                "Keep what is intact before the damage, and let the node's peers send the rest; until they \
                 have, it does not vote",
            ))
            .arg(yes()),
        )
        .subcommand(
            of_folder(Command::new("set-aside").about(
                "Give a damaged folder another name, whole, so that a node of another id can begin there",
            ))
            .arg(yes()),
        )
}

fn folder(flags: &ArgMatches) -> &Path {
    flags.get_one::<PathBuf>("folder").map_or(Path::new("."), PathBuf::as_path)
}

fn list(disk: &Arc<dyn Disk>, flags: &ArgMatches, out: &mut dyn Write) -> Result<u8, Failed> {
    let report = inspect(disk, folder(flags))?;
    if flags.get_flag("json") {
        return tell_json(&report, out).map(|()| 0);
    }
    for store in &report.stores {
        tell_store(store, out)?;
    }
    for snapshot in &report.snapshots {
        tell_snapshot(snapshot, out)?;
    }
    Ok(0)
}

fn tell_json(value: &impl serde::Serialize, out: &mut dyn Write) -> Result<(), Failed> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

fn tell_store(store: &StoreReport, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "log {}", store.folder.display())?;
    if let Some(owner) = &store.owner {
        write!(out, ", node {} of cluster {}", owner.node_id, owner.cluster_id)?;
    }
    writeln!(out)?;
    if let Some(content) = &store.content {
        let vote = content.hard_state.voted_for.map_or("nobody".to_owned(), |node| format!("node {node}"));
        writeln!(out, "  term {}, vote for {vote}", content.hard_state.term)?;
        if let Some(fence) = content.hard_state.fence {
            writeln!(
                out,
                "  repaired: it does not vote before it holds an entry of a term later than {fence}"
            )?;
        }
        writeln!(out, "  entries after {} up to {}", content.purged, content.last)?;
    }
    for segment in &store.segments {
        tell_segment(segment, out)?;
    }
    for mend in &store.mends {
        writeln!(out, "  opening it would {mend}")?;
    }
    tell_verdict(&store.verdict, out)
}

fn tell_segment(segment: &SegmentReport, out: &mut dyn Write) -> io::Result<()> {
    let name = segment.file.file_name().unwrap_or_default().to_string_lossy();
    if let Some(why) = &segment.unreadable {
        return writeln!(out, "  {name}  {why}");
    }
    let sealed = if segment.sealed { "sealed" } else { "open" };
    let SegmentReport { bytes, frames, entries, .. } = segment;
    writeln!(out, "  {name}  {bytes} bytes, {frames} frames, {entries} entries, {sealed}")?;
    for Damage { offset, bytes, what, first_lost, last_lost, .. } in &segment.damaged {
        let lost = match last_lost {
            Some(last) if last < first_lost => "no entry".to_owned(),
            Some(last) => format!("the entries {first_lost} to {last}"),
            None => format!("the entries from {first_lost} on"),
        };
        writeln!(out, "    at offset {offset}, {bytes} bytes: {what}; {lost} may have stood there")?;
    }
    Ok(())
}

fn tell_snapshot(snapshot: &SnapshotReport, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "snapshot {}", snapshot.file.display())?;
    if let Some(owner) = &snapshot.owner {
        write!(out, ", node {} of cluster {}", owner.node_id, owner.cluster_id)?;
    }
    if let Some(last) = &snapshot.last {
        write!(out, ", up to {last}, {} bytes", snapshot.size_bytes)?;
    }
    writeln!(out)?;
    tell_verdict(&snapshot.verdict, out)
}

fn tell_verdict(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    match verdict {
        Verdict::Whole => writeln!(out, "  whole"),
        Verdict::Unfinished => writeln!(out, "  unfinished: a crash came first, and it is made anew"),
        Verdict::Torn { file, offset, bytes } => writeln!(
            out,
            "  torn: {} at offset {offset}, {bytes} bytes never acknowledged, left out on opening",
            file.display()
        ),
        Verdict::Damaged { file, offset, detail } => {
            writeln!(out, "  damaged: {} at offset {offset}: {detail}", file.display())
        }
        Verdict::Unknown { detail } => writeln!(out, "  unknown: {detail}"),
        _ => Ok(()),
    }
}

fn verify(disk: &Arc<dyn Disk>, flags: &ArgMatches, out: &mut dyn Write) -> Result<u8, Failed> {
    let report: Report = inspect(disk, folder(flags))?;
    let worst = report.verdict();
    if flags.get_flag("json") {
        tell_json(&worst, out)?;
        return Ok(worst.exit_code());
    }
    for store in &report.stores {
        writeln!(out, "log {}", store.folder.display())?;
        tell_verdict(&store.verdict, out)?;
    }
    for snapshot in &report.snapshots {
        writeln!(out, "snapshot {}", snapshot.file.display())?;
        tell_verdict(&snapshot.verdict, out)?;
    }
    Ok(worst.exit_code())
}

fn dump_all(disk: &Arc<dyn Disk>, flags: &ArgMatches, out: &mut dyn Write) -> Result<u8, Failed> {
    let json = flags.get_flag("json");
    let mut code = 0;
    let mut written = Ok(());
    dump(disk, folder(flags), |record| {
        if let Record::Damage { .. } = record {
            code = Verdict::Damaged { file: PathBuf::new(), offset: 0, detail: String::new() }.exit_code();
        }
        if written.is_ok() {
            written =
                if json { tell_json(&record, out) } else { tell_record(&record, out).map_err(Failed::from) };
        }
    })?;
    written.map(|()| code)
}

fn tell_record(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    match record {
        Record::Frame { file, offset, number, kind, first_index, entries, .. } => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            writeln!(out, "{name} {offset}: frame {number}, {kind}, {entries} entries from {first_index} on")
        }
        Record::Entry { index, term, kind, payload, .. } => {
            writeln!(out, "  {index}@{term} {kind} {payload}")
        }
        Record::Damage { file, offset, bytes, what } => {
            writeln!(out, "{} {offset}: {bytes} bytes are no frame: {what}", file.display())
        }
        _ => Ok(()),
    }
}

fn repair_one(disk: &Arc<dyn Disk>, flags: &ArgMatches, out: &mut dyn Write) -> Result<u8, Failed> {
    let (folder, really) = (folder(flags), flags.get_flag("yes"));
    let done = repair(disk, folder, really)?;
    tell_verdict(&done.why, out)?;
    let (is, are) = if really { ("is", "are") } else { ("would be", "would be") };
    for path in &done.put_aside {
        writeln!(out, "{} {is} what was damaged, or a copy of it", path.display())?;
    }
    let (purged, last) = done.kept;
    writeln!(out, "of the log, the entries after {purged} up to {last} {are} kept")?;
    if let Some(fence) = done.hard_state.fence {
        let term = done.hard_state.term;
        writeln!(
            out,
            "the node {is} fenced, in term {term}: it does not vote before its log holds an entry of a term \
             later than {fence}"
        )?;
    }
    match really {
        true => writeln!(out, "next: start the node as always; its status tells whether it is fenced still")?,
        false => writeln!(out, "nothing was changed, `--yes` does it")?,
    }
    Ok(0)
}

fn set_one_aside(disk: &Arc<dyn Disk>, flags: &ArgMatches, out: &mut dyn Write) -> Result<u8, Failed> {
    let (folder, really) = (folder(flags), flags.get_flag("yes"));
    let done = set_aside(disk, folder, really)?;
    tell_verdict(&done.why, out)?;
    if !really {
        writeln!(
            out,
            "{} would be renamed to {}; nothing was changed, `--yes` does it",
            folder.display(),
            done.folder.display()
        )?;
        return Ok(0);
    }
    writeln!(out, "{} is now {}", folder.display(), done.folder.display())?;
    writeln!(
        out,
        "next: remove the node from the cluster; start a node with another id here, to join; add it to the \
         cluster as a learner"
    )?;
    if !done.id_is_remembered {
        writeln!(
            out,
            "whose folder it was cannot be read any more: nothing but you keeps a node from being started \
             here under the old id, which it must not be"
        )?;
    }
    Ok(0)
}
