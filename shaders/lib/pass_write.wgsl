// Pass 2 over the quads [first, end).
fn write(row: Row, at: Lane, total: Partial, normal: Normal, first: u32, end: u32) {
    let dst_row = params.dst_offset + row.index * params.dst_stride;
    let kind = special(total);
    if (kind.is) {
        for (var q = first + at.first; q < end; q += at.step) {
            store_quad(dst_row, q, vec4(kind.fill));
        }
        return;
    }
    for (var q = first + at.first; q < end; q += at.step) {
        store_quad(dst_row, q, output(row, total, normal, logits(row, q), params.first_column + q * 4u));
    }
}
