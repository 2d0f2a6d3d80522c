//! The data channel of one call, both sides (spec/qrexec-wire.md, section 7).
//!
//! [`call`] and [`serve`] are the drivers.

mod error;
mod options;

pub use error::DataError;
pub use options::{CallEnd, CallReport, HelloOrder, Options, Service};

use std::os::fd::OwnedFd;
use vchan::Vchan;

/// The caller's side: relays between local descriptors and the vchan until the call has ended.
///
/// `input` is sent to the service (`None`: the service sees an empty input), its output goes to `output`, its errors
/// to `errors`. Each descriptor is closed as soon as its stream has ended; input and output may be one socket, given twice.
///
/// # Errors
/// When the protocol was violated or HELLO failed. A vchan that closes early is no error but [`CallEnd::Lost`].
pub fn call(
    vchan: Vchan,
    input: Option<OwnedFd>,
    output: OwnedFd,
    errors: OwnedFd,
    options: &Options,
) -> Result<CallReport, DataError> {
    let _ = (&vchan, &input, &output, &errors, options);
    Err(DataError::Lost { step: "to be written" })
}

/// The service's side: relays between the vchan and a started service, waits for its process, sends its exit code last
/// and returns it.
///
/// # Errors
/// When the protocol was violated, HELLO failed, or the caller went away before the exit code could be sent. In all
/// cases the service's descriptors are closed and its process has been waited for.
pub fn serve(vchan: Vchan, service: Service, options: &Options) -> Result<i32, DataError> {
    let _ = (&vchan, &service, options);
    Err(DataError::Lost { step: "to be written" })
}
