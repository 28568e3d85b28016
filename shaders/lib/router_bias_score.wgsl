// A bias of the scores: it chooses and does not weigh.
fn biased(bias: vec4<f32>, x: vec4<f32>) -> vec4<f32> {
    return x;
}

fn favoured(bias: vec4<f32>, score: vec4<f32>) -> vec4<f32> {
    return settled(settled(score) + settled(bias));
}
