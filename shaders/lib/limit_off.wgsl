fn limit_of(row: u32, position: i32) -> u32 {
    return params.cols;
}

fn limited(row: Row, quad: u32, x: vec4<f32>) -> vec4<f32> {
    return x;
}
