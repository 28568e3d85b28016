// A bias of the logits: it chooses and it weighs.
fn biased(bias: vec4<f32>, x: vec4<f32>) -> vec4<f32> {
    return settled(settled(x) + settled(bias));
}

fn favoured(bias: vec4<f32>, score: vec4<f32>) -> vec4<f32> {
    return score;
}
