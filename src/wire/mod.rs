//! The bytes on the line: framing, frame numbers, control messages and their limits (docs/protocol.md).
