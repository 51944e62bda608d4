//! Damage: what each log makes of a disk that has not kept what it was given.
//!
//! A process writes 2,000 entries of 128 B, each flushed and acknowledged by itself, and dies at once. Then
//! one fault is done to a copy of its files, and another process opens the copy and reads all that it is
//! offered. What was acknowledged must be there, or the log must say that something is wrong. A log that
//! opens with less, without a word, has lost it.

mod faults;
mod logs;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use self::{
    faults::{Fault, Files},
    logs::{Kind, Outcome},
};
use crate::{
    material::Material,
    settings::Settings,
    speed::{fresh, remove},
};

/// The word by which this program calls itself.
pub(crate) const CHILD: &str = "child";
const ENTRIES: u64 = 2000;
const ENTRY_BYTES: usize = 128;
/// A log that has not opened by then hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process stays idle where it does: enough for ours to mark that what it wrote was flushed.
const IDLE: Duration = Duration::from_millis(100);

/// What was written as the entry of this index.
fn payload(material: &Material, index: u64) -> Vec<u8> {
    material.payload(index, ENTRY_BYTES).to_vec()
}

/// The other processes: one writes and dies, one opens and tells.
pub(crate) fn child(mut words: impl Iterator<Item = String>) -> Result<(), String> {
    let mut word = || words.next().ok_or("a word is missing");
    let (act, name, folder) = (word()?, word()?, PathBuf::from(word()?));
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or("there is no such log")?;
    let material = Material::new();
    if act == "read" {
        println!("{}", kind.read(&folder, &material));
        return Ok(());
    }
    kind.write(&folder, &material, || {
        println!("acknowledged");
        if act == "idle" {
            thread::sleep(IDLE);
        }
        std::process::abort()
    })
}

fn start(act: &str, kind: Kind, folder: &Path) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args([CHILD, act, kind.name()]).arg(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(|error| error.to_string())
}

/// What a child has said, and whether it ended well. None where it did not end.
fn hear(mut child: Child) -> Result<Option<(String, bool)>, String> {
    let started = Instant::now();
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().map_err(|error| error.to_string())?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Some((said, output.status.success())))
}

/// Prints the table.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    let root = settings.folder.join("damage");
    fresh(&root)?;
    let kinds = Kind::ALL.map(Kind::name).join(" | ");
    println!("| fault | {kinds} |\n|---|{}", "---|".repeat(Kind::ALL.len()));
    let mut lost = [0_u32; Kind::ALL.len()];
    for fault in Fault::ALL {
        let mut cells = Vec::new();
        for (kind, lost) in Kind::ALL.into_iter().zip(&mut lost) {
            let outcome = take(&root, kind, fault)?;
            let is_loss = matches!(
                outcome,
                Some(Outcome::Opened { lost: 1.., .. } | Outcome::Opened { wrong: 1.., .. })
            );
            let bearable =
                fault == Fault::Torn && matches!(outcome, Some(Outcome::Opened { lost: 1, wrong: 0, .. }));
            *lost += u32::from(is_loss && !bearable);
            cells.push(outcome.map_or("-".to_owned(), |outcome| outcome.cell(fault == Fault::Torn)));
        }
        println!("| {} | {} |", fault.name(), cells.join(" | "));
    }
    let lost = lost.map(|lost| lost.to_string()).join(" | ");
    println!("| **rows with a silent loss** | {lost} |");
    remove(&root)
}

/// Writes, dies, damages and reads. None where a log has no such file.
fn take(root: &Path, kind: Kind, fault: Fault) -> Result<Option<Outcome>, String> {
    let folder = root.join("log");
    fresh(&folder)?;
    let act = if fault.is_idle() { "idle" } else { "write" };
    let said = hear(start(act, kind, &folder)?)?;
    if said.as_ref().is_none_or(|(said, _)| said != "acknowledged") {
        return Err(format!("{} could not write {ENTRIES} entries", kind.name()));
    }
    let material = Material::new();
    let files = Files::of(&folder, kind, &material)?;
    if !fault.inflict(kind, &files).map_err(|error| format!("{}, {}: {error}", kind.name(), fault.name()))? {
        return Ok(None);
    }
    Ok(Some(match hear(start("read", kind, &folder)?)? {
        None => Outcome::Hangs,
        Some((said, true)) => said.parse()?,
        Some((_, false)) => Outcome::Panics,
    }))
}

/// All files of a folder and those below it.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}
