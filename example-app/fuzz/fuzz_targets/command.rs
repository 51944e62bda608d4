#![no_main]

#[expect(dead_code, reason = "each program is for one target")]
#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::command(bytes));
