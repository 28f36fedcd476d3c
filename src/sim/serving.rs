//! A process's clients: greeted, moved to the core of the group they name, and their frames taken, as in
//! `io/clients.rs` and `io/turn.rs`.

use super::letter::Letter;
use super::network::Wire;
use super::process::{Process, Role};
use super::surroundings::{Surroundings, token};
use crate::base::limits::CLIENT_FRAME_BODY_MAX;
use crate::base::{AlignedBuf, CoreId, GroupId};
use crate::placement::ShardMap;
use crate::reactor::Input;
use crate::wire::frame::{Frame, FrameKind, PROTOCOL_VERSION, Scan, scan};
use crate::wire::handshake::{ClientHello, ClientHelloReply};

impl Process {
    /// Bytes of a client's. Returns whether it may stay.
    pub(super) fn take_bytes(
        &mut self,
        out: &mut Surroundings,
        core: CoreId,
        wire: Wire,
        bytes: &[u8],
        mut greets: bool,
    ) -> bool {
        let Some(input) = self.input_mut(wire) else { return false };
        let mut input = std::mem::take(input);
        input.extend_from_slice(bytes);
        let (mut core, mut taken) = (core, 0);
        loop {
            match scan(&input[taken..], CLIENT_FRAME_BODY_MAX) {
                Ok(Scan::Frame(frame)) => {
                    taken += frame.bytes.len();
                    if std::mem::take(&mut greets) {
                        let Some(home) = self.greet_client(out, core, wire, &frame) else {
                            return false;
                        };
                        core = home;
                    } else if is_request(&frame) {
                        let (connection, frame) = (token(wire), AlignedBuf::copy_of(frame.bytes));
                        self.give(out, core, Letter::Client { connection, frame });
                    } else {
                        return false;
                    }
                }
                Ok(Scan::Incomplete { .. }) => break,
                Err(_) => return false,
            }
        }
        input.consume(taken);
        if let Some(rest) = self.input_mut(wire) {
            *rest = input;
        }
        true
    }

    /// A client's first frame. Returns its core, if it may stay.
    fn greet_client(
        &mut self,
        out: &mut Surroundings,
        core: CoreId,
        wire: Wire,
        frame: &Frame<'_>,
    ) -> Option<CoreId> {
        let hello = ClientHello::parse(frame).ok()?;
        let smp = self.smp();
        let home = match hello.group {
            GroupId(0) => core,
            group => ShardMap::home_core(group, smp),
        };
        self.set_role(wire, Role::Client(home));
        let (cluster, node) = (self.cluster, self.node);
        let reply = ClientHelloReply {
            protocol: PROTOCOL_VERSION,
            cluster,
            node,
            core: home,
            smp,
            refusal: None,
        };
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        self.send_bytes(out, wire, &bytes);
        Some(home)
    }

    /// A client is gone.
    pub(super) fn client_closed(&mut self, out: &mut Surroundings, core: CoreId, wire: Wire) {
        let connection = token(wire);
        self.give(out, core, Letter::Input(Input::ClientClosed { connection }));
    }
}

fn is_request(frame: &Frame<'_>) -> bool {
    matches!(
        frame.kind,
        FrameKind::MapRequest
            | FrameKind::Write
            | FrameKind::Read
            | FrameKind::OpenSession
            | FrameKind::CloseSession
    )
}
