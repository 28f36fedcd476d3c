//! The `sunstar` binary.

fn main() {}
