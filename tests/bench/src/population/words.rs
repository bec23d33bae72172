//! What things are called. All of it is made up.

pub(super) const KINDS: [(&str, &str, &str); 7] = [
    ("speaker", "spk", "Room One Speaker"),
    ("soundbar", "bar", "Cinema Bar 7"),
    ("headphones", "hph", "Quiet Wireless II"),
    ("watch", "wat", "Motion Watch 4"),
    ("phone", "app", "Companion for Phones"),
    ("tablet", "app", "Companion for Tablets"),
    ("car", "car", "Drive Audio Unit"),
];
pub(super) const COUNTRIES: [(&str, &str); 8] = [
    ("cn", "zh-Hans-CN"),
    ("de", "de-DE"),
    ("fr", "fr-FR"),
    ("gb", "en-GB"),
    ("jp", "ja-JP"),
    ("nl", "nl-NL"),
    ("se", "sv-SE"),
    ("us", "en-US"),
];
pub(super) const FIRMWARES: [&str; 5] = [
    "12.4.0",
    "12.3.7-stable",
    "11.9.2",
    "13.0.0-beta.4",
    "12.4.1+cn.20260214",
];
pub(super) const APPS: [&str; 4] = ["2.14.3", "2.14.2", "2.13.0", "3.0.0-rc.1"];
pub(super) const SERVICES: [&str; 6] = [
    "northbound",
    "deezer",
    "tidal",
    "tunewell",
    "qingyin",
    "radiohall",
];
pub(super) const SOURCES: [&str; 6] = [
    "streaming",
    "streaming",
    "streaming",
    "radio",
    "bluetooth",
    "cast",
];
pub(super) const GENRES: [&str; 10] = [
    "indie",
    "jazz",
    "mandopop",
    "classical",
    "rock",
    "electronic",
    "hip hop",
    "chanson",
    "soundtrack",
    "folk & songwriter",
];
pub(super) const ARTISTS: [&str; 12] = [
    "The Lanterns",
    "Orbit Parade",
    "Ilse Varga",
    "林小舟",
    "Café Müller Quartett",
    "Sister Meridian and the Tall Ships",
    "Åsa Nordlund",
    "DJ Halogen",
    "Orquesta del Puerto Viejo",
    "北岸乐队",
    "Two Left Gloves",
    "The \"Almost\" Brothers",
];
pub(super) const TITLES: [&str; 16] = [
    "Northern Lights",
    "Re-entry",
    "Paper Boats",
    "长街",
    "Window Pieces No. 4 in E Minor",
    "Slow Train to Morning (Remastered)",
    "Kolibri",
    "Every Room in the House",
    "夜航",
    "Salt & Copper",
    "The Long Way Round (Live at the Old Harbour)",
    "Low Tide",
    "Fischer & Söhne",
    "Apogee",
    "Tell Me When the Rain Stops (feat. Åsa Nordlund)",
    "Untitled 7",
];
pub(super) const SCREENS: [&str; 10] = [
    "home",
    "search",
    "search/results",
    "nowplaying",
    "nowplaying/queue",
    "playlists",
    "playlists/detail",
    "settings/rooms",
    "settings/account",
    "services/add",
];
pub(super) const OPTIONS: [&str; 10] = [
    "open",
    "back",
    "like",
    "share",
    "play",
    "next",
    "room_add",
    "volume",
    "sleep-timer",
    "scroll",
];
pub(super) const GRANTS: [&str; 4] = ["refreshtoken", "refreshtoken", "devicecode", "authorizationcode"];
/// What is said, how it is taken, and what is answered.
pub(super) const VOICE: [(&str, &str, &str, &str); 5] = [
    (
        "play some jazz",
        "play genre=jazz",
        "playgenre",
        "Here is some jazz.",
    ),
    (
        "mets la suite dans la cuisine",
        "transfer queue room=kitchen",
        "transfer",
        "La musique continue dans la cuisine.",
    ),
    (
        "放一首轻松的歌",
        "play mood=relaxed",
        "playmood",
        "好的,为你播放轻松的音乐。",
    ),
    (
        "what was the song before this one",
        "query history offset=-1",
        "queryhistory",
        "That was Paper Boats by Ilse Varga.",
    ),
    ("leiser bitte", "volume delta=-10", "volume", "Leiser."),
];
