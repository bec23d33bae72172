//! The little of protobuf's wire format that an aggregate needs: numbers and runs of bytes
//! (<https://protobuf.dev/programming-guides/encoding/>).

/// The largest number of bytes of a 64-bit number.
const MAX_VARINT_BYTES: usize = 10;

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a kind that no field known here has.
    Other,
}

/// The bytes are no fields of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotFields;

/// Takes the fields of a message off its front, one by one.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// How many bytes of the message are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next field and its value; None at the end. Groups, which were given up with proto3 and
    /// which no version of the format has had, are not fields.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, NotFields> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.number()?).map_err(|_| NotFields)?;
        let (number, kind) = (tag >> 3, tag as u8 & 7);
        if number == 0 {
            return Err(NotFields);
        }
        let value = match kind {
            VARINT => Value::Number(self.number()?),
            FIXED_64 => self.take(8).map(|_| Value::Other)?,
            BYTES => {
                let length = usize::try_from(self.number()?).map_err(|_| NotFields)?;
                Value::Bytes(self.take(length)?)
            }
            FIXED_32 => self.take(4).map(|_| Value::Other)?,
            _ => return Err(NotFields),
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], NotFields> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(NotFields)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, NotFields> {
        let mut number = 0_u64;
        for (index, byte) in self.rest.iter().take(MAX_VARINT_BYTES).enumerate() {
            let bits = u64::from(byte & 0x7F);
            let shifted = bits << (7 * index);
            // The tenth byte has room for one bit.
            if shifted >> (7 * index) != bits {
                return Err(NotFields);
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(number);
            }
        }
        Err(NotFields)
    }
}

/// How many bytes a number takes.
pub(crate) fn number_len(number: u64) -> usize {
    let bits = 64 - number.leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

/// How many bytes a field takes whose value is this many bytes long. All fields here have numbers
/// below 16, so that their tag is one byte.
pub(crate) fn bytes_field_len(length: usize) -> usize {
    1 + number_len(length as u64) + length
}

/// How many bytes a field takes whose value is this number.
pub(crate) fn number_field_len(number: u64) -> usize {
    1 + number_len(number)
}

/// Writes the head of a field whose value is this many bytes long.
pub(crate) fn put_bytes_head(field: u32, length: usize, to: &mut Vec<u8>) {
    put_number(u64::from(field << 3 | u32::from(BYTES)), to);
    put_number(length as u64, to);
}

/// Writes a field whose value is a number.
pub(crate) fn put_number_field(field: u32, number: u64, to: &mut Vec<u8>) {
    put_number(u64::from(field << 3 | u32::from(VARINT)), to);
    put_number(number, to);
}

fn put_number(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written_and_take_what_was_said() {
        let edges = (0..64).map(|bit| 1_u64 << bit);
        for number in edges
            .flat_map(|edge| [edge - 1, edge, edge + 1])
            .chain([u64::MAX])
        {
            let mut bytes = Vec::new();
            put_number(number, &mut bytes);
            assert_eq!(bytes.len(), number_len(number), "{number}");
            let mut fields = Fields::of(&bytes);
            assert_eq!((fields.number(), fields.left()), (Ok(number), 0));
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_or_without_an_end_is_none() {
        let mut too_large = [0xFF; 10];
        too_large[9] = 0x02;
        for bytes in [&too_large[..], &[0x80; 11], &[0x80], &[]] {
            assert_eq!(Fields::of(bytes).number(), Err(NotFields), "{bytes:?}");
        }
    }
}
