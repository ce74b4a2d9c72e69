//! What the keeper is told to start: numbers and absolute paths only.

/// Who a process runs as. The manager has looked the names up; the keeper only sets the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups; replaces those of svd (setgroups(2)). At most 65,536.
    pub groups: Vec<u32>,
}

/// One resource limit, setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// The kernel's number of the resource (`RLIMIT_NOFILE`, …).
    pub resource: u32,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// What a descriptor that comes with a spawn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FdRole {
    /// Given to the child under this number; the keeper closes its own copy after the fork.
    Child(u32),
    /// Read end of the child's standard output: held, handed to every manager.
    Stdout,
    /// Read end of the child's standard error: held, handed to every manager.
    Stderr,
    /// Read end of the readiness pipe: held, handed to every manager.
    Ready,
    /// The notify socket: held and read by the keeper itself.
    Notify,
    /// Our end of the socket over which the child hands out its system call filter's listener: held, handed to every manager.
    Intercept,
    /// The child's end of that socket. Its presence asks for the filter.
    Filter,
}

impl FdRole {
    /// The child's, so that the keeper closes its own copy after the fork.
    pub fn is_childs(self) -> bool {
        match self {
            FdRole::Child(_) | FdRole::Filter => true,
            FdRole::Stdout | FdRole::Stderr | FdRole::Ready | FdRole::Notify | FdRole::Intercept => false,
        }
    }
}

/// A process to start. Everything not named here the child gets as follows: a session of its own, default signal
/// dispositions, an empty signal mask, descriptors 0, 1 and 2 on `/dev/null` where `fds` does not give them, no
/// other descriptor, the limits svd itself was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpawnSpec {
    /// Written on the record for a later manager; opaque to the keeper; at most [`MAX_TAG`](crate::MAX_TAG) bytes.
    pub tag: Vec<u8>,
    /// Absolute path of the program, without NUL.
    pub path: Vec<u8>,
    /// Argument vector, at least one, each without NUL.
    pub argv: Vec<Vec<u8>>,
    /// Environment as `KEY=value`, each without NUL. An entry `LISTEN_PID=` or `WATCHDOG_PID=` without a value is
    /// given the child's own process id, which nobody knows before the fork.
    pub env: Vec<Vec<u8>>,
    /// Absolute working directory.
    pub cwd: Vec<u8>,
    /// File mode creation mask; `None` keeps svd's own.
    pub umask: Option<u32>,
    /// Nice value, -20 to 19; `None` keeps svd's own.
    pub nice: Option<i32>,
    /// oom_score_adj, -1000 to 1000; `None` means 0 or what svd was started with.
    pub oom_score_adj: Option<i32>,
    /// User and groups; `None` keeps svd's own.
    pub credentials: Option<Credentials>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Roles of the attached descriptors, in their order; at most [`MAX_FDS`](crate::MAX_FDS) less one.
    pub fds: Vec<FdRole>,
    /// The store of descriptors that it may fill, and whose contents it is given.
    pub store: Option<StoreSpec>,
}

/// A store of descriptors that outlives spawns (`FDSTORE=1` of sd_notify(3)). The keeper holds it until it is told
/// [`Request::Empty`](crate::Request::Empty).
///
/// Where it has something in it, the child gets that under the numbers from `first` on, and the entries `LISTEN_FDS`,
/// `LISTEN_FDNAMES` and `LISTEN_PID` of its environment are made or changed accordingly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    /// Its name; spawns that name the same one share it. At most [`MAX_NAME`](crate::MAX_NAME) bytes.
    pub name: String,
    /// The most descriptors in it; at most [`MAX_STORED`](crate::MAX_STORED).
    pub limit: u32,
    /// The first number that the child finds them under.
    pub first: u32,
}

/// Why a spec cannot be started or sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A string contains NUL, which execve(2) cannot carry.
    #[error("{0} contains a NUL byte")]
    Nul(&'static str),
    /// A path is not absolute.
    #[error("{0} is not an absolute path")]
    Relative(&'static str),
    /// No argument at all.
    #[error("argv is empty")]
    NoArgument,
    /// A bound is passed.
    #[error("{0} is larger than allowed")]
    TooLarge(&'static str),
    /// Two descriptors for one place.
    #[error("two descriptors have the role {0:?}")]
    RoleTwice(FdRole),
}
