//! The SDK that driver authors use: a safe trait over the driver ABI.
