// Columns that are no multiple of four: the last quad hangs over.
fn limit_of(row: u32, position: i32) -> u32 {
    return params.cols;
}

fn limited(row: Row, quad: u32, x: vec4<f32>) -> vec4<f32> {
    let column = vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u);
    return select(excluded4(), x, column < vec4(row.limit));
}
