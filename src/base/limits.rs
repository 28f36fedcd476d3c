//! Bounds that both sides of a wire or a disk must agree on; each is checked before allocation.

/// Bytes of a client frame's body, at most: what one connection can make a server hold at once.
pub const CLIENT_FRAME_BODY_MAX: usize = 4 << 20;

/// Bytes of a peer frame's body, at most: an entry of one largest client frame fits, and envelope.
pub const PEER_FRAME_BODY_MAX: usize = 16 << 20;

/// Bytes of a handshake frame's body, at most: before it a peer has proved nothing.
pub const HANDSHAKE_BODY_MAX: usize = 4 << 10;

/// Bytes of a key, at most.
pub const KEY_MAX: usize = 16 << 10;

/// Bytes of a value, at most, what `append` makes of it included.
pub const VALUE_MAX: usize = 1 << 20;

/// Commands in one client frame, at most.
pub const FRAME_COMMANDS_MAX: usize = 16 << 10;

/// Requests of one session that may be without an acknowledged result, at most: the window within
/// which sequences are remembered.
pub const SESSION_WINDOW_MAX: u64 = 64 << 10;

/// Sessions in one group, at most.
pub const SESSIONS_MAX: usize = 16 << 10;

/// Bytes of commands in one log entry, at most, unless a single frame is larger.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;

/// Bytes that the host of a state machine keeps in its state, at most.
pub const ANNEX_MAX: usize = 8 << 20;

/// Nodes in a cluster, at most.
pub const NODES_MAX: usize = 64;

/// Epochs of the shard map that are remembered, at most, the latest included.
pub const EPOCHS_MAX: usize = 4_096;

/// Bytes of a node's address, `host:port`, at most: the longest name that DNS allows has 253.
pub const ADDRESS_MAX: usize = 262;

/// Cores of one node, at most.
pub const CORES_MAX: usize = 256;

const _: () = assert!(KEY_MAX + 2 * VALUE_MAX < CLIENT_FRAME_BODY_MAX, "any command fits a frame");
const _: () = assert!(
    ENTRY_BYTES_MAX + CLIENT_FRAME_BODY_MAX < PEER_FRAME_BODY_MAX,
    "any entry fits a frame to a peer"
);
