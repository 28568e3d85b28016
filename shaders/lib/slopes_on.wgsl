// ALiBi (Press et al., arXiv 2108.12409): slope * (key - query), 0 on the diagonal.
fn slope_of(row: u32) -> f32 {
    return slopes[entry(params.slopes, row)];
}

fn biased(row: Row, quad: u32, x: vec4<f32>) -> vec4<f32> {
    let distance = vec4(i32(quad * 4u) - row.position) + vec4(0, 1, 2, 3);
    return x + row.slope * vec4<f32>(distance);
}
