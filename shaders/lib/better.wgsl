// The best candidate of a quad's four columns, or the best so far.
fn better(so_far: Partial, x: vec4<f32>, score: vec4<f32>, quad: u32) -> Partial {
    var found = best(no_mass(), score, quad * 4u);
    found.high = x[u32(-found.exponent) % 4u];
    return merge(so_far, found, true);
}
