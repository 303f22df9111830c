//! Facts written by running code.

mod content;
mod reach;
mod setters;
mod written_once;
