//! Softmax, sampling and MoE routing as WGSL compute kernels for `wgpu`: softmax within 4 ULP of the exact result for any finite
//! row, tokens drawn and experts chosen the same on every device, all checked against a CPU reference.
//!
//! The caller owns device, queue, buffers, encoder and pass; outside of [`host`](crate#cargo-features) this crate never submits, polls, maps or waits.
//!
//! ```
//! use onesum::softmax::{Shape, Spec};
//! use onesum::{Library, Matrix};
//!
//! // Any device will do; this one computes nothing, so that the example runs everywhere (with wgpu's feature `noop`).
//! let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
//! # let buffer = || device.create_buffer(&wgpu::BufferDescriptor {
//! #     label: None, size: 4 * 32 * 1000, usage: wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
//! # let (logits, probabilities) = (buffer(), buffer());
//! let library = Library::new(&device)?; // once per device
//! let softmax = library.softmax(&Spec::new(Shape::new(32, 1000)))?; // picks a variant, compiles it once
//! let step = softmax.bind(Matrix::new(&logits, 32, 1000), Matrix::new(&probabilities, 32, 1000))?;
//!
//! let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
//! {
//!     let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
//!     step.record(&mut pass); // the caller's pass; cannot fail
//! }
//! queue.submit([encoder.finish()]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`softmax`] | specification, variants, operands, shards of rows |
//! | [`gumbel`] | relaxed and straight-through samples, the noise added to the logits |
//! | [`sample`] | one column per row, drawn from logits |
//! | [`router`] | MoE routing: experts and weights of each token |
//! | [`plan`] | the permutation that grouped matrix products need, capacity, drops |
//! | [`permute`] | hidden states into expert order, and their weighted sums back |
//! | [`expert_choice`] | each expert takes its best tokens |
//! | [`stats`] | load statistics of a routed batch, mergeable |
//! | [`noise`] | the random stream, on the CPU |
//! | [`exact`] | exponentials and the like of the same bits on every device |
//! | [`mod@reference`] | the same on the CPU, in f64 and textbook order |
//! | [`accuracy`] | how far from the reference a result may be, and why |
//! | [`shader`] | fragments of WGSL and how they are linked |
//! | [`tuning`] | variants chosen by measurement |
//! | [`copy`] | the copy kernel that speeds are compared with |
//!
//! # Cargo features
//!
//! `host`: a blocking convenience for programs without an engine. `conformance`: the conformance suite. `tuning`: tunings as TOML.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod accuracy;
mod bound;
mod caps;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
pub mod exact;
#[cfg(feature = "host")]
pub mod host;
mod kernel;
mod library;
mod matrix;
pub mod noise;
pub mod reference;
pub mod shader;
pub mod tuning;

pub use bound::Bound;
pub use caps::Caps;
pub use error::{BindError, BuildError};
pub use kernel::{copy, expert_choice, gumbel, permute, plan, router, sample, softmax, stats};
pub use library::Library;
pub use matrix::Matrix;
