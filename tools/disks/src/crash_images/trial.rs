//! One power failure after another: the disk as it may be found, the nodes on it, and what they say.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use sunstar::client::blocking::Client;
use sunstar::client::{Command, Options};
use sunstar_disks::create_image;
use sunstar_disks::filesystem::Mounted;
use sunstar_disks::loop_device::LoopDevice;

use super::crash_points::CrashPoint;
use super::image;
use super::power_loss::{Aftermath, Damage, PoweredDisk};
use super::recording::{IMAGE_BYTES, Recording, Serving};
use super::verdict::Expected;
use crate::support::Cluster;

/// Everything that power failures are made of. The moments must come in their order.
pub(crate) struct Trials<'a> {
    recording: &'a Recording,
    disk: PoweredDisk<'a>,
    image: File,
    image_path: PathBuf,
    mounted: PathBuf,
    /// None of its nodes runs between two trials.
    cluster: Cluster,
    rng: Rng,
}

/// What came of one.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) damage: Damage,
    /// Acknowledged writes that were looked for.
    pub(crate) acknowledged: usize,
    /// What is wrong, if anything is.
    pub(crate) complaint: Option<String>,
}

impl<'a> Trials<'a> {
    /// `formatted`: the disk before anything happened to it; `directory` for the images; where they
    /// are mounted.
    ///
    /// # Errors
    /// If the images cannot be made.
    pub(crate) fn new(
        recording: &'a Recording,
        (formatted, directory, mounted): (&Path, &Path, &Path),
        cluster: Cluster,
        rng: Rng,
    ) -> Result<Self, Box<dyn Error>> {
        let create = |name| -> Result<_, Box<dyn Error>> {
            let path = directory.join(name);
            create_image(&path, IMAGE_BYTES)?;
            Ok((image::open(&path)?, path))
        };
        let (certain, _) = create("certain")?;
        image::restore(&certain, &image::open(formatted)?)?;
        let disk = PoweredDisk::new(&recording.write_log, certain);
        let ((image, image_path), mounted) = (create("image")?, mounted.to_owned());
        Ok(Self { recording, disk, image, image_path, mounted, cluster, rng })
    }

    /// Lets the power fail, starts the nodes on what the disk holds, and looks for what was promised.
    ///
    /// # Errors
    /// If the disk cannot be made or mounted.
    ///
    /// # Panics
    /// If a node does not start or the cluster does not serve.
    pub(crate) fn perform(&mut self, point: &CrashPoint) -> Result<Found, Box<dyn Error>> {
        let Aftermath { arrived, damage } =
            self.disk.crash(point.happened, point.fate, &mut self.rng)?;
        image::restore(&self.image, self.disk.certain())?;
        image::write_sectors(&self.image, &arrived)?;
        let device = LoopDevice::attach(&self.image_path)?;
        device.read_ahead(READ_AHEAD_KIB)?;
        let disk = Mounted::mount(device, &self.mounted)?;
        let serving = Serving { cluster: &mut self.cluster };
        serving.cluster.start_all();
        let mark = self.recording.write_log.entries()[point.promised - 1].end;
        let looked = look(serving.cluster, &self.recording.expected, mark);
        drop(serving);
        drop(disk.unmount()?);
        let (acknowledged, complaint) = match looked {
            Ok(acknowledged) => (acknowledged, None),
            Err(complaint) => (0, Some(complaint)),
        };
        Ok(Found { damage, acknowledged, complaint })
    }
}

/// Looks for everything acknowledged until `mark`, and returns how much that was.
///
/// # Errors
/// The first complaint.
fn look(cluster: &Cluster, expected: &Expected, mark: u64) -> Result<usize, String> {
    let mut connection =
        Client::connect(&cluster.targets(), Options::default()).expect("a cluster that serves");
    let keys: Vec<_> = expected.until(mark).collect();
    let asked: Vec<_> = keys
        .iter()
        .map(|(key, _)| {
            connection.submit(Command::Get { key: key.as_bytes() }).expect("a small key")
        })
        .collect();
    let mut found = 0;
    for (ticket, (key, acknowledged)) in asked.into_iter().zip(&keys) {
        let value = connection.wait(ticket).expect("a read").into_value().value;
        expected.check(key, value.as_deref(), acknowledged)?;
        found += acknowledged.len();
    }
    drop(connection);
    cluster.assert_replicas_agree();
    Ok(found)
}

/// Nodes read their logs from end to end.
const READ_AHEAD_KIB: u32 = 4096;
