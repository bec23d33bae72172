//! What an event says, as a tree that borrows its names and texts from the event's bytes.
//!
//! The usual tree of owned texts in ordered maps costs several times what judging an event by its
//! schema does, nearly all of it in allocations. Here a text is copied only if it holds an escape, and
//! an object is its members in the order in which they came. The validator is generic over how JSON is
//! represented ([`Json`]), so that it judges this tree as it would judge any other.

use std::borrow::Cow;

use jsonschema::{
    JsonType,
    json::{Array, Json, Node, NodeIdentity, Object, cmp},
};
use serde_json::{Number, Value};

/// A value of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Tree<'a> {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text; owned only if it holds an escape.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Tree<'a>>),
    /// An object: its members in the order in which they came, no name twice.
    Object(Vec<Member<'a>>),
}

/// A name and its value.
pub type Member<'a> = (Cow<'a, str>, Tree<'a>);

impl<'a> Tree<'a> {
    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The members, if it is an object.
    pub(crate) fn members(&self) -> &[Member<'a>] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// The same as an owned value.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone().into_owned()),
            Self::Array(items) => items.iter().map(Tree::to_value).collect(),
            Self::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone().into_owned(), value.to_value()))
                .collect(),
        }
    }
}

/// The value of a name.
pub(crate) fn member<'t, 'a>(members: &'t [Member<'a>], name: &str) -> Option<&'t Tree<'a>> {
    members
        .iter()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value)
}

/// The representation of JSON that [`Tree`] is, for the validator.
pub(crate) struct Borrowed;

impl Json for Borrowed {
    type Node<'a> = &'a Tree<'a>;
    type PreparedKey = String;
    type StringBuffer = ();

    /// A look-up goes through the members too: as soon as several names are asked for, one pass that
    /// compares each member with all of them is no dearer.
    const KEYS_PER_LOOKUP: usize = 4;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl for<'n> FnOnce(&'n Tree<'n>) -> T) -> T {
        f(&Tree::Text(Cow::Borrowed(string)))
    }
}

impl<'a> Node<'a, Borrowed> for &'a Tree<'a> {
    type Object = &'a [Member<'a>];
    type Array = &'a [Tree<'a>];
    type Number = &'a Number;

    fn as_object(&self) -> Option<Self::Object> {
        match self {
            Tree::Object(members) => Some(members),
            _ => None,
        }
    }

    fn as_array(&self) -> Option<Self::Array> {
        match self {
            Tree::Array(items) => Some(items),
            _ => None,
        }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self {
            Tree::Text(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    fn as_number(&self) -> Option<&'a Number> {
        match self {
            Tree::Number(number) => Some(number),
            _ => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        match self {
            Tree::Bool(value) => Some(*value),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Tree::Null)
    }

    fn json_type(&self) -> JsonType {
        match self {
            Tree::Null => JsonType::Null,
            Tree::Bool(_) => JsonType::Boolean,
            Tree::Number(_) => JsonType::Number,
            Tree::Text(_) => JsonType::String,
            Tree::Array(_) => JsonType::Array,
            Tree::Object(_) => JsonType::Object,
        }
    }

    /// A character takes one to four bytes, which decides nearly every length without counting.
    fn string_length_within(&self, min: u64, max: u64) -> Option<bool> {
        let text = Tree::as_str(self)?;
        let bytes = text.len() as u64;
        let fewest = bytes.div_ceil(4);
        if bytes < min || fewest > max {
            return Some(false);
        }
        if min <= fewest && bytes <= max {
            return Some(true);
        }
        Some((min..=max).contains(&(text.chars().count() as u64)))
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self, expected) {
            (Tree::Null, Value::Null) => true,
            (Tree::Bool(value), Value::Bool(expected)) => value == expected,
            (Tree::Text(text), Value::String(expected)) => text == expected,
            (Tree::Null | Tree::Bool(_) | Tree::Text(_), _) => false,
            // What the standard says of numbers (1.0 is 1) is the validator's to know.
            (Tree::Number(_) | Tree::Array(_) | Tree::Object(_), _) => {
                cmp::equal(&Tree::to_value(self), expected)
            }
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(Tree::to_value(self))
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref::<Tree<'a>>(self).addr()))
    }
}

impl<'a> Object<'a, Borrowed> for &'a [Member<'a>] {
    type Node = &'a Tree<'a>;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        <[Member<'a>]>::len(self)
    }

    fn get(&self, name: &String) -> Option<&'a Tree<'a>> {
        member(self, name)
    }

    fn members(&self) -> Members<'a> {
        Members(self.iter())
    }
}

/// Goes through the members of an object.
pub(crate) struct Members<'a>(std::slice::Iter<'a, Member<'a>>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a Tree<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name.as_ref(), value))
    }
}

impl<'a> Array<'a, Borrowed> for &'a [Tree<'a>] {
    type Node = &'a Tree<'a>;
    type ElementsIter = std::slice::Iter<'a, Tree<'a>>;

    fn len(&self) -> usize {
        <[Tree<'a>]>::len(self)
    }

    fn elements(&self) -> std::slice::Iter<'a, Tree<'a>> {
        self.iter()
    }
}

#[cfg(test)]
#[path = "tree/tests.rs"]
mod tests;
