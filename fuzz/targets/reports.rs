//! What a manager reads from its keeper.
#![no_main]
use libfuzzer_sys::fuzz_target;
use svd_wire::{decode_report, encode_report};

fuzz_target!(|data: &[u8]| {
    let Some((fds, packet)) = data.split_first() else { return };
    let fds = usize::from(fds % 70);
    if let Ok((_, report)) = decode_report(packet, fds) {
        let again = encode_report(&report, fds).expect("what was read can be written");
        assert_eq!(decode_report(&again, fds).expect("what was written can be read").1, report);
    }
});
