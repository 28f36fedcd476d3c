//! What fuzzing found.

mod found;
