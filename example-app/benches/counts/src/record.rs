//! What is recorded: a file that people read, too.

use std::{collections::BTreeMap, fs};

use crate::path::Path;

/// In the source tree, not where the program happens to be run.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recorded.txt");

/// By how many per cent a count may be above what is recorded. Another C library was seen to make 3.4.
pub(crate) const TOLERANCE_PERCENT: f64 = 5.0;

/// What makes counts comparable: the compiler that has built this program, and for what.
pub(crate) const BUILT_BY: &str = concat!(env!("COUNTS_RUSTC"), " for ", env!("COUNTS_TARGET"));

const HEAD: &str = "\
# Instructions of one operation of each hot path. Written by `-- --record`; what each is, and how they are
# counted, stands in docs/src/reference/benchmarks.md under \"Guarding what was reached\".
";

const BUILD: &str = "built by";

pub(crate) struct Record {
    pub(crate) built_by: String,
    pub(crate) counts: BTreeMap<String, u64>,
}

pub(crate) fn read() -> Result<Record, String> {
    parse(&fs::read_to_string(FILE).map_err(|error| format!("cannot read {FILE}: {error}"))?)
}

/// Replaces what is recorded of these paths; a record of another compiler is replaced whole.
pub(crate) fn write(counted: &[(Path, u64)]) -> Result<(), String> {
    let mut counts = match read() {
        Ok(record) if record.built_by == BUILT_BY => record.counts,
        _ => BTreeMap::new(),
    };
    counts.extend(counted.iter().map(|(path, count)| (path.name.to_owned(), *count)));
    fs::write(FILE, format_record(&counts)).map_err(|error| format!("cannot write {FILE}: {error}"))?;
    println!("recorded in {FILE}");
    Ok(())
}

fn format_record(counts: &BTreeMap<String, u64>) -> String {
    let of = |path: &Path| Some(format!("{:<20}{:>10}\n", path.name, counts.get(path.name)?));
    let rows: String = Path::ALL.iter().filter_map(of).collect();
    format!("{HEAD}{BUILD} {BUILT_BY}\n{rows}")
}

fn parse(text: &str) -> Result<Record, String> {
    let (mut built_by, mut counts) = (None, BTreeMap::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(build) = line.strip_prefix(BUILD) {
            built_by = Some(build.trim().to_owned());
            continue;
        }
        let pair = line.split_whitespace().collect::<Vec<_>>();
        let ([name, _], Some(Ok(count))) = (&pair[..], pair.get(1).map(|count| count.parse())) else {
            return Err(format!("{FILE}: {line:?} is not a name and a number"));
        };
        counts.insert((*name).to_owned(), count);
    }
    let built_by = built_by.ok_or_else(|| format!("{FILE} does not say `{BUILD}` which compiler"))?;
    Ok(Record { built_by, counts })
}
