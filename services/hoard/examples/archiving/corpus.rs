//! Events that look like the pipeline's: seven types, few values in most fields, random ids.

/// The line of the event `n`, about 450 bytes. Ids are spread by a multiplicative hash, so that they
/// compress no better than random ones.
pub(crate) fn event(n: u64) -> String {
    let spread = |seed: u64| {
        (n ^ seed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(31)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
    };
    let (a, b, c, d) = (spread(1), spread(2), spread(3), spread(4));
    let types = [
        "userregistered",
        "navigation",
        "voicefeedback",
        "tokenrequest",
        "deviceregistered",
        "musicserviceauth",
        "play",
    ];
    let eventtype = types[(a % 100).min(6) as usize];
    let device = b % 20_000;
    format!(
        "{{\"eventtype\":\"{eventtype}\",\"schemaversion\":\"1-0-0\",\"eventid\":\"0198{:04x}-{:04x}-7{:03x}-8{:03x}-{:012x}\",\
         \"eventtime\":\"2026-01-31T{:02}:{:02}:{:02}.{:03}Z\",\"deviceid\":\"device-{device:08x}-{:08x}\",\"userid\":\"user-{:08x}\",\
         \"trackid\":\"spotify:track:{:016x}\",\"playtimeseconds\":{},\"playbackstate\":\"{}\",\"source\":\"{}\",\
         \"partnerid\":\"partner-{}\",\"clientid\":\"client-{}\",\"countrycode\":\"{}\",\"receivedtime\":\"2026-01-31T{:02}:{:02}:{:02}.{:03}Z\"}}",
        n >> 16 & 0xffff,
        n & 0xffff,
        a & 0xfff,
        b & 0xfff,
        c & 0xffff_ffff_ffff,
        n / 3_600_000 % 24,
        n / 60_000 % 60,
        n / 1_000 % 60,
        n % 1_000,
        spread(device) & 0xffff_ffff,
        spread(device) >> 32,
        d % 50_000 * 0x1_0001_0001,
        c % 600,
        ["started", "paused", "finished", "skipped"][(c % 4) as usize],
        ["voice", "app", "remote"][(d % 3) as usize],
        a % 40,
        a % 80,
        ["CN", "DE", "US", "JP", "BR"][(b % 5) as usize],
        n / 3_600_000 % 24,
        n / 60_000 % 60,
        n / 1_000 % 60,
        (n + a % 90) % 1_000,
    )
}
