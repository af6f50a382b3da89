//! NBD frontend: devices over the Network Block Device protocol.
