//! A window of rows in a caller's buffer.

use crate::BindError;

/// A window of `rows` rows of `cols` elements in a buffer of the caller's, `stride` elements from the start of
/// one row to the start of the next, the first `offset` elements into the buffer.
///
/// Every operand comes in this form, so strides and sub-windows of a pooled buffer are normal. Everything is
/// counted in elements; what an element is, the kernel's specification says. Offsets need no alignment beyond
/// the element's own, unless a specification promises quads ([`Shape::quads`](crate::softmax::Shape), which its `new` sets
/// where the columns allow it): then offset, columns and stride are multiples of four. Windows of one buffer that a kernel
/// writes to lie `min_storage_buffer_offset_alignment` bytes apart or more, 256 by default.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The buffer. Its usage must contain `STORAGE`.
    pub buffer: &'a wgpu::Buffer,
    /// Elements before the first row.
    pub offset: u64,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Elements from row to row; at least `cols`, unless there is at most one row.
    pub stride: u32,
}

impl<'a> Matrix<'a> {
    /// Rows that follow each other without a gap, from the start of the buffer.
    #[must_use]
    pub fn new(buffer: &'a wgpu::Buffer, rows: u32, cols: u32) -> Self {
        Self { buffer, offset: 0, rows, cols, stride: cols }
    }

    /// The same, `offset` elements further on.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    /// The same with `stride` elements from row to row.
    #[must_use]
    pub fn with_stride(self, stride: u32) -> Self {
        Self { stride, ..self }
    }

    /// Whether there is no element in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0
    }

    /// Elements from the first of the first row to past the last of the last row.
    #[must_use]
    pub fn extent(&self) -> u64 {
        if self.is_empty() { 0 } else { u64::from(self.rows - 1) * u64::from(self.stride) + u64::from(self.cols) }
    }

    /// Whether every row starts, and ends, at a multiple of four elements.
    #[must_use]
    pub fn in_quads(&self) -> bool {
        self.offset.is_multiple_of(4)
            && self.cols.is_multiple_of(4)
            && (self.rows <= 1 || self.stride.is_multiple_of(4))
    }

    /// The bytes it touches, from and to.
    pub(crate) fn bytes(&self, element: u64, what: &'static str) -> Result<std::ops::Range<u64>, BindError> {
        let out = |end| BindError::OutOfBuffer { what, end, size: self.buffer.size() };
        if self.rows > 1 && self.stride < self.cols {
            return Err(BindError::RowsOverlap { what, cols: self.cols, stride: self.stride });
        }
        let start = self.offset.checked_mul(element).ok_or(out(u64::MAX))?;
        let end = self.extent().checked_mul(element).and_then(|n| n.checked_add(start)).ok_or(out(u64::MAX))?;

        // Bindings are whole words, so half a word at the very end of a buffer is out of reach.
        if end.checked_next_multiple_of(4).is_none_or(|end| end > self.buffer.size()) {
            return Err(out(end));
        }
        if !self.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(BindError::NotStorage { what });
        }
        Ok(start..end)
    }
}
