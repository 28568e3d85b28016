//! The CPU reference: f64, textbook order, no code, constant or algorithm in common with the shaders.

mod softmax;

pub use softmax::{Partial, Problem, Row, Shared};
