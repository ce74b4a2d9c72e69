//! Sentences for whoever started svd, on standard error.

use std::io::Write;

/// Writes the text and a newline. Where nobody can read it, it is lost: svd goes on.
pub fn line(text: &str) {
    let _unheard = writeln!(std::io::stderr(), "{}", text.trim_end());
}
