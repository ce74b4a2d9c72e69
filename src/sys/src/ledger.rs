//! The ledger of intercepted calls that have no answer yet: memory that outlives whoever reads the listener.
//!
//! The kernel tells a call once. If its reader dies before it answers, the task waits for ever, because no later
//! reader is told of the call again. So a call is received straight into a memfd that somebody else holds too: the
//! kernel writes it there in the same system call in which it considers it told, and the next reader finds it.
//!
//! An entry is in use where its id is not 0. The kernel writes the id with everything else; the tag is written before
//! that and the id is cleared first, so that an entry is consistent wherever its writer died.

use crate::cvt::{cvt, errno};
use crate::intercept::{Call, What};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many calls can be without an answer at a time.
const ENTRIES: usize = 1024;
/// Names this layout; another one is another number.
const MAGIC: u64 = u64::from_le_bytes(*b"svdcall1");
/// Words of struct seccomp_notif: id; pid and flags; nr and arch; instruction pointer; six arguments.
const NOTIF_WORDS: usize = 10;

const _: () = assert!(std::mem::size_of::<libc::seccomp_notif>() == NOTIF_WORDS * 8);

#[repr(C)]
struct Head {
    magic: AtomicU64,
    entries: AtomicU64,
    spare: [AtomicU64; 10],
}

#[repr(C)]
struct Entry {
    notif: [AtomicU64; NOTIF_WORDS],
    tag: AtomicU64,
    spare: AtomicU64,
}

#[repr(C)]
struct Shared {
    head: Head,
    entries: [Entry; ENTRIES],
}

const LEN: usize = std::mem::size_of::<Shared>();

/// The ledger. Only one process may receive into it at a time: the living manager.
#[derive(Debug)]
pub struct Ledger {
    shared: NonNull<Shared>,
    /// Held while a free entry is looked for and filled, so that no two threads take the same one.
    receiving: Mutex<()>,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Ledger {}
// SAFETY: it is all atomics, and the one place where the kernel writes is under the lock.
unsafe impl Sync for Ledger {}

impl Ledger {
    /// An empty one, and the descriptor by which a later process opens it.
    pub fn create() -> io::Result<(Ledger, OwnedFd)> {
        // SAFETY: a NUL-terminated name.
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: a NUL-terminated name.
        let raw = cvt(unsafe { libc::memfd_create(c"svd-intercepted".as_ptr(), flags) })?;
        // SAFETY: just created, owned by nobody else.
        let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(raw) });
        file.set_len(u64::try_from(LEN).map_err(|_| errno(libc::EFBIG))?)?;
        // Nobody can take mapped memory away any more.
        let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
        // SAFETY: fcntl with an integer argument.
        cvt(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
        let fd: OwnedFd = file.into();
        let ledger = Ledger::map(&fd)?;
        let head = &ledger.shared().head;
        head.entries.store(u64::try_from(ENTRIES).unwrap_or(0), Ordering::Relaxed);
        head.magic.store(MAGIC, Ordering::Release);
        Ok((ledger, fd))
    }

    /// The one that somebody created. EINVAL where the descriptor is none, or one of another build that lays it out
    /// in another way.
    pub fn open(fd: OwnedFd) -> io::Result<Ledger> {
        // SAFETY: fcntl without pointers.
        let seals = cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) })?;
        let len = nix::sys::stat::fstat(&fd)?.st_size;
        if seals & libc::F_SEAL_SHRINK == 0 || usize::try_from(len) != Ok(LEN) {
            return Err(errno(libc::EINVAL));
        }
        let ledger = Ledger::map(&fd)?;
        let head = &ledger.shared().head;
        if head.magic.load(Ordering::Acquire) != MAGIC
            || usize::try_from(head.entries.load(Ordering::Relaxed)) != Ok(ENTRIES)
        {
            return Err(errno(libc::EINVAL));
        }
        Ok(ledger)
    }

    fn map(fd: &OwnedFd) -> io::Result<Ledger> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping of LEN bytes at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), LEN, access, flags, fd.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let shared = NonNull::new(at.cast()).ok_or_else(|| errno(libc::EFAULT))?;
        Ok(Ledger { shared, receiving: Mutex::new(()) })
    }

    fn shared(&self) -> &Shared {
        // SAFETY: mapped with this size until the drop, page-aligned, sealed against shrinking; it is all atomics, of
        // which every bit pattern is valid.
        unsafe { self.shared.as_ref() }
    }

    /// Receives one call that waits on `listener` and writes it down under `tag`. It never blocks. `None` where no call
    /// waits, or the one that did is gone (its task was killed or got a signal). ENOBUFS where the ledger is full: something
    /// must be answered first.
    pub fn receive(&self, listener: BorrowedFd<'_>, tag: u64) -> io::Result<Option<Call>> {
        let _one_at_a_time = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.shared().entries.iter().zip(0_usize..).find(|(entry, _)| entry.id() == 0);
        let Some((entry, index)) = free else { return Err(errno(libc::ENOBUFS)) };
        loop {
            // The call below would wait. One that waits now can vanish before it, which the call then says (ENOENT).
            if !has_call(listener)? {
                return Ok(None);
            }
            for word in &entry.notif {
                word.store(0, Ordering::Relaxed);
            }
            entry.tag.store(tag, Ordering::Release);
            // SAFETY: the entry's words are a zeroed seccomp_notif, as the kernel wants it, which it fills; they are
            // atomics, so that it may do so behind a shared reference.
            let received =
                cvt(unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, entry.notif.as_ptr()) });
            match received {
                Ok(_) => return Ok(entry.call(index)),
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// All calls that were received and are not [`done`](Self::done), by whomever. Their tasks may be gone by now:
    /// [`crate::intercept::is_waiting`] tells.
    pub fn unanswered(&self) -> Vec<Call> {
        self.shared().entries.iter().zip(0_usize..).filter_map(|(entry, index)| entry.call(index)).collect()
    }

    /// Strikes a call out: it was answered, or nobody waits for the answer any more.
    pub fn done(&self, call: &Call) {
        if let Some(entry) = self.shared().entries.get(call.entry)
            && entry.id() == call.id
            && let Some(id) = entry.notif.first()
        {
            id.store(0, Ordering::Release);
        }
    }
}

