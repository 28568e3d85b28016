//! The CPU reference: f64, textbook order, no code, constant or algorithm in common with the shaders. What must be the
//! same to the bit, the random stream and what is drawn by it, is `f32` like the shaders.

pub mod expert_choice;
mod gumbel;
pub mod permute;
pub mod plan;
pub mod router;
mod sample;
mod softmax;
pub mod stats;

pub use gumbel::{concrete_log_density, exp_concrete_log_density, gumbel, gumbel_log_density, one_hot, perturbed};
pub use sample::{block_choice, choice, choices};
pub use softmax::{Partial, Problem, Row, Shared};
