//! Where operands go: which range of which buffer each binding covers, and who may share.

use std::ops::Range;

use crate::{BindError, Caps, Matrix};

/// An operand on its way to a binding.
#[derive(Clone, Debug)]
pub(crate) struct Operand<'a> {
    pub binding: u32,
    pub what: &'static str,
    pub matrix: Matrix<'a>,
    /// Bytes of one element.
    pub element: u64,
    pub writes: bool,
}

/// Where an operand ended up.
#[derive(Clone, Debug)]
pub(crate) struct Placed<'a> {
    pub binding: u32,
    pub what: &'static str,
    pub buffer: &'a wgpu::Buffer,
    pub range: Range<u64>,
    /// Elements from the start of the binding to the first element of the window.
    pub offset: u32,
    bytes: Range<u64>,
    writes: bool,
}

/// Operands that can be bound together.
#[derive(Clone, Debug)]
pub(crate) struct Placement<'a> {
    /// In the order given.
    pub placed: Vec<Placed<'a>>,
    /// The input is read through the output's binding.
    pub src_in_dst: bool,
    /// A buffer that is written to is also read: every binding must be read-write.
    pub write_all: bool,
}

impl<'a> Placement<'a> {
    /// What has a binding of its own.
    pub fn bound(&self) -> impl Iterator<Item = &Placed<'a>> {
        self.placed.iter().filter(|p| !(p.what == "src" && self.src_in_dst))
    }
}

/// Places operands. `src` and `dst` are the indices of the pair that may be the same window; `share` says whether
/// the two have one type in the shader, so that one binding can serve both.
pub(crate) fn place<'a>(
    caps: &Caps,
    operands: &[Operand<'a>],
    pair: Option<(usize, usize)>,
    share: bool,
) -> Result<Placement<'a>, BindError> {
    let alignment = u64::from(caps.binding_alignment.max(4));
    let mut placed = Vec::with_capacity(operands.len());
    for operand in operands {
        let bytes = operand.matrix.bytes(operand.element, operand.what)?;
        let start = bytes.start / alignment * alignment;
        let range = start..bytes.end.next_multiple_of(4);
        placed.push(Placed {
            binding: operand.binding,
            what: operand.what,
            buffer: operand.matrix.buffer,
            range,
            offset: 0,
            bytes,
            writes: operand.writes,
        });
    }

    let mut src_in_dst = false;
    let mut write_all = false;
    for (i, a) in placed.iter().enumerate() {
        for (j, b) in placed.iter().enumerate().take(i) {
            if a.buffer != b.buffer || !(a.writes || b.writes) {
                continue;
            }
            let is_pair = pair.is_some_and(|(s, d)| (s, d) == (i, j) || (s, d) == (j, i));
            let (writer, other) = if a.writes { (a, b) } else { (b, a) };
            if overlap(&a.bytes, &b.bytes) {
                let identical = is_pair && share && a.bytes == b.bytes && same_rows(&operands[i], &operands[j]);
                if !identical {
                    return Err(BindError::Overlap { what: writer.what, other: other.what });
                }
                src_in_dst = true;
            } else if overlap(&a.range, &b.range) {
                if !(is_pair && share) {
                    return Err(too_close(writer, other, caps));
                }
                src_in_dst = true;
            } else {
                write_all = true;
            }
        }
    }
    if write_all {
        refuse_overlaps(&placed, pair.filter(|_| src_in_dst), caps)?;
    }
    if let (true, Some((src, dst))) = (src_in_dst, pair) {
        let both =
            placed[src].range.start.min(placed[dst].range.start)..placed[src].range.end.max(placed[dst].range.end);
        placed[src].range = both.clone();
        placed[dst].range = both;
    }
    for (placed, operand) in placed.iter_mut().zip(operands) {
        let needed = placed.range.end - placed.range.start;
        if needed > caps.max_binding_bytes {
            return Err(BindError::WindowTooLarge { what: placed.what, needed, available: caps.max_binding_bytes });
        }
        // Shaders count elements in u32. Where a binding may be 4 GiB and more, this is the narrower limit.
        let most = u64::from(u32::MAX) * operand.element;
        if needed > most {
            return Err(BindError::WindowTooLarge { what: placed.what, needed, available: most });
        }
        placed.offset = ((placed.bytes.start - placed.range.start) / operand.element) as u32;
    }
    Ok(Placement { placed, src_in_dst, write_all })
}

/// For kernels of several dispatches, which `place` does not see together: what one writes may overlap nothing that another
/// reads or writes. `twins` are the pairs that may be one and the same window.
pub(crate) fn refuse_aliases(operands: &[Operand<'_>], twins: &[(&str, &str)]) -> Result<(), BindError> {
    for (i, a) in operands.iter().enumerate() {
        for b in &operands[..i] {
            if a.matrix.buffer != b.matrix.buffer || !(a.writes || b.writes) {
                continue;
            }
            let (one, other) = (a.matrix.bytes(a.element, a.what)?, b.matrix.bytes(b.element, b.what)?);
            let may = twins.contains(&(a.what, b.what)) || twins.contains(&(b.what, a.what));
            let twin = may && one == other && same_rows(a, b);
            if overlap(&one, &other) && !twin {
                let (writer, other) = if a.writes { (a, b) } else { (b, a) };
                return Err(BindError::Overlap { what: writer.what, other: other.what });
            }
        }
    }
    Ok(())
}

/// With every binding read-write, two readers of one buffer may not overlap either.
fn refuse_overlaps(placed: &[Placed<'_>], shared: Option<(usize, usize)>, caps: &Caps) -> Result<(), BindError> {
    for (i, a) in placed.iter().enumerate() {
        for (j, b) in placed.iter().enumerate().take(i) {
            let pair = shared.is_some_and(|(s, d)| (s, d) == (i, j) || (s, d) == (j, i));
            if !pair && a.buffer == b.buffer && overlap(&a.range, &b.range) {
                return Err(too_close(a, b, caps));
            }
        }
    }
    Ok(())
}

fn too_close(a: &Placed<'_>, b: &Placed<'_>, caps: &Caps) -> BindError {
    BindError::TooClose { what: a.what, other: b.what, alignment: caps.binding_alignment }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

fn same_rows(a: &Operand<'_>, b: &Operand<'_>) -> bool {
    a.element == b.element && (a.matrix.rows <= 1 || a.matrix.stride == b.matrix.stride)
}

/// The two-dimensional grid for `groups` workgroups.
pub(crate) fn grid(caps: &Caps, rows: u32, groups: u64) -> Result<[u32; 2], BindError> {
    let side = u64::from(caps.max_workgroups);
    let width = groups.min(side).max(1);
    let height = groups.div_ceil(width);
    if height > side {
        return Err(BindError::TooManyRows { rows, groups, available: side * side });
    }
    Ok([width as u32, height as u32])
}
