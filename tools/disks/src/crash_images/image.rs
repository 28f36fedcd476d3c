//! The image of a disk, made again and again: a sparse file, of which only what differs is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::write_log::SECTOR;

/// What a sector holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sector {
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Makes `image` the same as `original`, reading both but writing only what differs: what a node and
/// the file system wrote to it, and what `original` gained since.
///
/// # Errors
/// If a file cannot be read or written.
pub(crate) fn restore(image: &File, original: &File) -> io::Result<()> {
    let length = original.metadata()?.len();
    let (mut ours, mut wanted) = (vec![0; PIECE], vec![0; PIECE]);
    for piece in used_pieces(&[image, original], length)? {
        let at = piece * PIECE as u64;
        let size = usize::try_from(length - at).map_or(PIECE, |rest| rest.min(PIECE));
        image.read_exact_at(&mut ours[..size], at)?;
        original.read_exact_at(&mut wanted[..size], at)?;
        let blocks = ours[..size].chunks(BLOCK).zip(wanted[..size].chunks(BLOCK));
        for (offset, (ours, wanted)) in (at..).step_by(BLOCK).zip(blocks) {
            if ours != wanted {
                image.write_all_at(wanted, offset)?;
            }
        }
    }
    Ok(())
}

/// The pieces of which any of the files holds more than a hole, ascending.
fn used_pieces(files: &[&File], length: u64) -> io::Result<Vec<u64>> {
    let mut used = vec![false; usize::try_from(length.div_ceil(PIECE as u64)).expect("few pieces")];
    for file in files {
        let mut at = 0;
        while let Some((start, end)) = next_data(file, at)? {
            let pieces = start / PIECE as u64..end.div_ceil(PIECE as u64);
            for piece in pieces {
                used[usize::try_from(piece).expect("few pieces")] = true;
            }
            at = end;
        }
    }
    Ok((0..).zip(used).filter_map(|(piece, used)| used.then_some(piece)).collect())
}

/// The next range of a sparse file that is no hole.
fn next_data(file: &File, from: u64) -> io::Result<Option<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    let start = match seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some((start, seek(file, SeekFrom::Hole(start))?)))
}

/// Writes `data`; where it is all zeros, a hole takes no room and is quickly compared.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write(file: &File, data: &[u8], offset: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    if data.iter().any(|byte| *byte != 0) {
        return file.write_all_at(data, offset);
    }
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, hole, offset, data.len() as u64)?)
}

/// Writes sectors where they belong.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write_sectors(image: &File, sectors: &[Sector]) -> io::Result<()> {
    let offset = |sector: &Sector| sector.number * SECTOR as u64;
    sectors.iter().try_for_each(|sector| image.write_all_at(&sector.bytes, offset(sector)))
}

/// Opens a file for reading and writing.
///
/// # Errors
/// If the system refuses.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// Bytes looked at at a time.
const PIECE: usize = 1 << 20;
const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_restored_wherever_it_differs() {
        let files: [File; 2] = std::array::from_fn(|_| tempfile::tempfile().expect("a file"));
        let [image, original] = &files;
        for file in &files {
            file.set_len(3 * PIECE as u64 + 512).expect("sparse");
        }
        image.write_all_at(&[1; 5000], 100).expect("room");
        original.write_all_at(&[2; 5000], 2 * PIECE as u64 + 700).expect("room");
        original.write_all_at(&[3; 512], 3 * PIECE as u64).expect("room");
        restore(image, original).expect("files");
        let contents = files.each_ref().map(|file| {
            let mut content = vec![0; 3 * PIECE + 512];
            file.read_exact_at(&mut content, 0).expect("there");
            content
        });
        assert!(contents[0] == contents[1]);
    }
}
