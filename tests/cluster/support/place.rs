//! Where the server's binary is, and room for its data: as cargo tells tests; for other programs that
//! use these modules, beside the program itself.

use std::path::PathBuf;

/// The server's binary.
pub(crate) fn server() -> PathBuf {
    option_env!("CARGO_BIN_EXE_sunstar").map_or_else(|| beside_us("sunstar"), PathBuf::from)
}

/// A directory for what does not outlive the run.
pub(crate) fn room() -> PathBuf {
    option_env!("CARGO_TARGET_TMPDIR").map_or_else(|| beside_us("."), PathBuf::from)
}

fn beside_us(name: &str) -> PathBuf {
    let us = std::env::current_exe().expect("the kernel knows");
    us.parent().expect("a file is in a directory").join(name)
}
