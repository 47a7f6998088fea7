//! What leaves the process: read-only renderings of the numbers, and the catalogue of everything that is shown.

pub mod catalog;
pub mod otlp;
pub mod prometheus;
pub mod reference;
mod told;
