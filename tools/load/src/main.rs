//! `sunstar-load`: drives a Sunstar cluster and reports latencies.

fn main() {}
