//! What must hold before a node starts: each failure names its cause and its remedy.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::io_uring::{io_uring_params, io_uring_setup};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::NodeConfig;
use super::data_dir::{DataDir, DataDirError, create_directory};
use super::disk::is_disk_full;
use crate::base::limits::CORES_MAX;
use crate::wal::{BLOCK, SEGMENT_BYTES_MIN};

/// Why a node cannot start here.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The kernel has no `io_uring`.
    #[error(
        "this kernel has no io_uring: Sunstar needs Linux 5.11 or later, built with CONFIG_IO_URING"
    )]
    IoUringMissing,
    /// Something forbids `io_uring`.
    #[error(
        "io_uring is forbidden here. In a container: Docker's and containerd's default seccomp \
         profiles block it; run with `--security-opt seccomp=unconfined` or a profile that allows \
         io_uring_setup, io_uring_enter and io_uring_register. On the host: check `sysctl \
         kernel.io_uring_disabled`, it must be 0 (or 1 for members of kernel.io_uring_group)"
    )]
    IoUringForbidden,
    /// The memory that may be locked is too little even for a small ring.
    #[error(
        "io_uring cannot lock the memory it needs ({limit} bytes are allowed): raise the limit with \
         `ulimit -l unlimited`, LimitMEMLOCK=infinity in a systemd unit, or `--ulimit memlock=-1` \
         for a container"
    )]
    Memlock {
        /// The limit.
        limit: u64,
    },
    /// `io_uring` fails for another reason.
    #[error("io_uring cannot be set up: {0}")]
    IoUring(io::Error),
    /// The data directory lies in memory.
    #[error(
        "`{}` lies on {file_system}, which keeps nothing through a power loss: choose a directory \
         on a disk with --data-dir (ext4 and xfs are tested)", path.display()
    )]
    NotADisk {
        /// The directory.
        path: PathBuf,
        /// The file system's name.
        file_system: &'static str,
    },
    /// Direct I/O is not possible.
    #[error(
        "the file system of `{}` has no direct I/O ({source}): choose a directory on ext4 or xfs \
         with --data-dir", path.display()
    )]
    NoDirectIo {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Direct I/O is accepted but not performed.
    #[error(
        "the file system of `{}` accepts O_DIRECT but ignores it (it took a write that no disk can \
         take): choose a directory on ext4 or xfs with --data-dir", path.display()
    )]
    DirectIoIgnored {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error(
        "{flag} {address} is in use by another process (another sunstar?): stop it, or choose \
         another port with {flag}"
    )]
    AddressInUse {
        /// The flag that sets it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {flag} {address}: {source}")]
    Address {
        /// The flag that sets it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

/// Checks that a node could start with `config`. Changes nothing but the existence of the data
/// directory.
///
/// # Errors
/// If it could not.
pub fn preflight(config: &NodeConfig) -> Result<(), PreflightError> {
    check_settings(config)?;
    check_io_uring()?;
    create_directory(&config.data_dir)?;
    check_disk(&config.data_dir)?;
    DataDir::check(config)?;
    Listeners::bind(config).map(drop)
}

/// The listening sockets of a node. Bound without `SO_REUSEPORT`, so that a second server fails.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) client: TcpListener,
    pub(super) peer: TcpListener,
    pub(super) admin: Option<TcpListener>,
}

impl Listeners {
    pub(super) fn bind(config: &NodeConfig) -> Result<Self, PreflightError> {
        Ok(Self {
            client: listen("--client-addr", config.client_addr)?,
            peer: listen("--peer-addr", config.peer_addr)?,
            admin: config.admin_addr.map(|address| listen("--admin-addr", address)).transpose()?,
        })
    }
}

/// Looks at an address in use, and how often: for three seconds.
const LISTEN_ATTEMPTS: u32 = 150;
const LISTEN_PAUSE: Duration = Duration::from_millis(20);

/// Binds, with some patience: a ring's sockets are given back by the kernel a while after the process
/// that used it has ended, which whoever restarts a killed node at once would meet.
fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, PreflightError> {
    for _ in 1..LISTEN_ATTEMPTS {
        match listen_now(flag, address) {
            Err(PreflightError::AddressInUse { .. }) => pause(),
            settled => return settled,
        }
    }
    listen_now(flag, address)
}

#[expect(clippy::disallowed_methods, reason = "nothing runs yet, and the kernel tells nobody")]
fn pause() {
    std::thread::sleep(LISTEN_PAUSE);
}

fn listen_now(flag: &'static str, address: SocketAddr) -> Result<TcpListener, PreflightError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => PreflightError::AddressInUse { flag, address },
        _ => PreflightError::Address { flag, address, source },
    })
}

