//! The core decides. A pure function of state: `step(now, input) -> effects`.

mod effect;

pub use effect::{Effect, Effects, Input, LogReader};
