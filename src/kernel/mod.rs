//! One module a kernel: specification, variants, parameters, bind.

pub mod copy;
pub mod expert_choice;
pub mod gumbel;
pub mod permute;
pub(crate) mod place;
pub mod plan;
pub mod router;
pub mod sample;
pub mod softmax;
pub mod stats;
