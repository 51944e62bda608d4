//! Runs a target of the fuzzer over its corpus, as a test: every file, and every file with each of its bytes
//! turned, cut off there, or taken out. Shared by the crates that have such targets.

use std::{fs, path::Path};

/// A file is damaged at so many places at most, evenly spread.
const PLACES_MAX: usize = 400;

/// Gives `target` everything in `folder`, and much that is almost that. It is the target that checks.
pub(crate) fn run(folder: impl AsRef<Path>, target: fn(&[u8])) {
    let folder = folder.as_ref();
    let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut runs = 0;
    for file in files {
        let path = file.expect("the folder can be read").path();
        let bytes = fs::read(&path).expect("the file can be read");
        println!("{}", path.display());
        target(&bytes);
        for at in (0..bytes.len()).step_by(bytes.len() / PLACES_MAX + 1) {
            let mut turned = bytes.clone();
            turned[at] ^= 1 << (at % 8);
            target(&turned);
            turned[at] = 0xff;
            target(&turned);
            target(&bytes[..at]);
            let mut without = bytes.clone();
            without.remove(at);
            target(&without);
            runs += 4;
        }
    }
    println!("{}: {runs} runs", folder.display());
    assert!(runs > 100, "{} holds too little to say anything", folder.display());
}
