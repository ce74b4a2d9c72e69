//! A program that says that it is svd and then is none: what it does is in its name. The tests compile it.

use std::io::Write;
use std::os::fd::FromRawFd;

fn main() {
    let exe = std::env::current_exe().unwrap();
    let nature = exe.file_name().unwrap().to_str().unwrap().to_owned();
    let role = std::env::args().nth(1).unwrap_or_default();
    match (role.as_str(), nature.as_str()) {
        ("version", "silent") => park(),
        ("version", "before") => println!(r#"{{"version":"0.0.9","protocol":{{"min":1,"max":1}},"state":1,"features":0}}"#),
        ("version", "future") => println!(r#"{{"version":"9.0.0","protocol":{{"min":9,"max":9}},"state":9,"features":1}}"#),
        ("version", _) => println!(r#"{{"version":"7.7.7","protocol":{{"min":1,"max":2}},"state":1,"features":1}}"#),
        ("manager", "crashes") => std::process::abort(),
        ("manager", "hangs") => park(),
        ("manager", "mumbles") => {
            // SAFETY: the keeper gives its manager this descriptor.
            let mut wire = unsafe { std::fs::File::from_raw_fd(3) };
            wire.write_all(b"not a message of the protocol").unwrap();
            park();
        }
        _ => {}
    }
}

fn park() {
    loop {
        std::thread::park();
    }
}
