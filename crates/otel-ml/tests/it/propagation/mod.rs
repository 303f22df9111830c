mod carries;
mod extract;
mod foreign;
mod inject;
mod properties;
mod through_spans;
mod vectors;
