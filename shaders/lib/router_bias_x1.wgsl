alias Bias = f32;

fn bias_in(quad: u32) -> vec4<f32> {
    return bias_at(columns_of(quad));
}

fn bias_at(columns: vec4<u32>) -> vec4<f32> {
    let at = vec4(params.bias_offset) + min(columns, vec4(params.cols - 1u));
    return vec4(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
}
