//! Ports for nodes that must find them again after a restart.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// The first of `count` adjacent free ports on loopback, looked for from a place that differs from
/// process to process.
///
/// They lie below the range that the kernel gives to outgoing connections (`ip_local_port_range`,
/// from 32768): a node that is killed and started again must not find its port taken by one.
///
/// # Errors
/// If no such run is free.
pub(crate) fn free(count: u16) -> io::Result<u16> {
    let start = u16::try_from(std::process::id() % u32::from(LAST - FIRST)).expect("below LAST");
    let candidates = (0..(LAST - FIRST) / count)
        .map(|step| FIRST + (start + step * count) % (LAST - FIRST - count));
    for first in candidates {
        if (first..first + count).all(is_free) {
            return Ok(first);
        }
    }
    Err(io::Error::other(format!(
        "no {count} adjacent free ports from {FIRST} to {LAST}: name some with --base-port"
    )))
}

/// Whether nobody listens there. The socket closes at once; nothing holds the port until its node
/// does, and a loser of that race says that its address is in use.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

const FIRST: u16 = 10_000;

const LAST: u16 = 32_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let first = free(3).expect("some are free");
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first + 1)).expect("was free");
        let other = free(3).expect("others are free");
        assert!(other + 2 < first + 1 || other > first + 1, "{other} overlaps {}", first + 1);
    }
}
