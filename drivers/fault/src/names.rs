//! Enumerations whose values are spelled as elsewhere in Steadfast or in C, not in kebab-case.

use steadfast_driver::{Errno, ParamType, ParamValue};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident: $first:ident = $first_text:literal, $($item:ident = $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // the names say all
        pub enum $name { $first, $($item,)* }

        impl $name {
            /// As users write it.
            pub fn name(self) -> &'static str {
                match self { $name::$first => $first_text, $($name::$item => $text,)* }
            }
        }

        impl ParamType for $name {
            const KIND: &'static str = "enum";
            const CHOICES: &'static str = concat!($first_text, $(",", $text),*);
            fn from_value(value: ParamValue<'_>) -> Option<Self> {
                const ALL: &[$name] = &[$name::$first, $($name::$item,)*];
                match value {
                    ParamValue::Choice(index) => ALL.get(index as usize).copied(),
                    _ => None,
                }
            }
        }
    };
}

names! {
    /// An entry point of a driver, or none.
    Entry: None = "none",
    Prepare = "prepare",
    Connect = "connect",
    QueueStart = "queue_start",
    QueueRun = "queue_run",
    Adopt = "adopt",
    Submit = "submit",
    Commit = "commit",
    Event = "event",
    Timer = "timer",
    Disconnect = "disconnect",
    Reconnect = "reconnect",
    HandBack = "hand_back",
    SaveState = "save_state",
    Release = "release",
    ParamChanged = "param_changed",
}

names! {
    /// A Linux error number.
    ErrorNumber: Eio = "EIO",
    Enospc = "ENOSPC",
    Erofs = "EROFS",
    Etimedout = "ETIMEDOUT",
    Eperm = "EPERM",
    Eagain = "EAGAIN",
    Enomem = "ENOMEM",
    Ebusy = "EBUSY",
    Enodev = "ENODEV",
    Einval = "EINVAL",
    Eopnotsupp = "EOPNOTSUPP",
    Enodata = "ENODATA",
}

impl From<ErrorNumber> for Errno {
    fn from(name: ErrorNumber) -> Errno {
        match name {
            ErrorNumber::Eio => Errno::IO,
            ErrorNumber::Enospc => Errno::NOSPC,
            ErrorNumber::Erofs => Errno::ROFS,
            ErrorNumber::Etimedout => Errno(110),
            ErrorNumber::Eperm => Errno::PERM,
            ErrorNumber::Eagain => Errno::AGAIN,
            ErrorNumber::Enomem => Errno::NOMEM,
            ErrorNumber::Ebusy => Errno::BUSY,
            ErrorNumber::Enodev => Errno::NODEV,
            ErrorNumber::Einval => Errno::INVAL,
            ErrorNumber::Eopnotsupp => Errno::OPNOTSUPP,
            ErrorNumber::Enodata => Errno(61),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_found_by_its_place_in_the_list() {
        for (index, text) in ErrorNumber::CHOICES.split(',').enumerate() {
            let value = ErrorNumber::from_value(ParamValue::Choice(index as u32)).expect("in the list");
            assert_eq!(value.name(), text);
        }
        assert_eq!(Entry::from_value(ParamValue::Choice(0)), Some(Entry::None));
        assert_eq!(Entry::from_value(ParamValue::Choice(99)), None);
    }
}
