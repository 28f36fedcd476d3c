//! The source holds to the architecture: arrows between modules point one way, the runtime and the
//! operating system stay where they belong, files stay readable. Needs nothing but the source.

mod arrows;
mod documents;
mod source;
mod tidy;

use std::path::Path;

use source::{SourceFile, rust_files};

#[test]
fn arrows_point_one_way() {
    let files = rust_files(&["src"]);
    assert!(files.len() > 20, "found the source: {} files", files.len());
    refuse(files.iter().filter(|file| !file.is_generated()).flat_map(arrows::violations));
}

#[test]
fn files_are_tidy() {
    let files = rust_files(&["src", "tests", "bench", "tools"]);
    refuse(files.iter().flat_map(tidy::violations));
}

#[test]
fn documents_name_what_is_there() {
    refuse(documents::violations(Path::new(env!("CARGO_MANIFEST_DIR"))).into_iter());
}

#[test]
fn a_planted_violation_is_caught_wherever_it_hides() {
    let planted = [
        ("src/raft/log.rs", "use crate::wal::SegmentId;"),
        ("src/raft/log.rs", "use crate::{base::Term, kv::Machine};"),
        ("src/raft/log.rs", "fn f() { crate::reactor::turn() }"),
        ("src/raft/mod.rs", "use super::wire;"),
        ("src/raft/log.rs", "use super::super::io::Node;"),
        ("src/raft/log.rs", "mod inner { use super::super::super::{base::Term, wire::Frame}; }"),
        ("src/raft/log.rs", "mod tests { use crate::wal::SegmentId; }"),
        ("src/base/time.rs", "use crate::raft;"),
        ("src/io/mod.rs", "use crate::server::Config;"),
        ("src/client/core.rs", "use crate::reactor::Effects;"),
        ("src/kv/mod.rs", "use crate::*;"),
        ("src/kv/mod.rs", "pub async fn get() {}"),
        ("src/kv/mod.rs", "fn f() { unsafe { g() } }"),
        ("src/kv/mod.rs", "use std::{fs::File, io};"),
        ("src/kv/mod.rs", "fn f() -> std::time::Instant { todo!() }"),
        ("src/kv/mod.rs", "use std::time::{Duration, Instant};"),
        ("src/reactor/mod.rs", "use glommio::Task;"),
        ("src/server/mod.rs", "use glommio::Task;"),
        ("src/reactor/mod.rs", "fn f() -> u64 { fastrand::u64(..) }"),
        ("src/reactor/mod.rs", "fn f() { fastrand::Rng::new(); }"),
        ("src/novelty/mod.rs", "fn f() {}"),
    ];
    for (path, text) in planted {
        let found = arrows::violations(&file(path, text));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert!(found[0].starts_with(path), "{found:?}");
    }
}

#[test]
fn what_is_allowed_passes() {
    let harmless = [
        ("src/raft/log.rs", "use crate::base::{Term, limits}; use super::entry::Entry;"),
        ("src/raft/log.rs", "mod tests { use super::*; use std::fs; }"),
        ("src/raft/log.rs", "// use crate::wal;\n/* crate::io /* unsafe */ */"),
        (
            "src/raft/log.rs",
            r##"const A: &str = "crate::io \" async"; const B: &str = r#"unsafe"#;"##,
        ),
        ("src/raft/log.rs", "fn f<'a>(x: &'a u8) -> char { '\\'' } const C: char = '\"';"),
        ("src/kv/mod.rs", "use std::time::Duration; use std::net::SocketAddr;"),
        ("src/kv/mod.rs", "fn f(rng: &mut fastrand::Rng) { fastrand::Rng::with_seed(1); }"),
        ("src/reactor/mod.rs", "use crate::raft::Raft; fn f(x: X) { x.io::<u8>(); self::g(); }"),
        ("src/client/blocking.rs", "use std::net::TcpStream; use std::time::Instant;"),
        ("src/client/asynchronous.rs", "async fn f() {}"),
        ("src/io/disk.rs", "use glommio::io::DmaFile; async fn f() { unsafe {} }"),
        ("src/lib.rs", "pub mod io; pub mod base;"),
    ];
    for (path, text) in harmless {
        assert_eq!(arrows::violations(&file(path, text)), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn a_planted_untidiness_is_caught() {
    let long_file = "\n".repeat(801);
    for (path, text) in [
        ("src/raft/log.rs", long_file.as_str()),
        ("src/raft/utils.rs", ""),
        ("src/common/log.rs", ""),
        ("src/raft/log.rs", "fn f() {} "),
        ("src/raft/log.rs", "fn f() { todo!() }"),
    ] {
        assert_eq!(tidy::violations(&file(path, text)).len(), 1, "{path}");
    }
    assert!(tidy::violations(&file("src/wire/generated/x.rs", &long_file)).is_empty());
}

#[test]
fn a_document_that_names_what_is_gone_is_caught() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = "`base/time.rs`, `base/gone.rs` and [this](Cargo.toml) and [that](gone.md)\n";
    let found = documents::missing(root, "X.md", text);
    assert_eq!(found, ["X.md:1: `base/gone.rs` is not there", "X.md:1: `gone.md` is not there"]);
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

fn refuse(violations: impl Iterator<Item = String>) {
    let found: Vec<String> = violations.collect();
    assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
}
