//! What the keeper reads from its manager: no packet does harm, and one that is taken says the same when it is written again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use svd_wire::{decode_request, decode_spec, encode_request, encode_spec};

fuzz_target!(|data: &[u8]| {
    let Some((fds, packet)) = data.split_first() else { return };
    let fds = usize::from(fds % 70);
    if let Ok((_, request)) = decode_request(packet, fds) {
        let again = encode_request(&request, fds).expect("what was read can be written");
        assert_eq!(decode_request(&again, fds).expect("what was written can be read").1, request);
    }
    if let Ok(spec) = decode_spec(packet) {
        assert_eq!(decode_spec(&encode_spec(&spec)).expect("what was written can be read"), spec);
        let _sound = spec.check();
    }
});
