//! The socket to the keeper. What is sent goes out at once or waits in a queue here: the main loop never blocks on it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use svd_sys::packet::{Packet, PacketSocket};
use svd_wire::{DecodeError, EncodeError, MAX_MESSAGE, Report, Request, decode_report, encode_request};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

/// Why the link broke. Nothing can be done about any of these: the manager ends and the keeper starts another one.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket failed.
    #[error("the link to the keeper failed: {0}")]
    Io(#[from] io::Error),
    /// Descriptors that are needed did not arrive.
    #[error("descriptors were lost: at the limit of open files")]
    DescriptorsLost,
    /// The keeper is gone.
    #[error("the keeper closed the link")]
    Closed,
    /// The keeper closed the link because this manager has made way for another build.
    #[error("another build takes over")]
    Replaced,
    /// The keeper said something this build does not understand.
    #[error("the keeper sent a message that cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    /// What is to be sent breaks a bound of the wire.
    #[error("a message to the keeper cannot be sent: {0}")]
    Unsendable(#[from] EncodeError),
    /// The keeper said something out of turn.
    #[error("the keeper said {got} where {wanted} was expected")]
    OutOfTurn {
        /// What was expected.
        wanted: &'static str,
        /// What came.
        got: String,
    },
}

/// The link.
pub struct Link {
    socket: AsyncFd<PacketSocket>,
    queue: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    buffer: Box<[u8]>,
}

impl Link {
    /// Takes over the inherited socket. Needs a running tokio reactor.
    pub fn new(socket: OwnedFd) -> Result<Link, LinkError> {
        let socket = PacketSocket::from_fd(socket)?;
        Ok(Link {
            socket: crate::reactor::watch(socket, Interest::READABLE | Interest::WRITABLE)?,
            queue: VecDeque::new(),
            buffer: vec![0; MAX_MESSAGE].into_boxed_slice(),
        })
    }

    /// Sends a request with its descriptors, which are closed here once they are sent.
    pub fn send(&mut self, request: &Request, fds: Vec<OwnedFd>) -> Result<(), LinkError> {
        let bytes = encode_request(request, fds.len())?;
        self.queue.push_back((bytes, fds));
        push(self.socket.get_ref(), &mut self.queue).map(drop)
    }

    /// Waits until all that waits is sent. Cancel-safe.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        while push(self.socket.get_ref(), &mut self.queue)? == Push::Full {
            self.socket.writable().await?.clear_ready();
        }
        Ok(())
    }

    /// The next report with its descriptors; meanwhile what waits is sent as the socket takes it. Cancel-safe: a message is
    /// taken whole or not at all.
    pub async fn recv(&mut self) -> Result<(Report, Vec<OwnedFd>), LinkError> {
        loop {
            let blocked = push(self.socket.get_ref(), &mut self.queue)? == Push::Full;
            let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let mut guard = self.socket.ready(interest).await?;
            if blocked && guard.ready().is_writable() && push(self.socket.get_ref(), &mut self.queue)? == Push::Full {
                guard.clear_ready_matching(Ready::WRITABLE);
            }
            if !guard.ready().is_readable() {
                continue;
            }
            match take(self.socket.get_ref(), &mut self.buffer)? {
                Some(received) => return Ok(received),
                None => guard.clear_ready_matching(Ready::READABLE),
            }
        }
    }

    /// The next report, if one is there already.
    pub fn try_recv(&mut self) -> Result<Option<(Report, Vec<OwnedFd>)>, LinkError> {
        take(self.socket.get_ref(), &mut self.buffer)
    }
}

/// The next report, if one is there. Where no descriptor is free, it comes without those that it says it has: only the
/// inventory needs them, and looks. What a later keeper says and an earlier manager may pass over is passed over.
fn take(socket: &PacketSocket, buffer: &mut [u8]) -> Result<Option<(Report, Vec<OwnedFd>)>, LinkError> {
    loop {
        let (len, fds, are_lost) = match socket.recv_even_without_fds(buffer) {
            Ok(None) => return Err(LinkError::Closed),
            Ok(Some(Packet::Whole { len, fds })) => (len, fds, false),
            Ok(Some(Packet::FdsLost { len })) => (len, Vec::new(), true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes = buffer.get(..len).unwrap_or_default();
        let decoded = match decode_report(bytes, fds.len()) {
            Err(DecodeError::Descriptors { announced, .. }) if are_lost => decode_report(bytes, announced.into()),
            other => other,
        };
        match decoded {
            Ok((_header, report)) => return Ok(Some((report, fds))),
            Err(DecodeError::Skip(kind)) => {
                tracing::info!(kind, "the keeper said something that this build passes over")
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the socket took everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Push {
    Empty,
    Full,
}

/// Sends what waits, as far as the socket takes it.
fn push(socket: &PacketSocket, queue: &mut VecDeque<(Vec<u8>, Vec<OwnedFd>)>) -> Result<Push, LinkError> {
    while let Some((bytes, fds)) = queue.front() {
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        match socket.send(bytes, &borrowed) {
            Ok(()) => {
                queue.pop_front();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Push::Full),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Push::Empty)
}
