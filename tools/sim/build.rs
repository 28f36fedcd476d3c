//! Notes the commit that the simulator is built from: a seed means nothing without it.

use std::process::Command;

fn main() {
    let head = git(&["rev-parse", "--short=12", "HEAD"]);
    let commit = head.as_deref().unwrap_or("unknown");
    // Only what the simulator is made of; a note beside it changes nothing.
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "../../src"]);
    let mark = if changed.is_some_and(|lines| !lines.is_empty()) { "+" } else { "" };
    println!("cargo::rustc-env=SUNSTAR_COMMIT={commit}{mark}");
    // Another commit, or another branch.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=../../src");
}

/// What git says, if it is there and this is a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
