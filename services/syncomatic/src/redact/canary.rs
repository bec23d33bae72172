//! Looks for what is shaped like personal data in values that a schema calls harmless.
//!
//! It is a canary, no filter: a schema that calls a field `keep` although people write their addresses
//! into it shows here as a count long before anybody complains. What has a check digit (bank cards,
//! Chinese identity numbers) is counted only when it is right, what has a grammar only when it parses,
//! and all of it only where it stands alone, not inside a longer number or word. Version fields may hold
//! four numbers with dots between them. Every search takes time linear in the text.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

/// A kind of personal data that can be told by its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// An e-mail address.
    Email,
    /// A telephone number: international with its `+`, or a Chinese mobile number.
    Phone,
    /// An IPv4 address other than a loopback's.
    Ipv4,
    /// An IPv6 address other than a loopback's.
    Ipv6,
    /// A MAC address.
    Mac,
    /// A Chinese identity number (GB 11643), its check digit right.
    ChineseId,
    /// A number of a payment card (ISO/IEC 7812), its check digit right.
    Card,
}

impl Pattern {
    /// Every pattern.
    pub const ALL: [Self; 7] = [
        Self::Email,
        Self::Phone,
        Self::Ipv4,
        Self::Ipv6,
        Self::Mac,
        Self::ChineseId,
        Self::Card,
    ];

    /// A metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Mac => "mac",
            Self::ChineseId => "chinese_id",
            Self::Card => "card",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The patterns that were found in a text, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found(u8);

impl Found {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What was found.
    pub fn patterns(self) -> impl Iterator<Item = Pattern> {
        Pattern::ALL
            .into_iter()
            .filter(move |pattern| self.0 & pattern.bit() != 0)
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What kind of text is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Any.
    Text,
    /// A version number, in which `1.2.3.4` is no address.
    Version,
}

impl Content {
    /// What a field holds, by its name.
    #[must_use]
    pub fn of_field(name: &str) -> Self {
        if name.ends_with("firmware") || name.ends_with("version") {
            Self::Version
        } else {
            Self::Text
        }
    }
}

/// Before a number that stands alone: no letter, no digit, no decimal point.
const BEFORE: &str = r"(?:^|[^0-9A-Za-z.]|(?:^|[^0-9])\.)";
/// Behind it: the same.
const BEHIND: &str = r"(?:$|[^0-9A-Za-z.]|\.(?:$|[^0-9]))";

/// The compiled patterns.
#[derive(Debug)]
pub struct Canary {
    email: Regex,
    international: Regex,
    chinese_mobile: Regex,
    ipv4: Regex,
    ipv6: Regex,
    mac: Regex,
    chinese_id: Regex,
    card: Regex,
}

impl Default for Canary {
    fn default() -> Self {
        let compile = |pattern: &str| Regex::new(pattern).expect("a constant that the tests compile");
        let alone = |pattern: &str| compile(&format!("{BEFORE}{pattern}{BEHIND}"));
        Self {
            email: compile(r"[\p{L}\p{N}._%+-]@(?:[\p{L}\p{N}-]+\.)+\p{L}{2,}"),
            // E.164 has up to 15 digits. A version's `+20260302` follows a digit.
            international: compile(r"(?:^|[^0-9A-Za-z.])\+[1-9](?:[ ().-]{0,2}[0-9]){7,14}(?:$|[^0-9])"),
            chinese_mobile: alone(r"(?:(?:\+|00)?86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}){2}"),
            ipv4: compile(&format!(
                r"{BEFORE}((?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}})(?:$|\.(?:$|[^0-9])|[^0-9A-Za-z.+_-])"
            )),
            ipv6: compile(
                r"(?:^|[^0-9A-Za-z:.])([0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8})(?:$|[^0-9A-Za-z:])",
            ),
            mac: compile(
                r"(?:^|[^0-9A-Za-z:-])[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})(?:$|[^0-9A-Za-z:-])",
            ),
            chinese_id: alone(
                r"([1-9][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx])",
            ),
            card: alone(
                r"([0-9]{13,19}|[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}|[0-9]{4}[ -][0-9]{6}[ -][0-9]{5})",
            ),
        }
    }
}

impl Canary {
    /// The patterns, which take some milliseconds to compile, once.
    pub(crate) fn shared() -> &'static Self {
        static CANARY: LazyLock<Canary> = LazyLock::new(Canary::default);
        &CANARY
    }

