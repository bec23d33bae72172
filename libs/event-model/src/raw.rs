//! Reads the bytes of one event, once, and refuses what does not have exactly one meaning.
//!
//! JSON lets an object bring a name twice and leaves open which one counts (RFC 8259, section 4).
//! An event that one reader takes for one thing and the next reader for another must not enter the
//! stream, so duplicates are refused at any depth. Depth is bounded because every later reader
//! recurses, and a name that only the server may set is refused because a client could forge it.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::{
    envelope::SERVER_SET_FIELDS,
    tree::{Member, Tree, member},
};

/// The deepest nesting that a caller may allow. The parser beneath stops at 128 by itself.
pub const MAX_DEPTH_LIMIT: usize = 100;

/// Room for the members of an event, so that most events are read without moving them.
const MEMBERS: usize = 16;

/// An object of up to this many members is searched for a name one by one; a larger one has an index,
/// so that the time it takes to read it grows with its size alone.
const SEARCHED: usize = 32;

/// Pointers in errors are cut at this many bytes: a name is the client's, and can be long.
const MAX_POINTER: usize = 256;

/// One event as the client wrote it, beside what it says.
#[derive(Debug)]
pub struct RawEvent<'a> {
    bytes: &'a [u8],
    fields: Tree<'a>,
}

/// Why the bytes are not an event, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (at byte {offset}{})", at(pointer))]
pub struct MalformedEvent {
    /// What is wrong.
    pub reason: MalformedReason,
    /// Where reading stopped, in bytes from the start of the event.
    pub offset: usize,
    /// The value or name concerned, as a JSON Pointer (RFC 6901); empty for the event as a whole.
    pub pointer: String,
}

fn at(pointer: &str) -> String {
    if pointer.is_empty() {
        String::new()
    } else {
        format!(", {pointer}")
    }
}

/// What is wrong with the bytes of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReason {
    /// Valid JSON, but an event is an object.
    #[error("an event must be a JSON object")]
    NotAnObject,
    /// An object brings a name twice.
    #[error("this name is there twice")]
    DuplicateName,
    /// The client brings a field that only the server may set.
    #[error("only the server sets this field")]
    ServerSetName,
    /// Objects and arrays are nested too deeply.
    #[error("nested deeper than {limit}")]
    TooDeep {
        /// How deep is allowed; the event itself is at depth 1.
        limit: usize,
    },
    /// A text holds U+0000, escaped. JSON allows it (RFC 8259, section 7), and what reads events after
    /// JSON does not: it ends the text there, or refuses the line.
    #[error("a text must not hold the character U+0000")]
    Nul,
    /// Not JSON. The parser's own words, which name what was expected and never what was found.
    #[error("not valid JSON: {0}")]
    Syntax(String),
}

impl<'a> RawEvent<'a> {
    /// Reads one event. `max_depth` is how deep objects and arrays may be nested, the event itself
    /// being at depth 1; above [`MAX_DEPTH_LIMIT`] it counts as that.
    ///
    /// # Errors
    /// What is wrong, with the byte and the pointer where it was seen.
    pub fn parse(bytes: &'a [u8], max_depth: usize) -> Result<Self, MalformedEvent> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse_text(text, max_depth),
            // The parser says where it is not UTF-8, or what is wrong before that.
            Err(_) => Self::read(bytes, serde_json::Deserializer::from_slice(bytes), max_depth),
        }
    }

    /// The same for bytes that are known to be UTF-8.
    ///
    /// # Errors
    /// As [`RawEvent::parse`].
    pub fn parse_text(text: &'a str, max_depth: usize) -> Result<Self, MalformedEvent> {
        Self::read(
            text.as_bytes(),
            serde_json::Deserializer::from_str(text),
            max_depth,
        )
    }

    fn read<R: serde_json::de::Read<'a>>(
        bytes: &'a [u8],
        mut deserializer: serde_json::Deserializer<R>,
        max_depth: usize,
    ) -> Result<Self, MalformedEvent> {
        let mut reader = Reader {
            limit: max_depth.min(MAX_DEPTH_LIMIT),
            fault: None,
        };
        let value = Node {
            reader: &mut reader,
            depth: 0,
        }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
        match value {
            Ok(fields) => Ok(Self {
                bytes: bytes.trim_ascii(),
                fields,
            }),
            Err(error) => {
                let (offset, message) = syntax_fault(bytes, &error);
                let fault = reader.fault.unwrap_or_else(|| Fault {
                    reason: MalformedReason::Syntax(message),
                    segments: Vec::new(),
                });
                Err(MalformedEvent {
                    offset,
                    pointer: fault.pointer(),
                    reason: fault.reason,
                })
            }
        }
    }

    /// The client's bytes, from `{` to `}`.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What the event says, for judging it. It is the bytes that are stored, never this.
    #[must_use]
    pub fn tree(&self) -> &Tree<'a> {
        &self.fields
    }

    /// One top-level field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Tree<'a>> {
        member(self.fields.members(), name)
    }

    /// Whether the client sent no field at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.members().is_empty()
    }
}

