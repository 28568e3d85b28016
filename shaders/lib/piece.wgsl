// What a workgroup writes where columns do not depend on each other: one of the `parts` of WIDTH / LANES rows.
struct Piece {
    row: u32,
    dst: u32,
    first: u32,     // quads, from
    end: u32,       // and to; none of rows past the end
}

fn piece_of(index: u32, at: Lane) -> Piece {
    let wanted = index / params.parts * (WIDTH / LANES) + at.local / LANES;
    let row = min(wanted, params.rows - 1u);
    let first = index % params.parts * params.part_quads;
    let end = select(0u, min(first + params.part_quads, params.quads), wanted < params.rows);
    return Piece(row, params.dst_offset + row * params.dst_stride, first, end);
}
