//! What clients and servers say to each other. Format: `schema/client.fbs`.
//!
//! A frame carries a batch: fixed-size structs beside one blob of bytes, so that thousands of
//! commands cost one check of offsets and one pass over their lengths, and no allocation.

mod answer;
mod reply;
mod request;
mod request_builder;

pub use answer::{Answer, Outcome, Status};
pub use reply::{Answers, REPLY_VALUES_MAX, ReplyBuilder, ReplyHead, ReplyView, parse_reply};
pub use request::{
    EXPECT_ABSENT, Operation, OperationKind, Operations, ReadBatch, Request, WriteBatch,
    parse_request, route,
};
pub use request_builder::{
    RequestBuilder, encode_close_session, encode_map_request, encode_open_session,
};

#[cfg(test)]
mod tests;
