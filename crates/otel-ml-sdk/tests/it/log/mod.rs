//! Log lines and log records beside the spans they belong to.

#[cfg(feature = "tracing")]
mod beside;
#[cfg(feature = "tracing")]
mod correlation;
#[cfg(feature = "tracing")]
mod events;
mod install;
#[cfg(feature = "log")]
mod logger;
mod support;
