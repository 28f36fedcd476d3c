//! Lists the targets; with a folder, also writes their valid inputs to `<folder>/<target>/seed-<n>`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    for (target, inputs) in sunstar_fuzz::seeds() {
        println!("{target}");
        let Some(folder) = &folder else { continue };
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        for (number, input) in inputs.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), input)?;
        }
    }
    Ok(())
}
