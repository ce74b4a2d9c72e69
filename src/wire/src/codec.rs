//! Messages to bytes and back.
//!
//! A packet is a header of 16 bytes, the fields of the message in their order, and a tail of tagged fields. All
//! numbers are little-endian; strings and lists carry their length. Tagged fields that a reader does not know
//! are skipped, unless their tag has the critical bit, and so are whole messages of an unknown kind that are not
//! critical. That is what lets a keeper live for months while managers change: a field that a later build adds to a message goes
//! into its tail, under a tag of its own, also where it belongs to something inside it (as what a service has notified); a kind
//! of message that a later build adds is sent only to a side that has said that it knows it, by a feature bit of HELLO.
//! Decoding takes any bytes and never panics.

mod bytes;
mod report;
mod request;
mod spec;
mod state;

use crate::message::{Report, Request};
use crate::{MAX_FDS, MAX_MESSAGE, PROTOCOL_MAX};
use bytes::{Reader, Writer};

pub use spec::{decode_spec, encode_spec};
#[cfg(fuzzing)]
pub use state::with_checksum;
pub use state::{StateError, decode_state, encode_state};

/// First bytes of every message.
const MAGIC: [u8; 4] = *b"SVDW";
/// Bytes of a header.
const HEADER: usize = 16;
/// Header flag: a receiver that does not know this kind of message must not go on.
const CRITICAL: u16 = 1;
/// Tag bit: a receiver that does not know this field must not go on.
const CRITICAL_TAG: u16 = 0x8000;

/// What stands in front of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the sender's encoding.
    pub version: u16,
    /// Number of the kind of message.
    pub kind: u16,
    /// How many descriptors the sender attached. A receiver that got another number has lost some.
    pub fds: u16,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than it says, or its lengths do not add up.
    #[error("message is cut off or has a wrong length")]
    Length,
    /// It does not start as a message does.
    #[error("not a message")]
    Magic,
    /// Some descriptors were lost on the way, or never sent.
    #[error("{announced} descriptors were announced and {arrived} arrived")]
    Descriptors {
        /// As the sender said.
        announced: u16,
        /// As they came.
        arrived: usize,
    },
    /// A field has a value it cannot have.
    #[error("field {0} has a value that is not allowed")]
    Value(&'static str),
    /// A kind of message that this build does not know and may skip.
    #[error("unknown message {0}, which may be skipped")]
    Skip(u16),
    /// A kind of message that this build does not know and must not skip.
    #[error("unknown critical message {0}")]
    UnknownKind(u16),
    /// A tagged field that this build does not know and must not skip.
    #[error("unknown critical field {0}")]
    UnknownField(u16),
}

/// Why a message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It would be larger than [`MAX_MESSAGE`]: a spawn spec then travels in a memfd
    /// ([`Request::SpawnMemfd`]).
    #[error("message of {0} bytes is larger than allowed")]
    TooLarge(usize),
    /// More descriptors than [`MAX_FDS`].
    #[error("{0} descriptors are more than allowed")]
    TooManyFds(usize),
}

/// A request as bytes, to be sent with `fds` descriptors.
pub fn encode_request(request: &Request, fds: usize) -> Result<Vec<u8>, EncodeError> {
    let mut body = Writer::default();
    let kind = request::encode(request, &mut body);
    frame(kind, fds, body)
}

/// A report as bytes, to be sent with `fds` descriptors.
pub fn encode_report(report: &Report, fds: usize) -> Result<Vec<u8>, EncodeError> {
    let mut body = Writer::default();
    let kind = report::encode(report, &mut body);
    frame(kind, fds, body)
}

/// The request in one packet that arrived with `fds` descriptors.
pub fn decode_request(packet: &[u8], fds: usize) -> Result<(Header, Request), DecodeError> {
    let (header, critical, mut body) = open(packet, fds)?;
    let request = request::decode(header.kind, &mut body).map_err(|error| soften(error, critical))?;
    skip_tail(&mut body)?;
    Ok((header, request))
}

/// The report in one packet that arrived with `fds` descriptors.
pub fn decode_report(packet: &[u8], fds: usize) -> Result<(Header, Report), DecodeError> {
    let (header, critical, mut body) = open(packet, fds)?;
    let report = report::decode(header.kind, &mut body).map_err(|error| soften(error, critical))?;
    skip_tail(&mut body)?;
    Ok((header, report))
}

fn soften(error: DecodeError, critical: bool) -> DecodeError {
    match error {
        DecodeError::UnknownKind(kind) if !critical => DecodeError::Skip(kind),
        other => other,
    }
}

fn frame(kind: u16, fds: usize, body: Writer) -> Result<Vec<u8>, EncodeError> {
    let body = body.into_bytes();
    let total = body.len().saturating_add(HEADER);
    if total > MAX_MESSAGE {
        return Err(EncodeError::TooLarge(total));
    }
    let count = u16::try_from(fds).ok().filter(|_| fds <= MAX_FDS).ok_or(EncodeError::TooManyFds(fds))?;
    let len = u32::try_from(body.len()).map_err(|_| EncodeError::TooLarge(total))?;
    let mut packet = Vec::with_capacity(total);
    packet.extend_from_slice(&MAGIC);
    packet.extend_from_slice(&PROTOCOL_MAX.to_le_bytes());
    packet.extend_from_slice(&kind.to_le_bytes());
    packet.extend_from_slice(&CRITICAL.to_le_bytes());
    packet.extend_from_slice(&count.to_le_bytes());
    packet.extend_from_slice(&len.to_le_bytes());
    packet.extend_from_slice(&body);
    Ok(packet)
}

fn open(packet: &[u8], arrived: usize) -> Result<(Header, bool, Reader<'_>), DecodeError> {
    if packet.len() > MAX_MESSAGE {
        return Err(DecodeError::Length);
    }
    let mut reader = Reader::new(packet);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(DecodeError::Magic);
    }
    let header_version = reader.u16()?;
    let kind = reader.u16()?;
    let flags = reader.u16()?;
    let fds = reader.u16()?;
    if usize::from(fds) != arrived {
        return Err(DecodeError::Descriptors { announced: fds, arrived });
    }
    let len = reader.u32()?;
    if usize::try_from(len) != Ok(reader.left()) {
        return Err(DecodeError::Length);
    }
    Ok((Header { version: header_version, kind, fds }, flags & CRITICAL != 0, reader))
}

fn skip_tail(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    tail(reader, |_, _| Ok(Known::No))
}

/// Whether a reader knows a tag.
enum Known {
    Yes,
    No,
}

/// Reads the tagged fields up to the end. What a later version has appended to a known field is not looked at.
fn tail(
    reader: &mut Reader<'_>,
    mut take: impl FnMut(u16, &mut Reader<'_>) -> Result<Known, DecodeError>,
) -> Result<(), DecodeError> {
    while reader.left() > 0 {
        let tag = reader.u16()?;
        let len = usize::try_from(reader.u32()?).map_err(|_| DecodeError::Length)?;
        let mut field = Reader::new(reader.take(len)?);
        match take(tag, &mut field)? {
            Known::No if tag & CRITICAL_TAG != 0 => return Err(DecodeError::UnknownField(tag)),
            Known::No | Known::Yes => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
