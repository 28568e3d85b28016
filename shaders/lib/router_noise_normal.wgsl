// Noisy top-K (Shazeer et al., arXiv 1701.06538): normal noise of a deviation that is learned. It chooses and weighs.
const DOMAIN = NORMAL;

fn noisy(token: Token, columns: vec4<u32>, words: vec4<u32>, x: vec4<f32>) -> vec4<f32> {
    let at = vec4(params.deviations_offset + token.index * params.deviations_stride) + min(columns, vec4(params.cols - 1u));
    let raw = vec4(deviations[at.x], deviations[at.y], deviations[at.z], deviations[at.w]);
    let deviation = fenced(softplus(raw)) + vec4(params.least_deviation);
    return settled(settled(x) + fenced(normal(words) * deviation));
}

fn perturbed(words: vec4<u32>, x: vec4<f32>) -> vec4<f32> {
    return x;
}
