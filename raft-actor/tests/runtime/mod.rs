//! Every host passes the conformance suite, and keeps the promises that are its own.

mod hosts;
mod simulator;
mod your_own;
