//! Fates: of a frame and of one command.

use crate::base::Index;
use crate::wire::generated::client as schema;

macro_rules! fate {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* } else $(#[$other_doc:meta])* $other:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            $(#[$other_doc])*
            $other(u8),
        }

        impl $name {
            /// As the wire has it.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self {
                    $(Self::$variant => schema::$name::$variant.0,)*
                    Self::$other(number) => number,
                }
            }

            /// From the wire.
            #[must_use]
            pub const fn from_number(number: u8) -> Self {
                match schema::$name(number) {
                    $(schema::$name::$variant => Self::$variant,)*
                    _ => Self::$other(number),
                }
            }
        }
    };
}

fate! {
    /// The fate of a whole frame. All but `Ok`, `Unknown` and `Other` mean: did not and will not happen.
    Outcome {
        /// Each command has an answer of its own.
        Ok,
        /// This node does not lead the group; the reply's `leader` does, if it is not zero.
        NotLeader,
        /// This node holds no replica of the group.
        WrongGroup,
        /// The session is not, or no longer, open in the group.
        SessionExpired,
        /// A bounded queue is full; try again later.
        Overloaded,
        /// The frame could not be read; the reply's `detail` says why.
        Malformed,
        /// Another leader's entry took the place of this one.
        Superseded,
        /// The group holds as many sessions as it may.
        SessionsFull,
        /// The leader holds as much as it may; reads and frames of nothing but deletes and
        /// compares go on.
        MemoryFull,
        /// May or may not have happened.
        Unknown,
        /// The leader's disk is full; reads go on.
        DiskFull,
    } else
    /// From a newer server: may or may not have happened.
    Other
}

fate! {
    /// The fate of one command of an `Ok` frame.
    Status {
        /// Done.
        Ok,
        /// Get, Delete: the key is absent.
        NotFound,
        /// `Compare`, `CompareAndSet`: the key holds something else; nothing was written.
        CompareFailed,
        /// The key's slot belongs to another group; nothing was done.
        WrongSlot,
        /// Increment: the value is not a decimal 64-bit integer.
        NotANumber,
        /// Increment: the sum leaves the 64-bit range.
        Overflow,
        /// The value would exceed the limit.
        ValueTooLarge,
        /// The sequence lies below `lowest_awaited`: its result was given and forgotten.
        Forgotten,
        /// The sequence lies too far above `lowest_awaited`.
        WindowExceeded,
        /// A command of this kind is not known here.
        UnknownCommand,
        /// Get: it was read, but the values before it filled the reply; ask again.
        ReplyFull,
        /// Another command of its atomic batch failed; nothing was done.
        Aborted,
    } else
    /// From a newer server.
    Other
}

/// One command's result but for the value read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What became of the command.
    pub status: Status,
    /// Append: the new length. Increment: the new value. Delete: 1 if it existed. Otherwise 0.
    pub number: i64,
    /// A write's entry, of its first execution; a read's applied index.
    pub index: Index,
    /// The command's place within that entry, from 0.
    pub position: u32,
}

impl Answer {
    pub(super) fn to_schema(self, value_length: usize) -> schema::Answer {
        let value_length = u32::try_from(value_length).expect("a value is at most a megabyte");
        let (status, index) = (self.status.number(), self.index.0);
        schema::Answer::new(self.number, index, self.position, value_length, status, &[0; 7])
    }

    pub(super) fn from_schema(answer: &schema::Answer) -> Self {
        Self {
            status: Status::from_number(answer.status()),
            number: answer.number(),
            index: Index(answer.index()),
            position: answer.position(),
        }
    }
}
