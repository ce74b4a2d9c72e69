//! Programs of earlier builds, packed in `tests/fixtures`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Unpacks a program to this path. `None`, said loudly, where it is for another kind of machine.
pub fn unpack(name: &str, to: &Path) -> Option<()> {
    if !cfg!(target_arch = "x86_64") {
        super::skipped("the programs of earlier builds are for x86-64");
        return None;
    }
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let script = "import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], 'wb'))";
    // In a process of its own: a file that another test's child has open for writing for a moment could not be run.
    let done = Command::new("python3").args(["-c", script]).arg(packed).arg(to).status().expect("python3");
    assert!(done.success(), "{name} cannot be unpacked");
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    Some(())
}
