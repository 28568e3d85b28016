// Gumbel noise: experts are drawn without replacement, with the probabilities of a softmax. It chooses and does not weigh.
const DOMAIN = COLUMN;

fn noisy(token: Token, columns: vec4<u32>, words: vec4<u32>, x: vec4<f32>) -> vec4<f32> {
    return x;
}

fn perturbed(words: vec4<u32>, x: vec4<f32>) -> vec4<f32> {
    return settled(settled(x) + fenced(gumbel(words)));
}
