@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

fn put_log_sum_exp(row: Row, total: Partial, normal: Normal) {
    let kind = special(total);
    let value = select(log_sum_exp(normal), total.anchor, row.hard);
    lse[params.lse_offset + row.index * params.lse_stride] = select(value, kind.lse, kind.is);
}
