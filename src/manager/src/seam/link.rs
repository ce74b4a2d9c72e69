//! The socket to the keeper. What is sent goes out at once or waits in a queue here: the main loop never blocks on it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use svd_sys::packet::PacketSocket;
use svd_wire::{DecodeError, EncodeError, MAX_MESSAGE, Report, Request, decode_report, encode_request};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

/// Why the link broke. Nothing can be done about any of these: the manager ends and the keeper starts another one.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket failed.
    #[error("the link to the keeper failed: {0}")]
    Io(#[from] io::Error),
    /// The keeper is gone.
    #[error("the keeper closed the link")]
    Closed,
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
            match self.socket.get_ref().recv(&mut self.buffer) {
                Ok(None) => return Err(LinkError::Closed),
                Ok(Some((len, fds))) => {
                    let bytes = self.buffer.get(..len).unwrap_or_default();
                    let (_header, report) = decode_report(bytes, fds.len())?;
                    return Ok((report, fds));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready_matching(Ready::READABLE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next report, if one is there already.
    pub fn try_recv(&mut self) -> Result<Option<(Report, Vec<OwnedFd>)>, LinkError> {
        match self.socket.get_ref().recv(&mut self.buffer) {
            Ok(None) => Err(LinkError::Closed),
            Ok(Some((len, fds))) => {
                let bytes = self.buffer.get(..len).unwrap_or_default();
                let (_header, report) = decode_report(bytes, fds.len())?;
                Ok(Some((report, fds)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
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
