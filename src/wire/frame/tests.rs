use super::*;
use crate::base::AlignedBuf;

fn frame(kind: FrameKind, body: &[u8]) -> AlignedBuf {
    let mut out = Vec::new();
    append_frame(kind, body, &mut out);
    AlignedBuf::copy_of(&out)
}

/// A frame whose header was changed and sealed again.
fn resealed(change: impl FnOnce(&mut [u8])) -> AlignedBuf {
    let mut frame = frame(FrameKind::Ping, b"body");
    change(frame.as_mut_slice());
    let crc = crc32c(&frame[..HEADER_CHECKED]);
    frame.as_mut_slice()[HEADER_CHECKED..HEADER].copy_from_slice(&crc.to_le_bytes());
    frame
}

#[test]
fn the_bytes_are_those_of_the_schema() {
    let frame = frame(FrameKind::Pong, b"123456789");
    let expected: [&[u8]; 6] = [
        &[9, 0, 0, 0],
        &[36, 1, 0, 0],
        &crc32c(b"123456789\0\0\0\0\0\0\0").to_le_bytes(),
        &crc32c(&frame[..12]).to_le_bytes(),
        b"123456789",
        &[0; 7],
    ];
    assert_eq!(&frame[..], expected.concat());
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn frames_lie_end_to_end() {
    let mut out = Vec::new();
    let bodies: [&[u8]; 4] = [b"", b"1", b"12345678", b"123456789"];
    for body in bodies {
        append_frame(FrameKind::Write, body, &mut out);
    }
    let buffer = AlignedBuf::copy_of(&out);
    assert!(trusted_frames(&buffer).map(|frame| frame.body).eq(bodies));
    let mut rest = &buffer[..];
    for body in bodies {
        let Ok(Scan::Frame(frame)) = scan(rest, 9) else { panic!("a frame") };
        assert_eq!((frame.kind, frame.body), (FrameKind::Write, body));
        rest = &rest[frame.bytes.len()..];
    }
    assert_eq!(scan(rest, 9), Ok(Scan::Incomplete { needed: HEADER }));
    assert_eq!(scan_trusted(rest), None);
}

#[test]
fn trusted_bytes_that_are_no_frame_end_the_frames() {
    let mut out = Vec::new();
    append_frame(FrameKind::Write, b"whole", &mut out);
    append_frame(FrameKind::Write, b"cut", &mut out);
    assert_eq!(trusted_frames(&out[..out.len() - 1]).count(), 1);
    out[24 + 4] = 200;
    assert_eq!(trusted_frames(&out).count(), 1);
}

#[test]
fn each_refusal_names_its_cause() {
    let cases: [(AlignedBuf, FrameError); 6] = [
        (AlignedBuf::copy_of(b"GET / HTTP/1.1\r\n"), FrameError::BadHeader),
        (resealed(|bytes| bytes[5] = 2), FrameError::UnknownVersion(2)),
        (resealed(|bytes| bytes[4] = 99), FrameError::UnknownKind(99)),
        (resealed(|bytes| bytes[7] = 1), FrameError::BadHeader),
        (resealed(|bytes| bytes[0] = 101), FrameError::TooLarge { length: 101, max: 100 }),
        (resealed(|bytes| bytes[HEADER + 5] = 1), FrameError::BadChecksum),
    ];
    for (bytes, error) in cases {
        assert_eq!(scan(&bytes, 100), Err(error), "{error}");
    }
}

#[test]
fn an_oversized_frame_is_refused_by_its_header_alone() {
    let frame = frame(FrameKind::Write, &[7; 101]);
    let header = AlignedBuf::copy_of(&frame[..HEADER]);
    assert_eq!(scan(&header, 100), Err(FrameError::TooLarge { length: 101, max: 100 }));
    assert_eq!(scan(&header, 101), Ok(Scan::Incomplete { needed: frame.len() }));
}

#[test]
fn a_misaligned_buffer_is_refused() {
    let mut shifted = AlignedBuf::copy_of(b"x");
    shifted.extend_from_slice(&frame(FrameKind::Ping, b"body"));
    assert_eq!(scan(&shifted[1..], 100), Err(FrameError::Misaligned));
}

#[test]
#[should_panic(expected = "3 bytes are not whole frames")]
fn a_frame_is_not_appended_to_half_a_frame() {
    append_frame(FrameKind::Ping, b"", &mut vec![0; 3]);
}
