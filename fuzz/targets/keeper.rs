//! Whole conversations with a keeper: any sequence of requests, ends and deadlines keeps it sound.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| svd_keeper::fuzz::conversation(data));
