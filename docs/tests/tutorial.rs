//! The programs of the tutorial: chapter by chapter, each a test that runs.

mod state_machine;