/// Whether a call waits to be received. A hang-up alone is none: older kernels would wait for ever then.
fn has_call(listener: BorrowedFd<'_>) -> io::Result<bool> {
    let mut set = [libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    // SAFETY: one valid pollfd.
    cvt(unsafe { libc::poll(set.as_mut_ptr(), 1, 0) })?;
    Ok(set.iter().any(|one| one.revents & libc::POLLIN != 0))
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // SAFETY: mapped with this length; no reference into it outlives the ledger.
        unsafe { libc::munmap(self.shared.as_ptr().cast(), LEN) };
    }
}

impl Entry {
    fn id(&self) -> u64 {
        self.notif.first().map_or(0, |id| id.load(Ordering::Acquire))
    }

    fn call(&self, entry: usize) -> Option<Call> {
        let [id, who, which, _, first, second, third, ..] = &self.notif;
        let id = id.load(Ordering::Acquire);
        let half = |word: &AtomicU64| {
            let [a, b, c, d, ..] = word.load(Ordering::Relaxed).to_ne_bytes();
            i32::from_ne_bytes([a, b, c, d])
        };
        // Descriptors and lengths are ints: the kernel looks at the lower half of the register.
        let int = |word: &AtomicU64| {
            let [a, b, c, d, ..] = word.load(Ordering::Relaxed).to_le_bytes();
            i32::from_le_bytes([a, b, c, d])
        };
        let what = match i64::from(half(which)) {
            libc::SYS_bind => {
                What::Bind { fd: int(first), address: second.load(Ordering::Relaxed), len: int(third).cast_unsigned() }
            }
            libc::SYS_listen => What::Listen { fd: int(first) },
            libc::SYS_shutdown => What::Shutdown { fd: int(first) },
            _ => What::Other,
        };
        (id != 0).then_some(Call { tag: self.tag.load(Ordering::Relaxed), pid: half(who), what, id, entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn entries_survive_their_writer_and_go_when_they_are_done() {
        let (ledger, fd) = Ledger::create().unwrap();
        assert_eq!(ledger.unanswered(), []);
        let entry = &ledger.shared().entries[3];
        entry.tag.store(5, Ordering::Relaxed);
        assert_eq!(ledger.unanswered(), [], "a tag alone is not a call");
        let words = [77, 42, u64::from_ne_bytes([libc::SYS_bind as u8, 0, 0, 0, 9, 9, 9, 9]), 0, u64::MAX, 1 << 40, 16];
        for (word, value) in entry.notif.iter().zip(words).rev() {
            word.store(value, Ordering::Relaxed);
        }
        drop(ledger);
        let ledger = Ledger::open(fd).unwrap();
        let calls = ledger.unanswered();
        let [call] = &calls[..] else { panic!("{calls:?}") };
        if libc::SYS_bind < 256 && cfg!(target_endian = "little") {
            assert_eq!((call.tag, call.pid, call.what), (5, 42, What::Bind { fd: -1, address: 1 << 40, len: 16 }));
        }
        // Somebody else's call has taken the place meanwhile.
        ledger.done(&Call { id: 78, ..call.clone() });
        assert_eq!(ledger.unanswered().len(), 1);
        ledger.done(call);
        assert_eq!(ledger.unanswered(), []);
    }

    #[test]
    fn a_full_ledger_says_so_and_what_is_none_is_refused() {
        let (ledger, _fd) = Ledger::create().unwrap();
        for entry in &ledger.shared().entries {
            entry.notif[0].store(1, Ordering::Relaxed);
        }
        let (pipe, _end) = crate::fd::pipe().unwrap();
        assert_eq!(ledger.receive(pipe.as_fd(), 0).unwrap_err().raw_os_error(), Some(libc::ENOBUFS));
        assert_eq!(ledger.unanswered().len(), ENTRIES);
        let invalid = |fd: OwnedFd| Ledger::open(fd).unwrap_err().raw_os_error() == Some(libc::EINVAL);
        assert!(invalid(crate::fd::memfd("x", &[0; 10]).unwrap()));
        assert!(invalid(crate::fd::shared_memfd("x").unwrap()));
        let (ledger, fd) = Ledger::create().unwrap();
        ledger.shared().head.magic.store(0, Ordering::Relaxed);
        assert!(invalid(fd));
    }
}
