//! Measured beside recorded.

use crate::{
    path::Path,
    record::{self, BUILT_BY, TOLERANCE_PERCENT},
};

/// Prints the table, and says whether every path is within the tolerance.
pub(crate) fn hold(counted: &[(Path, u64)]) -> Result<bool, String> {
    let record = record::read()?;
    println!("{:<20}{:>12}{:>12}{:>9}   one operation is", "", "counted", "recorded", "");
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for (path, count) in counted {
        let recorded = record.counts.get(path.name).copied();
        let recorded = recorded.ok_or_else(|| format!("{} is not recorded: run with --record", path.name))?;
        let percent = (*count as f64 / recorded as f64 - 1.0) * 100.0;
        println!("{:<20}{count:>12}{recorded:>12}{percent:>+8.1}%   {}", path.name, path.operation);
        if percent > TOLERANCE_PERCENT {
            above.push(path.name);
        } else if percent < -TOLERANCE_PERCENT {
            below.push(path.name);
        }
    }
    if record.built_by != BUILT_BY {
        println!("\nNot held against the record: that was built by {}, this by {BUILT_BY}.", record.built_by);
        return Ok(true);
    }
    if !below.is_empty() {
        println!("\nLess than before: {}. Run with --record, so that it stays so.", below.join(", "));
    }
    if !above.is_empty() {
        println!(
            "\nMore than {TOLERANCE_PERCENT} % above what is recorded: {}. Mend it; or, where it is worth \
             its price, run with --record and say why in the commit.",
            above.join(", ")
        );
    }
    Ok(above.is_empty())
}
