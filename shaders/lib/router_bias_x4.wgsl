alias Bias = vec4<f32>;

fn bias_in(quad: u32) -> vec4<f32> {
    return bias[params.bias_offset / 4u + quad];
}

fn one_bias(column: u32) -> f32 {
    return bias[params.bias_offset / 4u + column / 4u][column % 4u];
}

fn bias_at(columns: vec4<u32>) -> vec4<f32> {
    return vec4(one_bias(columns.x), one_bias(columns.y), one_bias(columns.z), one_bias(columns.w));
}
