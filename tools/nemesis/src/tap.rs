//! A TAP device: what the kernel sends on it is read here, what is written here the kernel receives.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::ioctl::{self, Setter, opcode};

use crate::trouble::{Trouble, at};

/// Where such devices come from.
pub(crate) const TUN: &str = "/dev/net/tun";

/// `struct ifreq` of `if.h`, as far as TUNSETIFF reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// `TUNSETIFF`, `IFF_TAP`, `IFF_NO_PI` of `if_tun.h`.
const TUNSETIFF: ioctl::Opcode = opcode::write::<i32>(b'T', 202);
const TAP: u16 = 0x0002;
const WITHOUT_HEADER: u16 = 0x1000;

/// Makes a device called `name` in this thread's network; it goes when the file is closed. Reads and writes
/// are whole Ethernet frames, and do not wait.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn open(name: &str) -> Result<File, Trouble> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
    let path = Path::new(TUN);
    let mut options = File::options();
    let file = options.read(true).write(true).custom_flags(flags).open(path);
    let file = file.map_err(at("open", path))?;
    let mut request =
        InterfaceRequest { name: [0; 16], flags: TAP | WITHOUT_HEADER, rest: [0; 22] };
    assert!(name.len() < request.name.len(), "{name} is too long for an interface");
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    attach(&file, request).map_err(at("make a TAP device of", path))?;
    Ok(file)
}

#[expect(unsafe_code, reason = "no safe wrapper makes TAP devices")]
fn attach(file: &File, request: InterfaceRequest) -> io::Result<()> {
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, of 40 bytes, which this is.
    Ok(unsafe { ioctl::ioctl(file, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) }?)
}

const _: () = assert!(size_of::<InterfaceRequest>() == 40, "struct ifreq of 64-bit Linux");
