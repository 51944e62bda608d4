//! Counting: this program, run under valgrind.

use std::{
    env,
    process::{Child, Command, Stdio},
};

use crate::path::Path;

/// Has the C library copy and fill memory by loops at any size, on every processor. Some processors have one
/// instruction for it that valgrind counts once a byte.
const LOOPS: &str =
    "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000";

/// Instructions of one operation. A run with the warm-up alone is taken away from one that goes on, so what
/// comes before and after is in neither.
pub(crate) fn count(path: &Path) -> Result<u64, String> {
    let without = start(path, path.warm_up)?;
    let with = start(path, path.warm_up + path.counted)?;
    let (without, with) = (total(path, without)?, total(path, with)?);
    let difference =
        with.checked_sub(without).ok_or_else(|| format!("{}: more work took less", path.name))?;
    Ok(difference.div_ceil(path.counted))
}

fn start(path: &Path, times: u64) -> Result<Child, String> {
    let program =
        env::current_exe().map_err(|error| format!("this program does not find itself: {error}"))?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    valgrind.arg(program).args(["--run", path.name, &times.to_string()]);
    valgrind.env("GLIBC_TUNABLES", LOOPS);
    valgrind.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    valgrind
        .spawn()
        .map_err(|error| format!("valgrind cannot be started ({error}): install it, or put it on the PATH"))
}

fn total(path: &Path, run: Child) -> Result<u64, String> {
    let output = run.wait_with_output().map_err(|error| format!("{}: {error}", path.name))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let total = if output.status.success() { read(&told) } else { None };
    total.ok_or_else(|| format!("{}: valgrind has counted nothing; it said:\n{told}", path.name))
}

/// Reads `==123== I   refs:      1,234,567`, the line of all instructions.
fn read(told: &str) -> Option<u64> {
    let line = told.lines().find(|line| line.contains(" I ") && line.contains("refs:"))?;
    line.rsplit(':').next()?.trim().replace(',', "").parse().ok()
}
