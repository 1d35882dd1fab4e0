//! Frame ids of others, told apart: a `tf2_msgs/msg/TFMessage` with the id of its origin in front of every frame id.
//!
//! The message is not decoded into a ROS type, which would have to be installed: its serialized form is rewritten. It is
//! plain CDR (`PLAIN_CDR`, what every ROS middleware sends): a header of 4 bytes, then a sequence of transforms, where
//! every number stands at a multiple of its size, counted from behind the header:
//!
//! ```text
//! u32 how many, then for each: i32 sec, u32 nanosec, string frame_id, string child_frame_id, 7 × f64
//! ```
//!
//! A longer string moves what follows it, and with it the padding, so everything is written anew.

use bytes::{Bytes, BytesMut};

use crate::ids::ClientId;

/// The type whose frame ids are known.
pub(super) const TF_MESSAGE: &str = "tf2_msgs/msg/TFMessage";

/// `message` with `id/` in front of every frame id, unless it is there already. A slash in front, as ROS 1 had it, goes.
/// An empty frame id stays empty.
///
/// # Errors
/// [`NotTf`] says what is wrong with the bytes.
pub(super) fn prefixed(message: &[u8], id: &ClientId) -> Result<Bytes, NotTf> {
    let (header, body) = message.split_at_checked(HEADER).ok_or(NotTf::Truncated)?;
    let little = match header {
        [0, 0, ..] => false,
        [0, 1, ..] => true,
        _ => return Err(NotTf::Encapsulation(header[0], header[1])),
    };
    let mut reader = Reader { body, at: 0, little };
    let mut writer = Writer { out: BytesMut::with_capacity(message.len() + ROOM), little };
    // No padding at the end: the last field ends at a multiple of four.
    writer.out.extend_from_slice(&[header[0], header[1], 0, 0]);
    let count = reader.u32()?;
    writer.u32(count);
    // Nothing is made of the count before the bytes are there, so a large one costs nothing.
    for _ in 0..count {
        for _ in 0..STAMP_WORDS {
            writer.u32(reader.u32()?);
        }
        for _ in 0..2 {
            writer.frame_id(id, reader.string()?)?;
        }
        for _ in 0..TRANSFORM_NUMBERS {
            writer.raw8(reader.raw8()?);
        }
    }
    match reader.body.len() - reader.at {
        0..HEADER => Ok(writer.out.freeze()),
        rest => Err(NotTf::Rest(rest)),
    }
}

/// Why bytes are no serialized TF message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTf {
    /// Neither plain CDR of the one byte order nor of the other.
    #[error("its encapsulation {0:#04x} {1:#04x} is not plain CDR")]
    Encapsulation(u8, u8),
    #[error("it ends in the middle")]
    Truncated,
    #[error("{0} bytes come after its end")]
    Rest(usize),
    #[error("a frame id has no end")]
    Unterminated,
    #[error("a frame id is too long")]
    TooLong,
}

/// Length of the encapsulation header, and of the unit to which a middleware may fill a message up [bytes].
const HEADER: usize = 4;
/// Seconds and nanoseconds.
const STAMP_WORDS: usize = 2;
/// Translation and rotation.
const TRANSFORM_NUMBERS: usize = 7;
/// What the prefixes of a few transforms take [bytes].
const ROOM: usize = 256;

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
    little: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], NotTf> {
        let rest = self.body.get(self.at..).ok_or(NotTf::Truncated)?;
        let taken = rest.get(..bytes).ok_or(NotTf::Truncated)?;
        self.at += bytes;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], NotTf> {
        self.at = self.at.next_multiple_of(N);
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| NotTf::Truncated)
    }

    fn u32(&mut self) -> Result<u32, NotTf> {
        let bytes = self.number()?;
        Ok(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn raw8(&mut self) -> Result<[u8; 8], NotTf> {
        self.number()
    }

    /// Without its NUL.
    fn string(&mut self) -> Result<&'a [u8], NotTf> {
        match self.u32()? {
            0 => Ok(&[]),
            length => {
                let bytes = self.take(usize::try_from(length).map_err(|_| NotTf::Truncated)?)?;
                bytes.strip_suffix(&[0]).ok_or(NotTf::Unterminated)
            }
        }
    }
}

struct Writer {
    /// The header, and what follows it: alignments are counted from there.
    out: BytesMut,
    little: bool,
}

impl Writer {
    fn align(&mut self, to: usize) {
        let body = self.out.len() - HEADER;
        self.out.resize(HEADER + body.next_multiple_of(to), 0);
    }

    fn u32(&mut self, number: u32) {
        self.align(4);
        self.out.extend_from_slice(&if self.little { number.to_le_bytes() } else { number.to_be_bytes() });
    }

    fn raw8(&mut self, number: [u8; 8]) {
        self.align(8);
        self.out.extend_from_slice(&number);
    }

