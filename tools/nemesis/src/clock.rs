//! Clocks that are wrong: libfaketime between a node and the kernel's clocks.
//!
//! The wall clock jumps while a node runs, as an administrator or NTP makes it; the monotonic clock
//! cannot, on any kernel. What both can do is run too fast or too slow. So a node either has a wall clock
//! that jumps by what its file says, or, for the life of a process, clocks with another rate.

use std::path::{Path, PathBuf};

use sunstar_disks::DiskError;

use crate::trouble::{Trouble, at};

/// The clocks of one node.
#[derive(Debug)]
pub(crate) struct NodeClock {
    library: PathBuf,
    /// How far the wall clock is off; libfaketime reads it once a second.
    file: PathBuf,
    /// How fast the clocks of the next process run, in percent.
    rate_percent: u32,
}

impl NodeClock {
    /// A right clock, whose file lies in `room`.
    ///
    /// # Errors
    /// If libfaketime is missing.
    pub(crate) fn make(room: &Path, name: &str) -> Result<Self, Trouble> {
        let file = room.join(format!("{name}.clock"));
        let clock = Self { library: library()?, file, rate_percent: 100 };
        clock.jump(0)?;
        Ok(clock)
    }

    /// Sets how many seconds the wall clock is off.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn jump(&self, seconds: i64) -> Result<(), Trouble> {
        std::fs::write(&self.file, format!("{seconds:+}s\n")).map_err(at("write", &self.file))
    }

    /// Clocks of the next process run so fast.
    pub(crate) fn set_rate(&mut self, percent: u32) {
        self.rate_percent = percent;
    }

    /// What to put before a command, for `env`.
    pub(crate) fn environment(&self) -> Vec<String> {
        let mut variables = vec![format!("LD_PRELOAD={}", self.library.display())];
        if self.rate_percent == 100 {
            variables.push(format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display()));
            variables.push("FAKETIME_CACHE_DURATION=1".to_owned());
            variables.push("FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned());
        } else {
            let (whole, rest) = (self.rate_percent / 100, self.rate_percent % 100);
            variables.push(format!("FAKETIME=+0 x{whole}.{rest:02}"));
        }
        variables
    }
}

/// libfaketime keeps shared memory named for its process, which a killed process leaves behind.
pub(crate) fn forget(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        // There is none if the process ended by itself.
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
    }
}

/// Where Debian and others put the library.
fn library() -> Result<PathBuf, Trouble> {
    const NAME: &str = "faketime/libfaketimeMT.so.1";
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let triples = std::fs::read_dir("/usr/lib").into_iter().flatten();
    let triples = triples.filter_map(|entry| Some(entry.ok()?.path()));
    let missing = DiskError::Missing { program: "libfaketimeMT.so.1", package: "faketime" };
    let mut found = folders.into_iter().chain(triples).map(|folder| folder.join(NAME));
    Ok(found.find(|path| path.is_file()).ok_or(missing)?)
}
