//! Exit codes with a meaning of their own (spec/qrexec-wire.md 1.3, 7.3, 7.4).

/// The service was allowed but does not exist where it should run.
pub const SERVICE_NOT_FOUND: i32 = 127;
/// The call was refused.
pub const REQUEST_REFUSED: i32 = 126;
/// Something inside qrexec failed.
pub const PROBLEM: i32 = 125;
/// What a caller reports when the data vchan closed and no exit code had come.
pub const LOST: i32 = 255;
/// Added to the number of the signal that killed a service's process.
pub const SIGNAL_BASE: i32 = 128;