    fn frame_id(&mut self, id: &ClientId, frame: &[u8]) -> Result<(), NotTf> {
        let bare = &frame[frame.iter().take_while(|byte| **byte == b'/').count()..];
        let is_prefixed = bare.strip_prefix(id.as_str().as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
        let prefix: &[&[u8]] =
            if is_prefixed || bare.is_empty() { &[] } else { &[id.as_str().as_bytes(), b"/".as_slice()] };
        let length = prefix.iter().map(|part| part.len()).sum::<usize>() + bare.len() + 1;
        self.u32(u32::try_from(length).map_err(|_| NotTf::TooLong)?);
        for part in prefix.iter().chain([&bare, &[0].as_slice()]) {
            self.out.extend_from_slice(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Transform = (i32, u32, String, String, [f64; 7]);

    /// Serializes as a middleware does, from the description of CDR and not with the code above.
    fn cdr(transforms: &[Transform], little: bool) -> Vec<u8> {
        let mut body: Vec<u8> = Vec::new();
        let pad = |body: &mut Vec<u8>, to: usize| {
            while !body.len().is_multiple_of(to) {
                body.push(0);
            }
        };
        let word = |body: &mut Vec<u8>, number: u32| {
            pad(body, 4);
            body.extend(if little { number.to_le_bytes() } else { number.to_be_bytes() });
        };
        word(&mut body, transforms.len() as u32);
        for (sec, nanosec, frame, child, numbers) in transforms {
            word(&mut body, *sec as u32);
            word(&mut body, *nanosec);
            for text in [frame, child] {
                word(&mut body, text.len() as u32 + 1);
                body.extend(text.as_bytes());
                body.push(0);
            }
            for number in numbers {
                pad(&mut body, 8);
                body.extend(if little { number.to_le_bytes() } else { number.to_be_bytes() });
            }
        }
        let mut message = vec![0, u8::from(little), 0, 0];
        message.extend(body);
        message
    }

    fn r1() -> ClientId {
        ClientId::new("r1").unwrap()
    }

    fn transform(frame: &str, child: &str) -> Transform {
        (-5, 6, frame.to_owned(), child.to_owned(), [1.0, -2.0, 3.5, 0.0, 0.0, 0.0, 1.0])
    }

    #[test]
    fn every_frame_id_gets_the_id_of_its_origin_once() {
        for (frame, prefixed_frame) in [
            ("odom", "r1/odom"),
            ("/odom", "r1/odom"),
            ("r1/odom", "r1/odom"),
            ("/r1/odom", "r1/odom"),
            ("r1", "r1/r1"),
            ("r12/odom", "r1/r12/odom"),
            ("", ""),
            ("/", ""),
        ] {
            for little in [true, false] {
                let message = cdr(&[transform(frame, "base_link"), transform("base_link", frame)], little);
                let expected = cdr(
                    &[transform(prefixed_frame, "r1/base_link"), transform("r1/base_link", prefixed_frame)],
                    little,
                );
                assert_eq!(prefixed(&message, &r1()).unwrap(), expected, "{frame:?}");
            }
        }
    }

    #[test]
    fn what_is_no_tf_message_is_refused_with_the_reason() {
        let good = cdr(&[transform("a", "b")], true);
        assert_eq!(prefixed(&[], &r1()), Err(NotTf::Truncated));
        assert_eq!(prefixed(&[0, 7, 0, 0, 0, 0, 0, 0], &r1()), Err(NotTf::Encapsulation(0, 7)));
        for length in HEADER..good.len() {
            assert_eq!(prefixed(&good[..length], &r1()), Err(NotTf::Truncated), "{length}");
        }
        let mut long = good.clone();
        long.extend([0; 4]);
        assert_eq!(prefixed(&long, &r1()), Err(NotTf::Rest(4)));
        // A middleware may fill a message up to a multiple of four.
        assert!(prefixed(&long[..good.len() + 3], &r1()).is_ok());
        let many = [0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(prefixed(&many, &r1()), Err(NotTf::Truncated), "a count that is not there");
        let mut endless = good;
        let end = endless.iter().position(|byte| *byte == b'a').unwrap() + 1;
        endless[end] = b'x';
        assert_eq!(prefixed(&endless, &r1()), Err(NotTf::Unterminated));
    }

    fn any_transform() -> impl Strategy<Value = Transform> {
        ("[a-z/_0-9]{0,20}", "[a-z/_0-9]{0,20}", any::<i32>(), any::<u32>(), any::<[u64; 7]>())
            .prop_map(|(frame, child, sec, nanosec, bits)| (sec, nanosec, frame, child, bits.map(f64::from_bits)))
    }

    proptest! {
        #[test]
        fn all_but_the_frame_ids_stays_as_it_is(
            transforms in proptest::collection::vec(any_transform(), 0..8),
            little in any::<bool>(),
        ) {
            let expected_id = |frame: &str| match frame.trim_start_matches('/') {
                "" => String::new(),
                bare if bare.starts_with("r1/") => bare.to_owned(),
                bare => format!("r1/{bare}"),
            };
            let expected: Vec<Transform> = transforms
                .iter()
                .map(|(sec, nanosec, frame, child, numbers)| {
                    (*sec, *nanosec, expected_id(frame), expected_id(child), *numbers)
                })
                .collect();
            let once = prefixed(&cdr(&transforms, little), &r1()).unwrap();
            prop_assert_eq!(&once, &cdr(&expected, little));
            prop_assert_eq!(prefixed(&once, &r1()).unwrap(), once, "what has the prefix keeps it");
        }

        #[test]
        fn bytes_of_any_kind_are_refused_or_rewritten_but_never_fatal(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            begins_well in any::<bool>(),
        ) {
            if let (true, Some(head)) = (begins_well, bytes.get_mut(..8)) {
                head.copy_from_slice(&[0, 1, 0, 0, 1, 0, 0, 0]);
            }
            let _ = prefixed(&bytes, &r1());
        }

        #[test]
        fn a_damaged_message_is_never_fatal(
            transforms in proptest::collection::vec(any_transform(), 1..4),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut message = cdr(&transforms, true);
            let at = at.index(message.len());
            message[at] = byte;
            if let Ok(rewritten) = prefixed(&message, &r1()) {
                prop_assert!(rewritten.len() <= message.len() + transforms.len() * 2 * 11);
            }
        }
    }
}
