//! One module a kernel: specification, variants, parameters, bind.

pub mod copy;
pub mod gumbel;
pub(crate) mod place;
pub mod sample;
pub mod softmax;
