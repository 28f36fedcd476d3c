//! The four protobuf messages that the etcd client needs, by hand.
//!
//! Source: etcd 3.4, `etcdserver/etcdserverpb/rpc.proto`; the Protocol Buffers encoding guide.

/// gRPC method of a write.
pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
/// gRPC method of a read.
pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";
/// gRPC method that tells who leads.
pub(crate) const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// Appends a `PutRequest`: key is field 1, value field 2.
pub(crate) fn put_request(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    bytes_field(1, key, out);
    bytes_field(2, value, out);
}

/// Appends a `RangeRequest` of one key; linearizable, since field 7 (`serializable`) is left false.
pub(crate) fn range_request(key: &[u8], out: &mut Vec<u8>) {
    bytes_field(1, key, out);
}

/// Returns (this member, leader) of a `StatusResponse`: field 2 of the header (field 1), and
/// field 4. Zero where absent.
pub(crate) fn status_response(message: &[u8]) -> Option<(u64, u64)> {
    let header = field(message, 1).ok()?.map_or(&[][..], Value::bytes);
    let member = field(header, 2).ok()?.map_or(0, Value::number);
    let leader = field(message, 4).ok()?.map_or(0, Value::number);
    Some((member, leader))
}

/// Returns the number of keys a `RangeResponse` found: its field 4.
pub(crate) fn range_count(message: &[u8]) -> Option<u64> {
    Some(field(message, 4).ok()?.map_or(0, Value::number))
}

/// The message is no protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    fn number(self) -> u64 {
        if let Self::Number(number) = self { number } else { 0 }
    }

    fn bytes(self) -> &'a [u8] {
        if let Self::Bytes(bytes) = self { bytes } else { &[] }
    }
}

fn bytes_field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | WIRE_BYTES);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Finds a field; `None` if the message lacks it.
fn field(mut message: &[u8], wanted: u64) -> Result<Option<Value<'_>>, Malformed> {
    while !message.is_empty() {
        let tag = take_varint(&mut message).ok_or(Malformed)?;
        let value = take_value(&mut message, tag & 7).ok_or(Malformed)?;
        if tag >> 3 == wanted {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn take_value<'a>(message: &mut &'a [u8], wire_type: u64) -> Option<Value<'a>> {
    match wire_type {
        0 => take_varint(message).map(Value::Number),
        1 => message.split_off(..8).map(Value::Bytes),
        2 => {
            let length = usize::try_from(take_varint(message)?).ok()?;
            message.split_off(..length).map(Value::Bytes)
        }
        5 => message.split_off(..4).map(Value::Bytes),
        _ => None,
    }
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *message.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

const WIRE_BYTES: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_its_two_fields() {
        let mut out = Vec::new();
        put_request(b"k", &[7; 200], &mut out);
        assert_eq!(out[..3], [0x0a, 1, b'k']);
        assert_eq!(out[3..6], [0x12, 0xc8, 0x01]);
        assert_eq!(out.len(), 6 + 200);
        assert_eq!(field(&out, 2), Ok(Some(Value::Bytes(&[7; 200]))));
    }

    #[test]
    fn a_status_names_member_and_leader() {
        let mut header = vec![0x08, 0x01, 0x10];
        varint(0x8e9e_05c5_2164_694d, &mut header);
        let mut message = Vec::new();
        bytes_field(1, &header, &mut message);
        bytes_field(2, b"3.4.23", &mut message);
        message.push(0x20);
        varint(42, &mut message);
        assert_eq!(status_response(&message), Some((0x8e9e_05c5_2164_694d, 42)));
        assert_eq!(status_response(&[]), Some((0, 0)));
    }

    #[test]
    fn a_count_is_read_past_the_entries_before_it() {
        let mut message = Vec::new();
        bytes_field(2, &[0xff; 30], &mut message);
        message.extend([0x20, 1]);
        assert_eq!(range_count(&message), Some(1));
    }

    #[test]
    fn every_truncation_is_refused_or_lacks_the_field() {
        let mut message = Vec::new();
        bytes_field(2, &[0xff; 30], &mut message);
        message.extend([0x20, 0x81, 0x01]);
        for length in 0..message.len() {
            assert_ne!(range_count(&message[..length]), Some(129), "{length}");
        }
        assert_eq!(range_count(&message), Some(129));
    }
}
