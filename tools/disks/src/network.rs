//! A loopback of its own: the same addresses once more, for other processes.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{DiskError, at, programs};

/// A network namespace with a loopback; gone when dropped and left by all.
#[derive(Debug)]
pub struct Network {
    name: String,
}

impl Network {
    /// Makes one of this name, which no other has.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn create(name: &str) -> Result<Self, DiskError> {
        programs::run("ip", &["netns", "add", name])?;
        let network = Self { name: name.to_owned() };
        programs::run("ip", &["-n", name, "link", "set", "lo", "up"])?;
        Ok(network)
    }

    /// What it is called, for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the kernel shows it.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// From now on the calling thread is in it, with what it connects and the processes it starts.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn enter(&self) -> Result<(), DiskError> {
        let path = self.path();
        let namespace = File::open(&path).map_err(at("open", &path))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| at("enter", &path)(error.into()))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = programs::run("ip", &["netns", "delete", &self.name]) {
            eprintln!("the network {} stays: {error}", self.name);
        }
    }
}
