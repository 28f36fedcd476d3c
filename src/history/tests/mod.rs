//! Histories known to be right and known to be wrong.

mod agreement;
mod notation;
mod verdicts;
