#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(any(feature = "otlp-grpc", feature = "otlp-http")),
    allow(
        dead_code,
        clippy::needless_pass_by_ref_mut,
        reason = "what only OTLP needs is not worth a cfg at every line"
    )
)]

mod builder;
mod checks;
mod choices;
mod counted;
mod ending;
mod error;
mod exporting;
mod guard;
mod otlp;
mod providers;
mod resource;
mod say;
mod tally;
mod told;
mod variables;

pub mod file;
#[cfg(any(feature = "tracing", feature = "log"))]
pub mod log;

pub use otel_ml;

pub use builder::{Batch, Builder, Destination};
pub use error::{ErrorKind, InitError};
pub use guard::{Guard, Report};
pub use otlp::{Compression, Otlp, Protocol};
pub use tally::Exported;

/// Sets all up as the `OTEL_*` variables say: [`builder`] without settings.
///
/// # Errors
/// When a variable won't do: the message names it, and what is wanted.
pub fn init() -> Result<Guard, InitError> {
    builder().init()
}

/// Settings of the set-up.
pub fn builder() -> Builder {
    Builder::new()
}
