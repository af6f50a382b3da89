//! The cases, in the order in which they run.

mod faults;
mod frontend;
mod requests;
mod swaps;

use crate::Verdict;
use crate::rig::Rig;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&Rig) -> Verdict,
}

/// All of them.
pub(crate) const ALL: &[Case] = &[
    Case {
        name: "attach",
        what: "It announces a device that is possible, with no feature that its manifest does not name.",
        run: requests::attach,
    },
    Case {
        name: "read-write",
        what: "What is written is read again: random requests, one at a time, against a model.",
        run: requests::read_write,
    },
    Case {
        name: "edges",
        what: "The first and the last block, single blocks and the largest request work.",
        run: requests::edges,
    },
    Case {
        name: "bounds",
        what: "A request that reaches past the end of the device fails and harms nothing.",
        run: requests::bounds,
    },
    Case {
        name: "unknown",
        what: "Requests that it does not know or does not offer are answered.",
        run: requests::unknown,
    },
    Case { name: "flush", what: "Flush and forced writes succeed if offered.", run: requests::flush },
    Case {
        name: "write-zeroes",
        what: "A zeroed range reads as zeroes, its neighbours stay; also large, and only if it is fast.",
        run: requests::write_zeroes,
    },
    Case { name: "trim", what: "A trimmed range's neighbours stay.", run: requests::trim },
    Case {
        name: "status",
        what: "Extents follow one another without gaps, and what they call zero reads as zeroes.",
        run: requests::status,
    },
    Case {
        name: "depth",
        what: "Many requests at a time, more than there are slots, are answered exactly once each.",
        run: requests::depth,
    },
    Case {
        name: "frontend",
        what: "Through NBD, every command works at every size, or is refused where it is not offered.",
        run: frontend::commands,
    },
    Case {
        name: "detach",
        what: "It can be detached and attached again, and leaves memory.",
        run: swaps::detach,
    },
    Case {
        name: "contents",
        what: "Contents and state survive that it is replaced by itself.",
        run: swaps::contents,
    },
    Case {
        name: "swap-drain",
        what: "It is replaced by itself under load, draining: no error, and the old one leaves memory.",
        run: swaps::drain,
    },
    Case {
        name: "swap-adopt",
        what: "It is replaced by itself under load, adopting what is in flight: no error.",
        run: swaps::adopt,
    },
    Case {
        name: "failed-prepare",
        what: "A replacement that fails to prepare changes nothing.",
        run: faults::prepare,
    },
    Case {
        name: "failed-connect",
        what: "After a replacement that fails to connect it takes its port back, under load.",
        run: faults::connect,
    },
    Case {
        name: "releases",
        what: "It takes over from another release and gives back to it, under load, where both can.",
        run: swaps::releases,
    },
];
