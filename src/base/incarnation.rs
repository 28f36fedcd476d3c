//! Which disk a node has: 16 hexadecimal digits wherever people or programs read it.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One formatting of a data directory: a wiped node is a new incarnation of its identity. Never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// What is not an incarnation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no incarnation: 16 hexadecimal digits, as `sunstar ctl status` shows them")]
pub struct NotAnIncarnation(String);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Incarnation {
    type Err = NotAnIncarnation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|&number| digits && number > 0);
        number.map(Self).ok_or_else(|| NotAnIncarnation(text.to_owned()))
    }
}

impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for incarnation in [Incarnation(1), Incarnation(0x00c0_ffee), Incarnation(u64::MAX)] {
            assert_eq!(incarnation.to_string().parse(), Ok(incarnation));
            let json = serde_json::to_string(&incarnation).expect("a string");
            assert_eq!(json, format!("\"{incarnation}\""));
            assert_eq!(serde_json::from_str::<Incarnation>(&json).ok(), Some(incarnation));
        }
        for bad in ["", "1", "00000000000000000", "+000000000000001", "0000000000000000"] {
            assert!(bad.parse::<Incarnation>().is_err(), "{bad}");
        }
    }
}
