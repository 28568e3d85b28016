// Gumbel-Softmax (Jang et al., arXiv 1611.01144): one variate a column, made again whenever a logit is read.
fn perturbed(row: Row, quad: u32, x: vec4<f32>) -> vec4<f32> {
    return fenced(x) + fenced(gumbel(noise_words(row.stream, COLUMN, params.first_column / 4u + quad)));
}