/// Where the parser stopped, in bytes from the start, and what it expected there. Its words are
/// fixed texts, which never hold what was found.
///
/// People with a hex dump want the offset, where the parser reports line and column (in bytes).
#[must_use]
pub fn syntax_fault(bytes: &[u8], error: &serde_json::Error) -> (usize, String) {
    let start_of_line = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    let offset = start_of_line
        .saturating_add(error.column().saturating_sub(1))
        .min(bytes.len());
    let message = error.to_string();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    (offset, message[..end].to_owned())
}

/// Carries the limit down and the first fault up.
struct Reader {
    limit: usize,
    fault: Option<Fault>,
}

struct Fault {
    reason: MalformedReason,
    /// From the fault outwards: each level adds its own on the way up, so that the good path pays
    /// nothing for it.
    segments: Vec<String>,
}

impl Fault {
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for segment in self.segments.iter().rev() {
            pointer.push('/');
            pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
        }
        pointer.truncate(pointer.floor_char_boundary(MAX_POINTER));
        pointer
    }
}

impl Reader {
    fn fail<E: de::Error>(&mut self, reason: MalformedReason, segment: Option<&str>) -> E {
        let error = E::custom(&reason);
        let segments = segment.map(str::to_owned).into_iter().collect();
        self.fault.get_or_insert(Fault { reason, segments });
        error
    }

    fn within<T, E>(&mut self, segment: &impl ToString, result: Result<T, E>) -> Result<T, E> {
        if result.is_err()
            && let Some(fault) = &mut self.fault
        {
            fault.segments.push(segment.to_string());
        }
        result
    }
}

/// One value at a depth; the event itself is read from depth 0.
struct Node<'r> {
    reader: &'r mut Reader,
    depth: usize,
}

impl Node<'_> {
    fn enter<E: de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        let limit = self.reader.limit;
        if self.depth > limit {
            return Err(self.reader.fail(MalformedReason::TooDeep { limit }, None));
        }
        Ok(())
    }

    /// A value that is not an object is fine anywhere but at the top.
    fn scalar<'de, E: de::Error>(self, value: Tree<'de>) -> Result<Tree<'de>, E> {
        if self.depth == 0 {
            return Err(self.reader.fail(MalformedReason::NotAnObject, None));
        }
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Tree<'de>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Tree<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Tree<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Tree<'de>, A::Error> {
        self.enter()?;
        let Self { reader, depth } = self;
        let mut members = Vec::with_capacity(if depth == 1 { MEMBERS } else { 0 });
        let mut index = HashSet::new();
        while let Some(name) = access.next_key_seed(Name)? {
            if depth == 1 && SERVER_SET_FIELDS.contains(&name.as_ref()) {
                return Err(reader.fail(MalformedReason::ServerSetName, Some(&name)));
            }
            if is_twice(&name, &members, &mut index) {
                return Err(reader.fail(MalformedReason::DuplicateName, Some(&name)));
            }
            let value = access.next_value_seed(Node { reader, depth });
            let value = reader.within(&name, value)?;
            members.push((name, value));
        }
        Ok(Tree::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Tree<'de>, A::Error> {
        if self.depth == 0 {
            return Err(self.reader.fail(MalformedReason::NotAnObject, None));
        }
        self.enter()?;
        let Self { reader, depth } = self;
        let mut items = Vec::new();
        loop {
            let item = access.next_element_seed(Node { reader, depth });
            match reader.within(&items.len(), item)? {
                Some(item) => items.push(item),
                None => return Ok(Tree::Array(items)),
            }
        }
    }

    /// A text without escapes: it cannot hold U+0000.
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Tree<'de>, E> {
        self.scalar(Tree::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Tree<'de>, E> {
        if self.depth > 0 && text.contains('\0') {
            return Err(self.reader.fail(MalformedReason::Nul, None));
        }
        self.scalar(Tree::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree<'de>, E> {
        self.scalar(Tree::Bool(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree<'de>, E> {
        self.scalar(Tree::Null)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree<'de>, E> {
        self.scalar(Tree::Number(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Tree<'de>, E> {
        self.scalar(Tree::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree<'de>, E> {
        self.scalar(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
    }
}

/// Whether an object has the name already. `index` stays empty while the object is small; later it holds
/// the names of the first members, as many as it has.
fn is_twice<'de>(name: &str, members: &[Member<'de>], index: &mut HashSet<Cow<'de, str>>) -> bool {
    if members.len() < SEARCHED {
        return member(members, name).is_some();
    }
    index.extend(members[index.len()..].iter().map(|(name, _)| name.clone()));
    index.contains(name)
}

/// A name, owned only if it holds an escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
#[path = "raw/tests.rs"]
mod tests;
