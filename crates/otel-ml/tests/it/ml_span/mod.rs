//! Facts written by running code.

mod content;
mod reach;
mod setters;
mod used_again;
mod written_once;
