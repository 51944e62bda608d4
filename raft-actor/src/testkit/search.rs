//! Placeholder for the search.
