//! Which JSON types the definition of a field lets through.

use std::{fmt, ops::BitAnd};

use serde_json::Value;

/// A set of JSON types. A number is an integer or a fraction, so that `integer` is a part of
/// `number`, as JSON Schema has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Types(u8);

impl Types {
    const NULL: Self = Self(1);
    const BOOLEAN: Self = Self(2);
    const STRING: Self = Self(4);
    const INTEGER: Self = Self(8);
    const NUMBER: Self = Self(8 | 16);
    const OBJECT: Self = Self(32);
    const ARRAY: Self = Self(64);
    const ALL: Self = Self(127);
    const NONE: Self = Self(0);

    /// Their names in JSON Schema; `number` comes before the `integer` that is a part of it.
    const NAMES: [(Self, &'static str); 7] = [
        (Self::NULL, "null"),
        (Self::BOOLEAN, "boolean"),
        (Self::STRING, "string"),
        (Self::NUMBER, "number"),
        (Self::INTEGER, "integer"),
        (Self::OBJECT, "object"),
        (Self::ARRAY, "array"),
    ];

    /// What `type`, `const` and `enum` leave together. Other keywords may forbid more.
    pub(crate) fn of(definition: &Value) -> Self {
        let mut types = match definition.get("type") {
            None => Self::ALL,
            Some(Value::Array(names)) => names.iter().fold(Self::NONE, |all, name| all | Self::named(name)),
            Some(name) => Self::named(name),
        };
        if let Some(value) = definition.get("const") {
            types = types & Self::of_value(value);
        }
        if let Some(Value::Array(values)) = definition.get("enum") {
            types = types
                & values
                    .iter()
                    .fold(Self::NONE, |all, value| all | Self::of_value(value));
        }
        types
    }

    /// Whether an object or an array may get through.
    pub(crate) fn nested(self) -> bool {
        self & (Self::OBJECT | Self::ARRAY) != Self::NONE
    }

    /// The type of one value. A number without a fraction is an integer however it is spelt.
    pub(crate) fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::String(_) => Self::STRING,
            Value::Number(number) if number.as_f64().is_none_or(|number| number.fract() == 0.0) => {
                Self::INTEGER
            }
            Value::Number(_) => Self(Self::NUMBER.0 & !Self::INTEGER.0),
            Value::Object(_) => Self::OBJECT,
            Value::Array(_) => Self::ARRAY,
        }
    }

    /// Whether every type of these is one of those.
    #[cfg(test)]
    pub(crate) fn within(self, other: Self) -> bool {
        self & other == self
    }

    fn named(name: &Value) -> Self {
        let name = name.as_str();
        let known = Self::NAMES.into_iter().find(|(_, known)| name == Some(*known));
        known.map_or(Self::NONE, |(types, _)| types)
    }
}

impl BitAnd for Types {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl std::ops::BitOr for Types {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("any");
        }
        let mut left = *self;
        let mut first = true;
        for (types, name) in Self::NAMES {
            if left & types == types && left != Self::NONE {
                f.write_str(if first { "" } else { " or " })?;
                f.write_str(name)?;
                first = false;
                left = Self(left.0 & !types.0);
            }
        }
        if left == Self::NONE && !first {
            Ok(())
        } else if left == Self::NONE {
            f.write_str("none")
        } else {
            // Numbers that are no integers: an enumeration of fractions.
            f.write_str(if first { "fraction" } else { " or fraction" })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn type_constant_and_enumeration_count_together() {
        for (definition, expected) in [
            (json!({}), "any"),
            (json!({"type": "string"}), "string"),
            (json!({"type": ["string", "null"]}), "null or string"),
            (json!({"type": "number"}), "number"),
            (json!({"type": ["number", "integer"]}), "number"),
            (json!({"type": "integer"}), "integer"),
            (json!({"const": "play"}), "string"),
            (json!({"enum": [1, 2.0]}), "integer"),
            (json!({"enum": [1, 2.5]}), "number"),
            (json!({"enum": [2.5]}), "fraction"),
            (json!({"enum": [2.5, "x"]}), "string or fraction"),
            (json!({"type": "string", "enum": ["a", 1]}), "string"),
            (json!({"type": "string", "enum": [1]}), "none"),
            (
                json!({"type": ["object", "array", "boolean"]}),
                "boolean or object or array",
            ),
        ] {
            assert_eq!(Types::of(&definition).to_string(), expected, "{definition}");
        }
    }

    #[test]
    fn what_says_nothing_may_be_nested() {
        for (definition, nested) in [
            (json!({}), true),
            (json!({"type": ["string", "array"]}), true),
            (json!({"enum": ["a", {}]}), true),
            (json!({"$ref": "#/$defs/x"}), true),
            (json!({"type": "string", "enum": ["a", {}]}), false),
            (json!({"const": null}), false),
        ] {
            assert_eq!(Types::of(&definition).nested(), nested, "{definition}");
        }
    }
}
