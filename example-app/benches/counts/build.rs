//! Tells the program which compiler has built it, since counts are the compiler's as much as ours.

use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rustc = Command::new(std::env::var("RUSTC")?).arg("--version").output()?.stdout;
    let version = String::from_utf8(rustc)?;
    println!("cargo:rustc-env=COUNTS_RUSTC={}", version.trim());
    println!("cargo:rustc-env=COUNTS_TARGET={}", std::env::var("TARGET")?);
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
