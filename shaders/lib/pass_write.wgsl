fn write_quad(row: Row, dst_row: u32, total: Partial, normal: Normal, q: u32) {
    store_quad(dst_row, q, output(row, total, normal, logits(row, q), params.first_column + q * 4u));
}

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
    var q = first + at.first;
    for (; q + 3u * at.step < end; q += 4u * at.step) {
        write_quad(row, dst_row, total, normal, q);
        write_quad(row, dst_row, total, normal, q + at.step);
        write_quad(row, dst_row, total, normal, q + 2u * at.step);
        write_quad(row, dst_row, total, normal, q + 3u * at.step);
    }
    for (; q < end; q += at.step) {
        write_quad(row, dst_row, total, normal, q);
    }
}
