//! Tests of the simulated Everruns through its public surface, in virtual time.
