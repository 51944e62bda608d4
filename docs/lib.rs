//! The book lives in `src/`; this package exists for the tests that keep it true.
