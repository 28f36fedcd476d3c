//! The bodies of the fuzz targets, for the binaries beside them.

mod bodies;

/// Does to `input` what the target called `name` does.
pub fn run(name: &str, input: &[u8]) {
    let target = bodies::TARGETS.iter().find(|target| target.name == name);
    (target.expect("a binary per target").body)(input);
}

/// Every target's name and valid inputs.
pub fn seeds() -> impl Iterator<Item = (&'static str, Vec<Vec<u8>>)> {
    bodies::TARGETS.iter().map(|target| (target.name, (target.seeds)()))
}
