//! Opening files without being led elsewhere.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

/// Makes the open fail with ELOOP where the last part of the path is a symbolic link (`O_NOFOLLOW`). std always
/// adds close-on-exec.
pub fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(libc::O_NOFOLLOW)
}
