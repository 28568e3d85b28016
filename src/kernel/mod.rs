//! One module a kernel: specification, variants, parameters, bind.

pub mod copy;
pub(crate) mod place;
pub mod sample;
pub mod softmax;
