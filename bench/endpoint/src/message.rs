//! The message of the benchmark: a `std_msgs/msg/UInt8MultiArray` whose first bytes are a stamp and a number.
//!
//! It is written and read as CDR, as a recorder or a bridge would: what is measured is the way, not the conversion of an
//! array of bytes, which would be the same for all ways.

/// Type of the topic.
pub(crate) const TYPE: (&str, &str) = ("std_msgs", "UInt8MultiArray");
/// Shortest content [bytes]: stamp and number.
pub(crate) const SIZE_MIN: usize = 16;

/// Encapsulation header of little-endian CDR, then an empty list of dimensions and an offset of 0.
const HEAD: [u8; 12] = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Where the content begins: after the head and the length of the content.
const CONTENT: usize = HEAD.len() + 4;
/// Number of messages that only make sure that the way is there and warm.
const WARM_UP: u64 = u64::MAX;

/// A serialized message that can be stamped and sent again and again.
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// One with `size` bytes of content, at least [`SIZE_MIN`].
    pub(crate) fn new(size: usize) -> Message {
        let mut bytes = vec![0; CONTENT + size.max(SIZE_MIN)];
        bytes[..HEAD.len()].copy_from_slice(&HEAD);
        let length = u32::try_from(bytes.len() - CONTENT).unwrap_or(u32::MAX);
        bytes[HEAD.len()..CONTENT].copy_from_slice(&length.to_le_bytes());
        // Not only zeros: nothing on the way may get away with compressing them.
        let mut state = 0x9e37_79b9_u32;
        for byte in &mut bytes[CONTENT + SIZE_MIN..] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        Message(bytes)
    }

    /// The bytes of a message that counts, number `number`, published at `stamp` [ns].
    pub(crate) fn numbered(&mut self, number: u64, stamp: u64) -> &[u8] {
        self.0[CONTENT..CONTENT + 8].copy_from_slice(&stamp.to_le_bytes());
        self.0[CONTENT + 8..CONTENT + SIZE_MIN].copy_from_slice(&number.to_le_bytes());
        &self.0
    }

    /// The bytes of a message that does not count.
    pub(crate) fn warm_up(&mut self) -> &[u8] {
        self.numbered(WARM_UP, 0)
    }
}

/// What a received message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// It does not count.
    WarmUp,
    /// It counts.
    Numbered {
        /// From 0.
        number: u64,
        /// When it was published [ns].
        stamp: u64,
    },
}

/// Reads a serialized message; `None` if it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<Received> {
    let announced = u32::from_le_bytes(bytes.get(HEAD.len()..CONTENT)?.try_into().ok()?);
    let content = bytes.get(CONTENT..CONTENT + announced as usize)?;
    let stamp = u64::from_le_bytes(content.get(..8)?.try_into().ok()?);
    let number = u64::from_le_bytes(content.get(8..SIZE_MIN)?.try_into().ok()?);
    Some(if number == WARM_UP { Received::WarmUp } else { Received::Numbered { number, stamp } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut message = Message::new(64);
        assert_eq!(message.warm_up().len(), 80);
        assert_eq!(parse(message.warm_up()), Some(Received::WarmUp));
        assert_eq!(parse(message.numbered(7, 1_000)), Some(Received::Numbered { number: 7, stamp: 1_000 }));
    }

    #[test]
    fn a_message_that_was_cut_is_none() {
        let mut message = Message::new(1_000);
        let bytes = message.numbered(1, 1);
        assert_eq!(parse(&bytes[..bytes.len() - 1]), None);
        assert_eq!(parse(&[]), None);
    }
}
