//! Element types: between files, memory and GPU buffers.

use half::{bf16, f16};
use onesum::softmax;

use crate::tensor;

/// The library's name for a file's element type.
pub fn dtype(file: tensor::Dtype) -> softmax::Dtype {
    match file {
        tensor::Dtype::F32 => softmax::Dtype::F32,
        tensor::Dtype::F16 => softmax::Dtype::F16,
        tensor::Dtype::Bf16 => softmax::Dtype::Bf16,
    }
}

/// The bytes of `values` in a GPU buffer.
pub fn encode(values: &[f32], dtype: softmax::Dtype) -> Vec<u8> {
    match dtype {
        softmax::Dtype::F32 => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        softmax::Dtype::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_ne_bytes()).collect(),
        softmax::Dtype::Bf16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_ne_bytes()).collect(),
    }
}

/// Appends the values in the bytes of a GPU buffer.
pub fn decode_into(bytes: &[u8], dtype: softmax::Dtype, values: &mut Vec<f32>) {
    match dtype {
        softmax::Dtype::F32 => values.extend(pieces(bytes).map(f32::from_ne_bytes)),
        softmax::Dtype::F16 => values.extend(pieces(bytes).map(|b| f16::from_ne_bytes(b).to_f32())),
        softmax::Dtype::Bf16 => values.extend(pieces(bytes).map(|b| bf16::from_ne_bytes(b).to_f32())),
    }
}

fn pieces<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}
