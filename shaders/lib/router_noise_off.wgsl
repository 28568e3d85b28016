fn quad_words(token: Token, quad: u32) -> vec4<u32> {
    return vec4(0u);
}

fn words_at(token: Token, columns: vec4<u32>) -> vec4<u32> {
    return vec4(0u);
}

fn noisy(token: Token, columns: vec4<u32>, words: vec4<u32>, x: vec4<f32>) -> vec4<f32> {
    return x;
}

fn perturbed(words: vec4<u32>, x: vec4<f32>) -> vec4<f32> {
    return x;
}
