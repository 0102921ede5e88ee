#![no_main]

#[path = "../judge_update.rs"]
mod judge;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| judge::update(bytes));
