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
    /// What a candidate has made of private bytes becomes the requests' own although it fails.
    KeepConverted,
    /// A candidate converts private bytes where they are, and not in copies: one that is late writes into others' requests.
    ConvertInPlace,
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
    /// A new set is in force before the driver has attached with it.
    CommitEarly,
    /// A re-initialisation that goes back leaves the new set.
    KeepNewSet,
    /// The new set does not become the port's own when the driver has attached with it.
    ForgetSet,
    /// Load-time properties that are not defined any more show through.
    KeepLoadTime,
    /// The new instance attaches with the values of the old one.
    OldValues,
    /// Management requests are not let in again after a failure.
    ForgetUnblock,
    /// Management requests are let in while the driver attaches anew.
    UnblockEarly,
    /// An activation does not wait for those that are changing the port.
    BlockNobody,
    /// A live change that came after the set was put together is overwritten.
    IgnoreLive,
    /// The wall clock, not the generation, says whether the port was initialised anew.
    TrustClock,
    /// The generation is not read again when the port is blocked.
    StaleStamp,
    /// An activation that was to be done only when idle does not look.
    IgnoreFlow,
    /// Another port's generation grows, too.
    WrongPort,
    /// The next piece of a request goes in its slot as if that were a new one.
    ForgetRenew,
    /// The same, and nobody is told that it was refused.
    SwallowRefusal,
    /// A call that was given up has its say when it returns.
    LateHasSay,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 33] = [
        Mutation::ForgetHeld,
        Mutation::CompleteTwice,
        Mutation::SkipFlush,
        Mutation::ForgetFua,
        Mutation::DeliverWhileHeld,
        Mutation::LoseDeferred,
        Mutation::KeepConverted,
        Mutation::ConvertInPlace,
        Mutation::CountFailures,
        Mutation::ForgetReconnect,
        Mutation::ForgetDisconnect,
        Mutation::LoseHandedBack,
        Mutation::ReleaseEarly,
        Mutation::LoseState,
        Mutation::IgnoreVerdict,
        Mutation::ForgetWake,
        Mutation::LetSecondIn,
        Mutation::CommitEarly,
        Mutation::KeepNewSet,
        Mutation::ForgetSet,
        Mutation::KeepLoadTime,
        Mutation::OldValues,
        Mutation::ForgetUnblock,
        Mutation::UnblockEarly,
        Mutation::BlockNobody,
        Mutation::IgnoreLive,
        Mutation::TrustClock,
        Mutation::StaleStamp,
        Mutation::IgnoreFlow,
        Mutation::WrongPort,
        Mutation::ForgetRenew,
        Mutation::SwallowRefusal,
        Mutation::LateHasSay,
    ];
}