/// Settings that make no sense together.
pub(super) fn check_settings(config: &NodeConfig) -> Result<(), PreflightError> {
    let wrong = |text: String| Err(PreflightError::Setting(text));
    if config.smp == 0 || config.smp > CORES_MAX {
        return wrong(format!("--smp {}: between 1 and {CORES_MAX} cores", config.smp));
    }
    if !config.overprovisioned && config.cpuset.len() < config.smp {
        return wrong(format!(
            "--smp {} needs as many CPUs, but --cpuset has {}: lower --smp, or share CPUs with \
             --overprovisioned",
            config.smp,
            config.cpuset.len()
        ));
    }
    if config.segment_bytes < SEGMENT_BYTES_MIN
        || !config.segment_bytes.is_multiple_of(BLOCK as u64)
    {
        return wrong(format!(
            "--log-segment-bytes {}: a multiple of {BLOCK}, at least {SEGMENT_BYTES_MIN}",
            config.segment_bytes
        ));
    }
    if config.shard_map.node(config.node).is_none() {
        return wrong(format!(
            "--node-id {} is not among the initial nodes: check --initial-nodes",
            config.node
        ));
    }
    Ok(())
}

/// Whether rings can be made.
#[expect(
    unsafe_code,
    reason = "the system call may be given a descriptor by number; this one is not"
)]
pub(super) fn check_io_uring() -> Result<(), PreflightError> {
    let mut params = io_uring_params::default();
    // SAFETY: ATTACH_WQ is not among the flags, so no descriptor is named; the ring is closed again.
    let ring = unsafe { io_uring_setup(8, &mut params) };
    match ring {
        Ok(_) => Ok(()),
        Err(Errno::NOSYS) => Err(PreflightError::IoUringMissing),
        Err(Errno::PERM | Errno::ACCESS) => Err(PreflightError::IoUringForbidden),
        Err(Errno::NOMEM) => Err(PreflightError::Memlock { limit: memlock() }),
        Err(error) => Err(PreflightError::IoUring(error.into())),
    }
}

/// Bytes that may be locked; `u64::MAX` without a limit.
pub(super) fn memlock() -> u64 {
    getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX)
}

/// Raises the number of descriptors to what is allowed.
pub(super) fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open descriptors");
    }
}

/// Whether `directory` lies on a disk that does what it is told.
pub(super) fn check_disk(directory: &Path) -> Result<(), PreflightError> {
    refuse_memory(directory)?;
    let path = directory.join("direct-io-check.tmp");
    let checked = try_direct_io(&path);
    // Left behind, it would only be overwritten by the next check.
    let _ = std::fs::remove_file(&path);
    match checked {
        Ok(true) => Ok(()),
        Ok(false) => Err(PreflightError::DirectIoIgnored { path: directory.into() }),
        // A node whose disk is full serves reads and votes, a restarted one too; a new one will find
        // no room for its superblock.
        Err(error) if is_disk_full(&error) => {
            tracing::warn!(directory = %directory.display(), "no room to try direct I/O: the disk is full");
            Ok(())
        }
        Err(source) => Err(PreflightError::NoDirectIo { path: directory.into(), source }),
    }
}

fn refuse_memory(directory: &Path) -> Result<(), PreflightError> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let path = directory.to_path_buf();
    let status = rustix::fs::statfs(directory).map_err(|error| DataDirError::Io {
        action: "look at the file system of",
        path: path.clone(),
        source: error.into(),
    })?;
    match u64::try_from(status.f_type) {
        Ok(TMPFS) => Err(PreflightError::NotADisk { path, file_system: "tmpfs" }),
        Ok(RAMFS) => Err(PreflightError::NotADisk { path, file_system: "ramfs" }),
        _ => Ok(()),
    }
}

/// Writes a block directly and durably, then tries one byte, which direct I/O must refuse. Returns
/// whether it did.
fn try_direct_io(path: &Path) -> io::Result<bool> {
    let mut file: File = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
        .open(path)?;
    let memory = vec![0; 2 * BLOCK];
    let aligned = &memory[memory.as_ptr().align_offset(BLOCK)..][..BLOCK];
    file.write_all(aligned)?;
    Ok(file.write(&aligned[..1]).is_err())
}

#[cfg(test)]
mod tests;
