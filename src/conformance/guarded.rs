//! A window in a buffer of its own, with a pattern before, between and after its rows that nobody may touch.

use super::Failure;
use crate::Matrix;
use crate::host::{Gpu, HostError};

/// What lies around rows, and in outputs before they are written: as f32 a quiet NaN that no kernel makes.
const PATTERN: u8 = 0xa7;

/// Bytes after the last row.
const TAIL: usize = 36;

/// A window of rows of `element` bytes an element.
pub(super) struct Guarded {
    pub buffer: wgpu::Buffer,
    what: &'static str,
    rows: usize,
    cols: usize,
    element: usize,
    offset: usize,
    stride: usize,
    before: Vec<u8>,
}

impl Guarded {
    /// An input: `values` are the bytes of its rows, without gaps. `offset` and `gap` are elements before the first row and
    /// between rows.
    pub fn input(
        gpu: &Gpu,
        what: &'static str,
        values: &[u8],
        [rows, cols]: [u32; 2],
        [offset, gap]: [u32; 2],
    ) -> Result<Self, HostError> {
        let (rows, cols) = (rows as usize, cols as usize);
        let element = values.len().checked_div(rows * cols).unwrap_or(4);
        let (offset, stride) = (offset as usize, cols + gap as usize);
        let extent = if rows * cols == 0 { 0 } else { (rows - 1) * stride + cols };
        let mut before = vec![PATTERN; ((offset + extent) * element + TAIL).next_multiple_of(4)];
        for (row, bytes) in values.chunks(cols.max(1) * element).enumerate() {
            before[(offset + row * stride) * element..][..bytes.len()].copy_from_slice(bytes);
        }
        let buffer = gpu.upload(&before)?;
        gpu.describe(&buffer, what, Vec::new);
        Ok(Self { buffer, what, rows, cols, element, offset, stride, before })
    }

    /// An output: nothing but the pattern.
    pub fn output(
        gpu: &Gpu,
        what: &'static str,
        element: u32,
        shape: [u32; 2],
        place: [u32; 2],
    ) -> Result<Self, HostError> {
        let values = vec![PATTERN; shape[0] as usize * shape[1] as usize * element as usize];
        Self::input(gpu, what, &values, shape, place)
    }

    /// The window.
    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::new(&self.buffer, self.rows as u32, self.cols as u32)
            .at(self.offset as u64)
            .with_stride(self.stride as u32)
    }

    /// The byte of the buffer that a row begins at.
    pub fn at(&self, row: usize) -> u64 {
        ((self.offset + row * self.stride) * self.element) as u64
    }

    /// Puts the buffer back as it was made.
    pub fn reset(&self, gpu: &Gpu) {
        gpu.write(&self.buffer, 0, &self.before);
    }

    /// The bytes of the rows, without gaps, after looking at what lies around them.
    pub fn read(&self, gpu: &Gpu) -> Result<Result<Vec<u8>, Failure>, HostError> {
        let after = gpu.download(&self.buffer, self.before.len() as u64)?;
        let inside = |byte: usize| {
            let index = (byte / self.element).checked_sub(self.offset);
            index.is_some_and(|i| i / self.stride.max(1) < self.rows && i % self.stride.max(1) < self.cols)
        };
        if let Some(byte) = (0..after.len()).find(|&b| !inside(b) && after[b] != self.before[b]) {
            return Ok(Err(Failure::GuardTouched { what: self.what, index: byte / self.element }));
        }
        let row = |r: usize| &after[(self.offset + r * self.stride) * self.element..][..self.cols * self.element];
        let rows = if self.cols == 0 { 0 } else { self.rows };
        Ok(Ok((0..rows).flat_map(row).copied().collect()))
    }

    /// The same as words of 32 bits.
    pub fn words(&self, gpu: &Gpu) -> Result<Result<Vec<u32>, Failure>, HostError> {
        Ok(self.read(gpu)?.map(|bytes| bytemuck::pod_collect_to_vec(&bytes)))
    }

    /// For an input: that nothing at all has changed.
    pub fn unchanged(&self, gpu: &Gpu) -> Result<Result<(), Failure>, HostError> {
        let after = gpu.download(&self.buffer, self.before.len() as u64)?;
        let changed = after.iter().zip(&self.before).position(|(a, b)| a != b);
        Ok(changed.map_or(Ok(()), |byte| Err(Failure::InputChanged { index: byte / self.element })))
    }
}
