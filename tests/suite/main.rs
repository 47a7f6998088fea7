//! Tests of the exporter from outside its modules, in one binary: simulations in virtual time, and the program itself.

mod support;

mod decode;
mod engine;
mod journal;
mod laws;
mod simulation;
