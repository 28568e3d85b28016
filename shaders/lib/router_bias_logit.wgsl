// A bias of the logits: it chooses and it weighs.
fn biased(columns: vec4<u32>, x: vec4<f32>) -> vec4<f32> {
    return settled(settled(x) + settled(bias_of(columns)));
}

fn favoured(columns: vec4<u32>, score: vec4<f32>) -> vec4<f32> {
    return score;
}
