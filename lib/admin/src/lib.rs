//! The Admin API of qubesd (spec/admin-api.md): how its bytes look, and a client for it.
//!
//! [`protocol`] is pure and knows both directions, so that the client here and the server of the embedded host cannot
//! disagree. [`Client`] asks one question per connection; [`EventStream`] follows what happens.
#![forbid(unsafe_code)]

mod asked;
mod class;
mod client;
mod error;
mod events;
mod listing;
mod properties;
pub mod protocol;

pub use asked::Asked;
pub use class::ErrorClass;
pub use client::Client;
pub use error::AdminError;
pub use events::EventStream;
pub use listing::{PowerState, QubeClass, QubeLine};
pub use properties::{Property, PropertyType};
