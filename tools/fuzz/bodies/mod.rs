//! What is done with arbitrary bytes: one body per target, each with valid inputs to begin with.
//!
//! A body must come back whatever it is given; what it asserts holds for every input. The same bodies are
//! run by `cargo fuzz` (`tools/fuzz/run`) and, over a few thousand seeded mutations, by `cargo test`
//! (`tests/fuzz`), so they name nothing but the public interface and `std`.
//!
//! Most formats carry checksums, which hardly any mutation survives. So frames are made around the input,
//! and where checksums lie inside of what is mutated the first byte of the input says whether to make them
//! right again.
//!
//! Not here: the reader of the configuration file, which is built with the server only.

mod commands;
mod cursor;
mod frames;
mod histories;
mod log;
mod maps;
mod pieces;
mod raft;
mod reactor;
mod snapshot;
mod superblock;

/// Something to be fuzzed.
pub(crate) struct Target {
    /// Its name, that of the binary too.
    pub(crate) name: &'static str,
    /// What is done with the bytes.
    pub(crate) body: fn(&[u8]),
    /// Inputs that get far.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub(crate) const TARGETS: [Target; 12] = [
    Target { name: "client_frames", body: frames::client, seeds: frames::client_seeds },
    Target { name: "peer_frames", body: frames::peer, seeds: frames::peer_seeds },
    Target { name: "log_recovery", body: log::recover, seeds: log::seeds },
    Target { name: "snapshot_file", body: snapshot::file, seeds: snapshot::file_seeds },
    Target { name: "snapshot_state", body: snapshot::state, seeds: snapshot::state_seeds },
    Target { name: "slot_pieces", body: pieces::take, seeds: pieces::seeds },
    Target { name: "superblock", body: superblock::decode, seeds: superblock::seeds },
    Target { name: "history_file", body: histories::read, seeds: histories::seeds },
    Target { name: "commands", body: commands::execute, seeds: commands::seeds },
    Target { name: "raft_step", body: raft::step, seeds: raft::seeds },
    Target { name: "shard_map", body: maps::read, seeds: maps::seeds },
    Target { name: "reactor", body: reactor::turns, seeds: reactor::seeds },
];
