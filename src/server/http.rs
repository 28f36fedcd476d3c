//! One HTTP/1.1 request over a plain socket: all that asking an administration port takes.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) code: u16,
    /// The body.
    pub(crate) body: String,
}

/// Asks `address` (host:port) for `path`; at most `timeout` for each of connecting, and each read.
///
/// # Errors
/// If nobody answers in time, or not with HTTP.
pub(crate) fn get(address: &str, path: &str, timeout: Duration) -> io::Result<Response> {
    let (code, body) = get_bytes(address, path, timeout)?;
    text(address, code, body)
}

/// The same for an answer that is no text: its code and body.
///
/// # Errors
/// As `get`.
pub(crate) fn get_bytes(
    address: &str,
    path: &str,
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    request(address, &format!("GET {path}"), "", timeout)
}

/// Gives `address` (host:port) a `body` of JSON for `path`; otherwise as `get`.
///
/// # Errors
/// If nobody answers in time, or not with HTTP.
pub(crate) fn post(
    address: &str,
    path: &str,
    body: &str,
    timeout: Duration,
) -> io::Result<Response> {
    let length = body.len();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    let rest = format!("{headers}\r\n{body}");
    let (code, body) = request(address, &format!("POST {path}"), &rest, timeout)?;
    text(address, code, body)
}

fn text(address: &str, code: u16, body: Vec<u8>) -> io::Result<Response> {
    let body = String::from_utf8(body)
        .map_err(|_| io::Error::other(format!("{address} does not answer with text")))?;
    Ok(Response { code, body })
}

/// `rest`: headers, an empty line and a body, if there are any.
fn request(address: &str, line: &str, rest: &str, timeout: Duration) -> io::Result<(u16, Vec<u8>)> {
    let target = address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other(format!("{address} names no address")))?;
    let mut stream = TcpStream::connect_timeout(&target, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let rest = if rest.is_empty() { "\r\n" } else { rest };
    let request = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{rest}");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(RESPONSE_MAX).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::other(format!("{address} does not speak HTTP")))
}

fn parse(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let code = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let chunked = lines.any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
    let body = &bytes[end + 4..];
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Some((code, body))
}

/// Source: RFC 9112, section 7.1.
fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let chunk = bytes.get(end + 2..)?;
        body.extend_from_slice(chunk.get(..size)?);
        bytes = chunk.get(size + 2..)?;
    }
}

/// A status of many cores and groups is a few hundred kilobytes.
const RESPONSE_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_plain_and_chunked() {
        let plain = parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}").expect("valid");
        assert_eq!(plain, (200, b"{}".to_vec()));
        let head = "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bytes = format!("{head}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        let chunked = parse(bytes.as_bytes()).expect("valid");
        assert_eq!(chunked, (503, b"abcde".to_vec()));
    }

    #[test]
    fn what_is_not_http_is_no_answer() {
        for bad in [&b""[..], b"hello\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n"] {
            assert!(parse(bad).is_none());
        }
        let endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n";
        assert!(parse(endless).is_none());
    }
}
