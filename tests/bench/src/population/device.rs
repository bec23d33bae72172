//! One device and the person who uses it.

use std::fmt::Write as _;

use event_model::Producer;
use jiff::Timestamp;
use rand::{Rng, rngs::StdRng};
use uuid::Uuid;

use super::words;

/// Events of a session: the time from picking a device up to putting it down.
const SESSION: std::ops::Range<u8> = 4..24;

#[derive(Clone, Debug)]
pub(super) struct Device {
    id: String,
    user: Uuid,
    kind: u8,
    country: u8,
    firmware: u8,
    service: u8,
    screen: u8,
    /// The track that plays.
    playing: Option<(u8, u8)>,
    /// Events left in this session.
    left: u8,
}

impl Device {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        let kind = index(rng, &words::KINDS);
        Self {
            id: format!(
                "{}-{:012x}-{:06}",
                words::KINDS[usize::from(kind)].1,
                rng.random::<u64>() >> 16,
                rng.random_range(0..1_000_000)
            ),
            user: Uuid::from_u128(rng.random()),
            kind,
            country: index(rng, &words::COUNTRIES),
            firmware: index(rng, &words::FIRMWARES),
            service: index(rng, &words::SERVICES),
            screen: 0,
            playing: None,
            // In the middle of a session, as most are at any time.
            left: rng.random_range(0..SESSION.end),
        }
    }

    /// What it sends next, of the types that `producer` may send.
    pub(super) fn act(&mut self, producer: Producer, now: Timestamp, rng: &mut StdRng) -> Fields {
        let dice = rng.random_range(0..1000);
        let starts = self.left == 0;
        if starts {
            self.left = rng.random_range(SESSION);
        }
        self.left -= 1;
        match producer {
            Producer::Platform if starts => match dice {
                0..70 => self.user_registered(now, rng),
                70..150 => self.device_registered(now, rng),
                150..300 => self.music_service_auth(now, rng),
                _ => self.token_request(now, rng),
            },
            Producer::Platform if dice < 40 => self.voice_feedback(now, rng),
            Producer::Platform | Producer::App if dice < 360 => self.navigation(now, rng),
            Producer::Platform | Producer::App | Producer::Device => self.play(now, rng),
        }
    }

    /// The fields that every type has.
    fn fields(&self, event_type: &str, now: Timestamp, rng: &mut StdRng) -> Fields {
        let mut fields = Fields::new();
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &rng.random()).into_uuid();
        fields.plain("eventtype", event_type);
        fields.plain("eventid", id.hyphenated());
        fields.plain("eventtime", format_args!("{now:.3}"));
        if rng.random_bool(0.8) {
            fields.plain("schemaversion", "1-0-0");
        }
        fields.plain("deviceid", &self.id);
        fields.plain("userid", self.user.hyphenated());
        fields
    }

    fn play(&mut self, now: Timestamp, rng: &mut StdRng) -> Fields {
        let begins = self.playing.is_none();
        let (title, artist) = *self
            .playing
            .get_or_insert_with(|| (index(rng, &words::TITLES), index(rng, &words::ARTISTS)));
        let mut fields = self.fields("play", now, rng);
        if begins {
            fields.plain("action", "play");
        } else {
            self.playing = None;
            fields.plain("action", if rng.random_bool(0.4) { "skip" } else { "stop" });
        }
        fields.plain("musicsource", words::SERVICES[usize::from(self.service)]);
        fields.plain("audiosource", pick(rng, &words::SOURCES));
        fields.text("track", words::TITLES[usize::from(title)]);
        fields.plain(
            "trackid",
            format_args!(
                "trk:{:022x}",
                0x5eed_u128 << 40 | u128::from(title) << 8 | u128::from(artist)
            ),
        );
        fields.text("artist", words::ARTISTS[usize::from(artist)]);
        fields.text("album", words::TITLES[usize::from(artist)]);
        fields.text("genre", words::GENRES[usize::from(title) % words::GENRES.len()]);
        if begins {
            fields.number("trackseconds", rng.random_range(95..420));
        } else {
            fields.number(
                "secondslistened",
                format_args!("{:.1}", rng.random_range(1.0..300.0)),
            );
        }
        fields.plain("firmware", words::FIRMWARES[usize::from(self.firmware)]);
        fields
    }

    fn navigation(&mut self, now: Timestamp, rng: &mut StdRng) -> Fields {
        let previous = std::mem::replace(&mut self.screen, index(rng, &words::SCREENS));
        let mut fields = self.fields("navigation", now, rng);
        fields.plain("screen", words::SCREENS[usize::from(self.screen)]);
        fields.plain("option", pick(rng, &words::OPTIONS));
        fields.number(
            "secondsonscreen",
            format_args!("{:.1}", rng.random_range(0.3..60.0)),
        );
        fields.plain("previousscreen", words::SCREENS[usize::from(previous)]);
        fields.plain("appversion", pick(rng, &words::APPS));
        fields
    }

    fn token_request(&self, now: Timestamp, rng: &mut StdRng) -> Fields {
        let mut fields = self.fields("tokenrequest", now, rng);
        fields.plain("grant", pick(rng, &words::GRANTS));
        if rng.random_bool(0.97) {
            fields.plain("outcome", "granted");
            fields.number("lifetimeseconds", 3_600);
        } else {
            fields.plain("outcome", "refused");
            fields.plain("reason", "expired_token");
        }
        fields.plain("country", self.country());
        fields
    }

    fn music_service_auth(&self, now: Timestamp, rng: &mut StdRng) -> Fields {
        let mut fields = self.fields("musicserviceauth", now, rng);
        fields.plain("service", words::SERVICES[usize::from(self.service)]);
        fields.plain(
            "outcome",
            pick(rng, &["success", "success", "success", "failure", "cancelled"]),
        );
        fields.plain("subscription", pick(rng, &["free", "premium", "family", "trial"]));
        fields
    }

    fn user_registered(&self, now: Timestamp, rng: &mut StdRng) -> Fields {
        let mut fields = self.fields("userregistered", now, rng);
        fields.plain("country", self.country());
        fields.plain("method", pick(rng, &["email", "phone", "social", "partner"]));
        fields.plain("locale", words::COUNTRIES[usize::from(self.country)].1);
        fields.number("marketingconsent", rng.random_bool(0.3));
        fields
    }

    fn device_registered(&self, now: Timestamp, rng: &mut StdRng) -> Fields {
        let (kind, _, model) = words::KINDS[usize::from(self.kind)];
        let mut fields = self.fields("deviceregistered", now, rng);
        fields.text("model", model);
        fields.plain("firmware", words::FIRMWARES[usize::from(self.firmware)]);
        fields.plain("owner", self.user.hyphenated());
        fields.plain("country", self.country());
        fields.plain("devicekind", kind);
        fields
    }

    fn voice_feedback(&self, now: Timestamp, rng: &mut StdRng) -> Fields {
        let (utterance, interpretation, intent, response) = *pick(rng, &words::VOICE);
        let mut fields = self.fields("voicefeedback", now, rng);
        fields.text("utterance", utterance);
        fields.text("interpretation", interpretation);
        fields.plain("intent", intent);
        fields.number("confidence", format_args!("{:.2}", rng.random_range(0.3..1.0)));
        fields.text("response", response);
        fields.plain(
            "outcome",
            pick(
                rng,
                &["done", "done", "done", "refused", "misunderstood", "error"],
            ),
        );
        fields.plain("language", words::COUNTRIES[usize::from(self.country)].1);
        fields
    }

    fn country(&self) -> &'static str {
        words::COUNTRIES[usize::from(self.country)].0
    }
}

