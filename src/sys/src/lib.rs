//! System calls behind safe functions: the only crate with unsafe code.
//!
//! It knows the kernel and nothing of services, messages or configuration. Every function returns the kernel's own
//! errno as an `io::Error` and never panics; nothing here waits unless its name or description says so.
//!
//! - Starting and ending: [`spawn`] (with `child.rs` and [`confine`] between fork and exec, and `filter.rs` for its system call filter), [`wait`],
//!   [`pidfd`], [`signal`], [`tree`], and [`cgroup`] for limits.
//! - Taking traffic: [`listen`] makes the sockets, [`gate`] directs connections among those of one address,
//!   [`handshakes`] tells what is still under way, [`owner`] and [`accepted`] who has a port or a connection.
//! - Programs that bind for themselves: [`intercept`], with its ledger of calls without an answer.
//! - Time: [`clock`] reads it, [`timer`] waits for it.
//! - Talking and holding: [`packet`], [`dgram`], [`epoll`], [`fd`], [`splice`], [`lock`].

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod accepted;
pub mod cgroup;
mod child;
pub mod clock;
pub mod confine;
pub mod conversations;
pub mod dgram;
pub mod epoll;
pub mod fd;
pub mod files;
mod filter;
pub mod gate;
pub mod handshakes;
pub mod intercept;
mod landlock;
mod ledger;
pub mod limits;
pub mod listen;
pub mod lock;
mod look;
mod netdiag;
pub mod owner;
pub mod packet;
pub mod pidfd;
pub mod process;
pub mod report;
pub mod signal;
pub mod spawn;
pub mod splice;
mod task;
pub mod timer;
pub mod tree;
pub mod tty;
pub mod users;
pub mod wait;

mod cvt;
