//! Softmax as WGSL compute kernels for `wgpu`, exact to 4 ULP, checked against a CPU reference.
//! (draft)
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod accuracy;
mod bound;
mod caps;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
#[cfg(feature = "host")]
pub mod host;
mod kernel;
mod library;
mod matrix;
pub mod reference;
pub mod shader;

pub use bound::Bound;
pub use caps::Caps;
pub use error::{BindError, BuildError};
pub use kernel::{copy, softmax};
pub use library::Library;
pub use matrix::Matrix;
