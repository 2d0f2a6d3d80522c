//! The bytes of the Admin API, both directions (spec/admin-api.md, sections 2, 3 and 6). Pure.

mod event;
mod request;
mod response;

pub use event::{Event, EventDecoder, EventError, MAX_EVENT};
pub use request::{MAX_REQUEST, Request, RequestError, encode_request};
pub use response::{MAX_RESPONSE, Response, ResponseError, encode_error, encode_ok};
