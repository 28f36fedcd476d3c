//! One GET, for the administration port. HTTP/1.0, so that the body simply ends with the connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::wait::PATIENCE;

/// Returns the status code and the body of `path`.
///
/// # Errors
/// If nobody answers, or not with HTTP.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    parse(&reply).ok_or_else(|| io::Error::other(format!("not HTTP: {reply:?}")))
}

fn parse(reply: &str) -> Option<(u16, String)> {
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let (_, code) = head.split_once(' ')?;
    Some((code.get(..3)?.parse().ok()?, body.to_owned()))
}
