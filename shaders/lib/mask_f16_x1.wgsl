alias Mask = u32;

fn mask_of(row: u32) -> u32 {
    return entry(params.mask, row);
}

fn mask_at(i: u32) -> f32 {
    return half_value(mask[i / 2u] >> (i % 2u * 16u));
}

fn masked(row: Row, quad: u32, x: vec4<f32>) -> vec4<f32> {
    // Past the row's end the last entry is read again; `limited` throws it away.
    let end = params.cols - 1u;
    let column = quad * 4u;
    return x + vec4(
        mask_at(row.mask + min(column, end)),
        mask_at(row.mask + min(column + 1u, end)),
        mask_at(row.mask + min(column + 2u, end)),
        mask_at(row.mask + min(column + 3u, end)),
    );
}
