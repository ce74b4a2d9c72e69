//! What services send to their notify socket.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| svd_keeper::fuzz::notify(data));
