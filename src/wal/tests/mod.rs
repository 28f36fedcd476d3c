//! The log as a whole: what is written is found again, whatever happens in between.

mod damage;
mod disk;
mod format;
mod inspect;
mod model;
mod scenario;
mod transcript;
