// One bit a column, the lowest of a word first: 0 excludes the column.
fn bits_of(row: u32) -> u32 {
    return entry(params.bits, row);
}

fn allowed(row: Row, quad: u32, x: vec4<f32>) -> vec4<f32> {
    let four = bits[row.bits + quad / 8u] >> (quad % 8u * 4u);
    return select(excluded4(), x, (vec4(four) & vec4(1u, 2u, 4u, 8u)) != vec4(0u));
}