    /// What the text looks like.
    #[must_use]
    pub fn scan(&self, text: &str, content: Content) -> Found {
        if is_id_or_time(text.as_bytes()) {
            return Found::default();
        }
        let text = plain(text);
        let signs = Signs::of(&text);
        let mut found = Found::default();
        let mut note = |pattern: Pattern, is_there: bool| {
            if is_there {
                found = found.and(Found(pattern.bit()));
            }
        };
        if signs.at {
            note(Pattern::Email, self.email.is_match(&text));
        }
        if signs.digits >= 8 {
            let phone = (signs.plus && self.international.is_match(&text))
                || (signs.digits >= 11 && self.chinese_mobile.is_match(&text));
            note(Pattern::Phone, phone);
        }
        if signs.digits >= 13 {
            note(Pattern::Card, any_match(&self.card, &text, is_card));
        }
        if signs.digits >= 17 {
            note(
                Pattern::ChineseId,
                any_match(&self.chinese_id, &text, is_chinese_id),
            );
        }
        if signs.dots >= 3 && signs.digits >= 4 && content != Content::Version {
            note(Pattern::Ipv4, any_match(&self.ipv4, &text, is_ipv4));
        }
        if signs.colons >= 2 {
            note(Pattern::Ipv6, any_match(&self.ipv6, &text, is_ipv6));
        }
        if signs.colons >= 5 || signs.hyphens >= 5 {
            note(Pattern::Mac, self.mac.is_match(&text));
        }
        found
    }
}

/// What a text has that the patterns cannot do without: most texts need no search at all.
#[derive(Default)]
struct Signs {
    at: bool,
    plus: bool,
    digits: usize,
    dots: usize,
    colons: usize,
    hyphens: usize,
}

impl Signs {
    fn of(text: &str) -> Self {
        let mut signs = Self::default();
        for byte in text.bytes() {
            match byte {
                b'0'..=b'9' => signs.digits += 1,
                b'@' => signs.at = true,
                b'+' => signs.plus = true,
                b'.' => signs.dots += 1,
                b':' => signs.colons += 1,
                b'-' => signs.hyphens += 1,
                _ => {}
            }
        }
        signs
    }
}

/// The text without percent encoding and full-width forms (U+FF01 to U+FF5E), in which Chinese keyboards
/// write digits and `＠`.
fn plain(text: &str) -> Cow<'_, str> {
    let decoded = if text.contains('%') {
        percent_encoding::percent_decode_str(text).decode_utf8_lossy()
    } else {
        Cow::Borrowed(text)
    };
    let is_wide = |character: char| ('\u{ff01}'..='\u{ff5e}').contains(&character);
    if !decoded.contains(is_wide) {
        return decoded;
    }
    let narrow = |character: char| {
        let narrow = is_wide(character).then(|| char::from_u32(u32::from(character) - 0xfee0));
        narrow.flatten().unwrap_or(character)
    };
    Cow::Owned(decoded.chars().map(narrow).collect())
}

/// The most frequent long values, which no pattern is in: a UUID, a time of RFC 3339.
fn is_id_or_time(text: &[u8]) -> bool {
    let has = |shape: &[u8]| {
        text.len() >= shape.len()
            && text.iter().zip(shape).all(|(byte, form)| match form {
                b'x' => byte.is_ascii_hexdigit(),
                b'0' => byte.is_ascii_digit(),
                other => byte == other,
            })
    };
    let tail = |byte: &u8| byte.is_ascii_digit() || b".:+-Z".contains(byte);
    match text.len() {
        36 => has(b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
        20..=35 => has(b"0000-00-00T00:00:00") && text[19..].iter().all(tail),
        _ => false,
    }
}

/// Whether the first group of any match is what `check` accepts. The search goes on right behind that
/// group: what separates two candidates belongs to both.
fn any_match(regex: &Regex, text: &str, check: impl Fn(&str) -> bool) -> bool {
    let mut at = 0;
    while let Some(candidate) = regex.captures_at(text, at).and_then(|captures| captures.get(1)) {
        if check(candidate.as_str()) {
            return true;
        }
        at = candidate.end();
    }
    false
}

fn is_ipv4(text: &str) -> bool {
    let address = text.parse::<Ipv4Addr>();
    address.is_ok_and(|address| !address.is_loopback() && !address.is_unspecified())
}

/// With `::` a short word can parse too (`a::b`), so three groups are asked for, or the prefix of
/// link-local addresses.
fn is_ipv6(text: &str) -> bool {
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    let telling = groups >= 3
        || text
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("fe80"));
    telling && text.parse::<Ipv6Addr>().is_ok()
}

/// ISO 7064 MOD 11-2 (GB 11643-1999).
fn is_chinese_id(text: &str) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    const CHECKS: &[u8; 11] = b"10X98765432";
    let digits = text.bytes().zip(WEIGHTS);
    let sum: u32 = digits.map(|(byte, weight)| u32::from(byte - b'0') * weight).sum();
    let check = CHECKS[(sum % 11) as usize];
    let last = text.as_bytes().get(17);
    last.is_some_and(|byte| byte.to_ascii_uppercase() == check)
}

/// The number's length is one that its issuer uses, and the Luhn sum is right.
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text
        .chars()
        .filter_map(|character| character.to_digit(10))
        .collect();
    let start = |count: usize| {
        digits[..count]
            .iter()
            .fold(0, |number, digit| number * 10 + digit)
    };
    let issued = match digits.len() {
        13 | 19 if start(1) == 4 => true,
        15 => matches!(start(2), 34 | 37),
        16 => {
            matches!(start(1), 4)
                || matches!(start(2), 51..=55 | 62 | 65)
                || matches!(start(4), 3528..=3589 | 6011)
                || matches!(start(6), 222_100..=272_099 | 644_000..=649_999)
        }
        17..=19 => start(2) == 62,
        _ => false,
    };
    let luhn = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) => double / 10 + double % 10,
        });
    issued && luhn.sum::<u32>() % 10 == 0
}

#[cfg(test)]
#[path = "canary/tests.rs"]
mod tests;