/// A JSON object that is being written.
pub(super) struct Fields {
    json: String,
}

impl Fields {
    fn new() -> Self {
        let mut json = String::with_capacity(512);
        json.push('{');
        Self { json }
    }

    /// A number or a truth.
    fn number(&mut self, name: &str, value: impl std::fmt::Display) {
        let comma = if self.json.len() > 1 { "," } else { "" };
        write!(self.json, "{comma}\"{name}\":{value}").expect("a text takes every piece");
    }

    /// A text with nothing to escape.
    fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.number(name, format_args!("\"{value}\""));
    }

    /// A text that may hold anything.
    fn text(&mut self, name: &str, value: &str) {
        self.number(name, serde_json::Value::from(value));
    }

    /// Makes it what no schema allows, in one of the ways that clients do.
    pub(super) fn spoil(&mut self, rng: &mut StdRng) {
        match rng.random_range(0..3) {
            // A field of a newer version.
            0 => self.plain("colour", "red"),
            // A name that only the server may set.
            1 => self.plain("partnerid", "northwind"),
            // A name twice, of the wrong type even.
            _ => self.number("eventtype", 7),
        }
    }

    pub(super) fn json(mut self) -> String {
        self.json.push('}');
        self.json
    }
}

fn index<T>(rng: &mut StdRng, list: &[T]) -> u8 {
    u8::try_from(rng.random_range(0..list.len())).expect("lists are short")
}

fn pick<'l, T>(rng: &mut StdRng, list: &'l [T]) -> &'l T {
    &list[rng.random_range(0..list.len())]
}
