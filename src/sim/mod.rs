//! A whole cluster in one thread, in virtual time, whose faults one seed decides.

pub mod disk;
