//! What a keeper reads of the one that it was before: its state, sealed, with a version and a checksum.
#![no_main]
use libfuzzer_sys::fuzz_target;
use svd_wire::{decode_state, encode_state};

fuzz_target!(|data: &[u8]| {
    for bytes in [data.to_vec(), svd_wire::with_checksum(data)] {
        if let Ok(state) = decode_state(&bytes) {
            let again = encode_state(&state);
            let read = decode_state(&again).expect("what was written can be read");
            assert_eq!(encode_state(&read), again, "it says the same");
        }
    }
});
