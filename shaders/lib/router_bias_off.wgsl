fn bias_in(quad: u32) -> vec4<f32> {
    return vec4(0.0);
}

fn bias_at(columns: vec4<u32>) -> vec4<f32> {
    return vec4(0.0);
}

fn biased(bias: vec4<f32>, x: vec4<f32>) -> vec4<f32> {
    return x;
}

fn favoured(bias: vec4<f32>, score: vec4<f32>) -> vec4<f32> {
    return score;
}
