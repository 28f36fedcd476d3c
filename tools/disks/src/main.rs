//! `sunstar-disks`: what real nodes do on real disks that are full or fail.
//!
//! Each command is one check; it exits 0 if all that is promised was kept, and says what was not
//! otherwise. The server's binary is the one beside this program: `cargo build` first.

mod crash_images;
mod eio;
mod enospc;
#[expect(dead_code, unused_imports, reason = "the cluster tests' own; the checks need a part")]
#[path = "../../../tests/cluster/support/mod.rs"]
mod support;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks of Sunstar on disks that are full or fail. Needs root.
#[derive(Debug, Parser)]
#[command(name = "sunstar-disks", version)]
struct Arguments {
    #[command(subcommand)]
    check: Check,
}

#[derive(Debug, Subcommand)]
enum Check {
    /// Disks fill up: one node's, then everybody's. Everything goes on once there is room.
    Enospc,
    /// Writes and flushes of one node's disk fail: it stops at once, the others go on.
    Eio,
    /// The power fails at any moment: all that was acknowledged is found on what the disk may hold then.
    CrashImages(crash_images::Extent),
}

fn main() -> ExitCode {
    let Arguments { check } = Arguments::parse();
    match perform(&check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(check: &Check) -> Result<(), Box<dyn Error>> {
    // What a check has built is taken down as its stack unwinds.
    if cfg!(panic = "abort") {
        return Err("build without --release: a check that fails must clean up".into());
    }
    sunstar_disks::require_root()?;
    let server = support::server();
    if !server.is_file() {
        return Err(format!("`{}` is missing: run `cargo build` first", server.display()).into());
    }
    match check {
        Check::Enospc => enospc::check()?,
        Check::Eio => eio::check()?,
        Check::CrashImages(extent) => crash_images::check(extent)?,
    }
    Ok(())
}

/// Has a node that was never started keep its data in `directory`.
fn place(node: &support::Node, directory: &Path) {
    let data = directory.join("data");
    std::fs::create_dir(&data).expect("an empty file system");
    let name = &node.plan().data_dir;
    std::os::unix::fs::symlink(data, name).expect("a node without data");
}
