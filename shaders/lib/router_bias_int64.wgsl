alias Bias = vec2<u64>;

fn bias_in(quad: u32) -> vec4<f32> {
    let pair = bias[params.bias_offset / 4u + quad];
    let high = pair >> vec2(32u);
    return bitcast<vec4<f32>>(vec4(u32(pair.x), u32(high.x), u32(pair.y), u32(high.y)));
}

fn one_bias(column: u32) -> f32 {
    return bitcast<f32>(u32(bias[params.bias_offset / 4u + column / 4u][column % 4u / 2u] >> (column % 2u * 32u)));
}

fn bias_at(columns: vec4<u32>) -> vec4<f32> {
    return vec4(one_bias(columns.x), one_bias(columns.y), one_bias(columns.z), one_bias(columns.w));
}
