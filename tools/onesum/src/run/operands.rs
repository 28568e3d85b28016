//! The optional operands of `onesum run softmax`: files and numbers, broadcast to rows.

use std::path::Path;

use onesum::softmax::MaskType;

use super::{SoftmaxArgs, named};
use crate::broadcast::{Shared, entries};
use crate::failure::Failure;
use crate::job::Job;
use crate::tensor::{Dtype, Tensor, move_axis_last, read_words};

/// Reads the operands that the command line names into `job`. `moved` is the logits' shape with `axis` last.
pub fn read(args: &SoftmaxArgs, axis: usize, moved: &[usize], job: &mut Job) -> Result<(), Failure> {
    let dims = &moved[..moved.len().saturating_sub(1)];
    if let Some(path) = &args.mask {
        job.mask = Some(mask(path, axis, moved)?);
    }
    if let Some(text) = &args.temperature {
        job.temperature = Some(temperature(text, dims, f32::INFINITY)?);
    }
    if let Some(path) = &args.alibi {
        job.slopes = Some(per_head(path, dims, "--alibi")?);
    }
    if let Some(path) = &args.sinks {
        job.sinks = Some(per_head(path, dims, "--sinks")?);
    }
    if let Some(text) = &args.lengths {
        job.lengths = Some(lengths(text, dims)?);
    }
    Ok(())
}

/// A number from 0 to `most`, or a file.
pub(super) fn temperature(text: &str, dims: &[usize], most: f32) -> Result<Shared<f32>, Failure> {
    match text.parse::<f32>() {
        // The kernels say what they do with it; whoever types it did not mean it.
        Ok(value) if !(0.0..=most).contains(&value) => {
            Err(Failure::usage(format!("--temperature {text}: expected 0 to {most:e}, or a file")))
        }
        Ok(value) => Ok(Shared::one(value, dims)),
        Err(_) => per_row(Path::new(text), dims, "--temperature"),
    }
}

/// The mask, broadcast to the logits as NumPy does, its entries as wide as a row.
pub(super) fn mask(path: &Path, axis: usize, moved: &[usize]) -> Result<(Shared<f32>, MaskType), Failure> {
    let tensor = Tensor::read(path, None)?;
    let (dims, cols) = super::rows_and_cols(moved);
    let rank = moved.len();
    let fail = || {
        let mut shape = moved.to_vec();
        let cols = shape.pop().unwrap_or(0);
        shape.insert(axis, cols);
        named(path, format!("a mask of shape {:?} does not broadcast to logits of shape {shape:?}", tensor.shape))
    };
    let missing = rank.checked_sub(tensor.shape.len()).ok_or_else(fail)?;
    let padded: Vec<usize> = std::iter::repeat_n(1, missing).chain(tensor.shape.iter().copied()).collect();
    let (mut values, shape) = move_axis_last(&tensor.data, &padded, axis);
    let (own_dims, width) = super::rows_and_cols(&shape);
    let entries = entries(own_dims, dims).ok_or_else(fail)?;
    if width != cols {
        if width != 1 {
            return Err(fail());
        }
        // One value for a whole row: the kernel wants one for each column.
        values = values.iter().flat_map(|&v| std::iter::repeat_n(v, cols)).collect();
    }
    let ty = if tensor.dtype == Dtype::F16 { MaskType::F16 } else { MaskType::F32 };
    Ok((Shared { values, width: cols, entries, dims: dims.to_vec() }, ty))
}

/// One bit a column: words of 32, the lowest bit first, broadcast to the rows.
pub(super) fn bits(path: &Path, dims: &[usize], cols: usize) -> Result<Shared<u32>, Failure> {
    let (shape, values) = read_words(path)?;
    let width = cols.div_ceil(32);
    let fail = || {
        let wanted = format!("rows {dims:?} of {width} words, 32 columns each");
        named(path, format!("--bits of shape {shape:?} does not broadcast to {wanted}"))
    };
    if shape.last() != Some(&width) {
        return Err(fail());
    }
    let entries = entries(&shape[..shape.len() - 1], dims).ok_or_else(fail)?;
    Ok(Shared { values, width, entries, dims: dims.to_vec() })
}

/// One value in all, or an array that broadcasts to the rows, with or without a last dimension of 1.
fn per_row(path: &Path, dims: &[usize], what: &str) -> Result<Shared<f32>, Failure> {
    let tensor = Tensor::read(path, None)?;
    broadcast(tensor.data, &tensor.shape, dims)
        .ok_or_else(|| named(path, format!("{what} of shape {:?} does not broadcast to rows {dims:?}", tensor.shape)))
}

fn broadcast<T: Copy>(values: Vec<T>, shape: &[usize], dims: &[usize]) -> Option<Shared<T>> {
    if let [value] = values[..] {
        return Some(Shared::one(value, dims));
    }
    let shape = match shape.split_last() {
        Some((1, front)) if shape.len() == dims.len() + 1 => front,
        _ => shape,
    };
    let entries = entries(shape, dims)?;
    Some(Shared { values, width: 1, entries, dims: dims.to_vec() })
}

/// One value per head, one in all, or an array that broadcasts to the rows.
fn per_head(path: &Path, dims: &[usize], what: &str) -> Result<Shared<f32>, Failure> {
    let tensor = Tensor::read(path, None)?;
    // Heads stand before queries.
    let heads = dims.len().checked_sub(2).map(|i| dims[i]);
    let shape = match (&tensor.shape[..], heads) {
        ([n], Some(heads)) if *n == heads => vec![*n, 1],
        (shape, _) => shape.to_vec(),
    };
    broadcast(tensor.data, &shape, dims).ok_or_else(|| {
        let heads = heads.map_or("no heads in logits of this rank".to_owned(), |h| format!("{h} heads"));
        named(path, format!("{what} of shape {:?} fits neither {heads} nor rows {dims:?}", tensor.shape))
    })
}

/// Lengths: numbers with commas, or a file of whole numbers.
pub(super) fn lengths(text: &str, dims: &[usize]) -> Result<Shared<u32>, Failure> {
    let listed: Result<Vec<u32>, _> = text.split(',').map(|n| n.trim().parse()).collect();
    let (values, shape) = match listed {
        Ok(values) => {
            let n = values.len();
            (values, vec![n])
        }
        Err(_) => length_file(Path::new(text))?,
    };
    let count = values.len();
    let rows: usize = dims.iter().product();
    let shape = match (&shape[..], dims.first()) {
        // One per row.
        ([n], _) if *n == rows => dims.to_vec(),
        // One per entry of the first dimension: the batch.
        ([n], Some(first)) if n == first => std::iter::once(*n).chain(std::iter::repeat_n(1, dims.len() - 1)).collect(),
        _ => shape,
    };
    broadcast(values, &shape, dims).ok_or_else(|| {
        Failure::error(format!(
            "--lengths: {count} lengths fit neither {rows} rows nor the first of the dimensions {dims:?}"
        ))
    })
}

fn length_file(path: &Path) -> Result<(Vec<u32>, Vec<usize>), Failure> {
    let tensor = Tensor::read(path, None)?;
    let whole = |&v: &f32| {
        // 2^24: beyond it, f32 does not hold every whole number.
        let fits = (0.0..=16_777_216.0).contains(&v) && v.fract() == 0.0;
        if fits { Ok(v as u32) } else { Err(named(path, format!("expected lengths, got {v}"))) }
    };
    let values = tensor.data.iter().map(whole).collect::<Result<_, _>>()?;
    Ok((values, tensor.shape))
}
