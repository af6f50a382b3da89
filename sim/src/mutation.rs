//! Faults put into the simulator's own runtime.

/// A fault put into the simulator's own runtime, to show that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Held requests are not released.
    ForgetHeld,
    /// A completion is delivered twice.
    CompleteTwice,
    /// The device says that it flushed, and did not.
    SkipFlush,
    /// A driver forgets the flush after a write with FUA.
    ForgetFua,
    /// Completions go to a driver while the port is held.
    DeliverWhileHeld,
    /// A completion that waits for the next driver is lost.
    LoseDeferred,
    /// Private bytes are not restored when a candidate that converted them fails.
    KeepConverted,
    /// The generation grows when an update goes back, too.
    CountFailures,
    /// The old driver is not connected again after a failure.
    ForgetReconnect,
    /// A failed candidate is not disconnected.
    ForgetDisconnect,
    /// A request that was handed back is lost.
    LoseHandedBack,
    /// A driver that does not serve is let go before the queues have let go of it.
    ReleaseEarly,
    /// State is not handed on.
    LoseState,
    /// A queue takes the new driver whatever the verdict is.
    IgnoreVerdict,
    /// Nobody wakes the other queues when the verdict is there.
    ForgetWake,
    /// A second update is let in.
    LetSecondIn,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 16] = [
        Mutation::ForgetHeld,
        Mutation::CompleteTwice,
        Mutation::SkipFlush,
        Mutation::ForgetFua,
        Mutation::DeliverWhileHeld,
        Mutation::LoseDeferred,
        Mutation::KeepConverted,
        Mutation::CountFailures,
        Mutation::ForgetReconnect,
        Mutation::ForgetDisconnect,
        Mutation::LoseHandedBack,
        Mutation::ReleaseEarly,
        Mutation::LoseState,
        Mutation::IgnoreVerdict,
        Mutation::ForgetWake,
        Mutation::LetSecondIn,
    ];
}
