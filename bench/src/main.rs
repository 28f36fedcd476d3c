//! `sunstar-bench`: side-by-side benchmarks.

fn main() {}
