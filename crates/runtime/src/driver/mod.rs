//! Drivers as the shell sees them: one attached instance, the calls into it, and what it leaves behind.

pub(crate) mod adoption;
pub(crate) mod background_calls;
pub(crate) mod error_text;
pub(crate) mod instance;
pub(crate) mod pinned;
