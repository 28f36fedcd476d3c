//! What a client may be told about its patience and its batches.

use crate::base::Micros;
use crate::base::limits::FRAME_COMMANDS_MAX;

/// How a client behaves. `Options::default()` suits most programs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a command may take, retries included, before its caller is told that it was
    /// rejected or that its outcome is unknown.
    pub operation_timeout: Micros,
    /// How long one frame may go unanswered before its connection is given up and it is sent
    /// elsewhere.
    pub request_timeout: Micros,
    /// How long a connection may take to be established, handshake included.
    pub connect_timeout: Micros,
    /// The pause after a first refusal without a hint of who leads; it doubles up to
    /// `backoff_max`, each pause being drawn from its upper half.
    pub backoff_min: Micros,
    /// The longest pause between attempts.
    pub backoff_max: Micros,
    /// Frames of one group without a reply, at most: what is submitted meanwhile gathers into the
    /// next frame.
    pub frames_in_flight_max: usize,
    /// Commands in one frame, at most; never above `limits::FRAME_COMMANDS_MAX`.
    pub frame_commands_max: usize,
    /// Bytes of keys and values at which a frame is full; a larger command has a frame of its own.
    pub frame_bytes_max: usize,
    /// Seeds the choice of nodes and pauses: equal seeds and inputs give equal behaviour.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            operation_timeout: Micros::from_secs(30),
            request_timeout: Micros::from_secs(5),
            connect_timeout: Micros::from_secs(2),
            backoff_min: Micros::from_millis(5),
            backoff_max: Micros::from_millis(200),
            frames_in_flight_max: 8,
            frame_commands_max: FRAME_COMMANDS_MAX,
            frame_bytes_max: 256 << 10,
            seed: 1,
        }
    }
}
